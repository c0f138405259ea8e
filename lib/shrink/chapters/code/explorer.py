"""The explorer of chapter 05's codes: gap bits, sparsity and the number of values."""

import ipywidgets as widgets

from shrink.chapters.code.figure import SIZE, draw, update
from shrink.chapters.code.lab import CodingLab
from shrink.chapters.code.prepared import NUMBERS, STOPS
from shrink.chapters.code.sizes import GAP_BITS
from shrink.chapters.code.view import CODES, TUNED_AT, describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.tries import Try

TRIES = (
    Try(
        "1 parts",
        "Fixed codes: move the gap bits from 1 to 8. Which parts shrink, and which one turns "
        "round? The same with Huffman: what is left to grow?",
        gap_bits=1,
        code="fixed",
    ),
    Try(
        "2 sparsity",
        "Fixed codes, the sparsity at 71, at 92 and at 98 %: where is the shortest bar each time, "
        "and why does it move?",
        sparsity=71,
        code="fixed",
    ),
    Try(
        "3 fillers",
        "98 %, one gap bit: what does a filler cost with Huffman, and what does it deserve? How "
        "many bytes does ANS save?",
        gap_bits=1,
        sparsity=98,
    ),
)


def explore_coding(
    dataset: Dataset, code_lengths: Exercise | None = None, *, seed: int = 0
) -> Explorer:
    """The explorer of chapter 05, on LeNet-300-100.

    Args:
        dataset: its validation images say the accuracy; the test set stays unread.
        code_lengths: the exercise, for the switch *mine / reference*.
        seed: of the network.
    """
    lab = CodingLab(dataset, code_lengths, seed)
    slider = wide(340, words=80)
    controls = {
        "gap_bits": widgets.IntSlider(
            5, min=GAP_BITS[0], max=GAP_BITS[-1], description="gap bits", **slider
        ),
        "sparsity": widgets.IntSlider(
            TUNED_AT, min=STOPS[0], max=STOPS[-1], step=3, description="sparsity, %", **slider
        ),
        "k": toggle("values", list(NUMBERS), width=48, value=16),
        "code": toggle("code", [(CODES[code], code) for code in CODES], value="huffman"),
        "layer": toggle("codes of", lab.layers, width=60),
        "source": whose("by", code_lengths),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=TRIES,
        size=SIZE,
    )
