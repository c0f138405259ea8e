"""The explorer of chapter 05's file: every byte on the screen, and what one wrong bit does."""

from typing import Any

import ipywidgets as widgets

from shrink.chapters.code.file_figure import SIZE, draw, update
from shrink.chapters.code.file_lab import FileLab
from shrink.chapters.code.file_view import describe, place, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.explorers.controls import toggle, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

QUESTIONS = (
    "Flip bits in the values of fc1, here and elsewhere: how many weights change each time?",
    "And how many in the gaps of fc1?",
    "The last byte of a bias above 0, with its sign and exponent: flip each of its eight bits. "
    "Which one ruins the network?",
    "The same of a bias below 0: why does it not ruin the network?",
)


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
    slider, last = wide(400, words=50), len(lab.content) - 1
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
            **wide(400, words=50),
        ),
    }
    _keep_together(lab, controls["byte"], controls["region"])
    explorer = Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=_tries(lab),
        job=Job("Flip a hundred random bits", lab.flip_many),
        size=SIZE,
    )
    explorer.work.start_button.layout = widgets.Layout(width="auto", flex="0 0 auto")  # long words
    return explorer


def _tries(lab: FileLab) -> list[Try]:
    """Those for which the file has what they are about: fc1 may be stored in another way."""
    places = {
        "1 values": _middle_of(lab, "fc1.weight", "values"),
        "2 gaps": _middle_of(lab, "fc1.weight", "gaps"),
        "3 bias": _last_byte_of_a_bias(lab, 1),
        "4 below 0": _last_byte_of_a_bias(lab, -1),
    }
    return [
        Try(label, question, byte=byte, checksum="repaired")
        for (label, byte), question in zip(places.items(), QUESTIONS, strict=True)
        if byte is not None
    ]


def _middle_of(lab: FileLab, tensor: str, what: str) -> int | None:
    """The byte in the middle of the longest such region; None where there is none."""
    found = [r for r in lab.regions if (r.tensor, r.what) == (tensor, what)]
    longest = max(found, key=lambda region: region.end - region.start, default=None)
    return None if longest is None else (longest.start + longest.end) // 2


def _last_byte_of_a_bias(lab: FileLab, sign: int) -> int | None:
    """The byte that holds sign and exponent of fc1's bias that is furthest from 0 on this side.

    None where there is no such bias, or they are not stored as floats of four bytes.
    """
    biases = sign * lab.state["fc1.bias"].double()
    for region in lab.regions:
        if (region.tensor, region.what) == ("fc1.bias", "numbers"):
            as_floats = region.end - region.start == 4 * len(biases)
            if as_floats and biases.max() > 0:
                return region.start + 4 * int(biases.argmax()) + 3
    return None


def _keep_together(lab: FileLab, byte: widgets.IntSlider, region: widgets.Dropdown) -> None:
    """The region is the byte's, and a region that is chosen moves the byte to its start."""

    def jump(change: Any) -> None:
        if lab.number_of_region(byte.value) != change.new:
            byte.value = lab.regions[change.new].start

    def follow(change: Any) -> None:
        region.value = lab.number_of_region(change.new)

    region.observe(jump, "value")
    byte.observe(follow, "value")
