"""The exercises of chapter 05, Code: here, how to break the codes that are easily written."""

import random

from shrink.chapters.code.lengths import (
    CHAIN,
    FIXED,
    NOT_PUT_BACK,
    SHANNON,
    SPLIT,
    least_bits,
    listed,
)
from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.exercise import Exercise

BREAKABLE = (FIXED, CHAIN, SHANNON, NOT_PUT_BACK, SPLIT)


def _check_break_the_codes(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    counts = listed(given)
    if counts is None or not 1 <= len(counts) <= 6:
        raise Wrong("return a list of one to six whole numbers", given=given)
    if not all(1 <= count <= 1000 for count in counts):
        raise Wrong("each count is a number from 1 to 1000", given=given)
    least, hides = least_bits(counts), []
    for mistake in BREAKABLE:
        lengths = mistake.function(counts)
        if sum(map(int.__mul__, lengths, counts)) == least:
            hides.append(mistake.name)
    if hides:
        broken = [m.name for m in BREAKABLE if m.name not in hides]
        raise Wrong(
            f"{', '.join(hides)}: on your counts it takes {least} bits, which no code beats, so "
            f"the mistake hides (longer, as it should be: {', '.join(broken) or 'none'})",
            given=given,
        )


break_the_codes = Exercise("break_the_codes", _check_break_the_codes, core=False, minutes=8)
