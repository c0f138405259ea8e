"""An exercise of chapter 05: counts on which every code that is easily written is too long."""

import random

from shrink.chapters.code import huffman_lengths
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole_numbers

BREAKABLE = (
    huffman_lengths.fixed_length,
    huffman_lengths.one_bit_more_each,
    huffman_lengths.shannon,
    huffman_lengths.NOT_PUT_BACK,
    huffman_lengths.split_from_the_top,
)


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    counts = whole_numbers(given)
    if counts is None or not 1 <= len(counts) <= 6:
        raise Wrong("return a list of one to six whole numbers", given=given)
    if not all(1 <= count <= 1000 for count in counts):
        raise Wrong("each count is a number from 1 to 1000", given=given)
    least = huffman_lengths.least_bits(counts)

    def takes_least(mistake: Mistake) -> bool:
        return sum(map(int.__mul__, mistake(counts), counts)) == least

    comes_out = f"on your counts it takes {least} bits, which no code beats"
    none_may_hide(BREAKABLE, takes_least, given, comes_out, otherwise="longer")


break_the_codes = Exercise("break_the_codes", _check, core=False, minutes=8)
