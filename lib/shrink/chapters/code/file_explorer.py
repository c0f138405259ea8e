"""The explorer of chapter 05's file: every byte on the screen, and what one wrong bit does."""

from typing import Any

import ipywidgets as widgets

from shrink.chapters.code.file_figure import draw, update
from shrink.chapters.code.file_lab import FileLab
from shrink.chapters.code.file_view import place, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.explorers.controls import toggle, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job


def explore_file(content: bytes, dataset: Dataset) -> Explorer:
    """The explorer of chapter 05's file: its bytes as pixels, and a bit that can be flipped.

    Args:
        content: a file that `codec.encode` wrote of LeNet-300-100.
        dataset: its validation images say the accuracy; the test set stays unread.

    Raises:
        CodecError: the content is no such file.
        CourseError: it is one of another network, or no bytes at all.
    """
    lab = FileLab(content, dataset)
    slider, last = wide(560, words=50), len(lab.content) - 1
    regions = [
        (f"{place(region)}, from byte {region.start:,}", i) for i, region in enumerate(lab.regions)
    ]
    controls = {
        "byte": widgets.IntSlider(0, min=0, max=last, description="byte", **slider),
        "bit": widgets.IntSlider(0, min=0, max=7, description="bit", **slider),
        "checksum": toggle("checksum", ["as it is", "repaired"]),
        "region": widgets.Dropdown(
            options=regions,
            description="go to",
            **wide(420, words=50),
        ),
    }
    _keep_together(lab, controls["byte"], controls["region"])
    explorer = Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job("Flip a hundred random bits", lab.flip_many),
        size=(9.6, 6),
        alt=lambda _: (
            "Every byte of a Deep Compression file as a pixel, coloured by what it is part of; "
            "the chosen byte's bits, what flipping one of them changes in the network, and the "
            "accuracy after flips of random bits"
        ),
    )
    explorer.work.start_button.layout.width = "auto"  # its words are long
    return explorer


def _keep_together(lab: FileLab, byte: widgets.IntSlider, region: widgets.Dropdown) -> None:
    """The region is the byte's, and a region that is chosen moves the byte to its start."""

    def jump(change: Any) -> None:
        if lab.number_of_region(byte.value) != change.new:
            byte.value = lab.regions[change.new].start

    def follow(change: Any) -> None:
        region.value = lab.number_of_region(change.new)

    region.observe(jump, "value")
    byte.observe(follow, "value")
