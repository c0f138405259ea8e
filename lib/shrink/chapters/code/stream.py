"""An exercise of chapter 05: a stream of codes, read bit by bit.

The oracle tries every code at each place: slow, and with no tree and no table that could be wrong.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from shrink.chapters.code.canonical import next_of_each_length, some_lengths, with_none
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole_numbers


def _read(bits: str, codes: list[str], count: int) -> list[int] | None:
    found, at = [], 0
    while len(found) < count:
        fits = [s for s, code in enumerate(codes) if code and bits.startswith(code, at)]
        if not fits:
            return None
        found.append(fits[0])
        at += len(codes[fits[0]])
    return found


@known("stop after count symbols: what follows fills up the last byte", "to the last bit")
def _all_of_it(bits: str, codes: list[str], count: int) -> list[int] | None:
    found, code = [], ""
    for bit in bits:
        code += bit
        if code in codes:
            found.append(codes.index(code))
            code = ""
    return found


@known(
    "where the bits end before all symbols are found, return None: a reader that returns what it "
    "has so far passes on a damaged file",
)
def _too_few_given_back(bits: str, codes: list[str], count: int) -> list[int] | None:
    return _all_of_it(bits, codes, count)[:count]


@known("the last code may end with the last bit: after each symbol ask whether all are found")
def _stops_one_bit_late(bits: str, codes: list[str], count: int) -> list[int] | None:
    """Only stops when a bit follows that is none of the last code's."""
    found = _all_of_it(bits[:-1], codes, count)[:count]
    return found if bits and len(found) == count else None


@known("bits that are left over after count symbols are allowed: they fill up the last byte")
def _refuses_what_is_left_over(bits: str, codes: list[str], count: int) -> list[int] | None:
    found = _all_of_it(bits, codes, count)
    return found if len(found) == count else None


@known(
    "a symbol is the position of its code among all codes, empty ones included",
    "numbered without the empty ones",
)
def _among_those_with_a_code(bits: str, codes: list[str], count: int) -> list[int] | None:
    return _read(bits, [code for code in codes if code], count)


@known("where the bits begin no code the file is damaged: return None, and do not skip them")
def _skips_what_is_no_code(bits: str, codes: list[str], count: int) -> list[int] | None:
    found, at = [], 0
    while at < len(bits) and len(found) < count:
        fits = [s for s, code in enumerate(codes) if code and bits.startswith(code, at)]
        found += fits[:1]
        at += len(codes[fits[0]]) if fits else 1
    return found if len(found) == count else None


MISTAKES = (
    _too_few_given_back,
    _all_of_it,
    _stops_one_bit_late,
    _refuses_what_is_left_over,
    _skips_what_is_no_code,
    Mistake(
        "none of none",
        lambda bits, codes, count: _read(bits, codes, count) if count else None,
        "count may be 0: then nothing is read, and the answer is an empty list",
    ),
    _among_those_with_a_code,
)


def _streams(rng: random.Random) -> Iterator[Callable[[], tuple[str, list[str], int]]]:
    def stream(symbols: int, count: int, rest: int = 0, cut: int = 0, none: bool = False) -> tuple:
        lengths = some_lengths(rng, symbols)
        codes = next_of_each_length(with_none(rng, lengths) if none else lengths)
        some = [rng.choice([s for s, code in enumerate(codes) if code]) for _ in range(count)]
        bits = "".join(codes[s] for s in some)
        return bits[: len(bits) - cut] + "0" * rest, codes, count

    yield lambda: stream(5, 6)
    yield lambda: stream(5, rng.randint(4, 6), rest=rng.randint(3, 7))
    yield lambda: stream(4, 5, none=True)
    yield lambda: stream(6, 7, cut=1)  # it ends within a code, or before the last one
    yield lambda: stream(3, 8, cut=4)
    yield lambda: ("0" * rng.randint(1, 4), ["", "0"], 1)
    yield lambda: ("0110" + "10" * 6, ["0", "10"], 3)  # 11 begins no code
    yield lambda: ("1110000", ["0", ""], 1)
    yield lambda: ("0", ["0", "1"], 0)
    yield lambda: ("", ["0", "1"], 2)
    yield lambda: ("101", ["0", "1"], 0)
    yield lambda: ("0" * 7, ["", ""], 0)
    yield lambda: stream(40, 60, rest=5)


def _list_or_itself(result: Any) -> Any:
    found = whole_numbers(result)
    return result if found is None else found


def _wrong_symbols(
    given: Any, right: list[int] | None, bits: str, codes: list[str], count: int
) -> Wrong | None:
    found = whole_numbers(given)
    if right is None:
        hint = f"these bits are not {count} symbols: return None"
        return None if given is None else Wrong(hint, expected=None, given=given)
    if found is None:
        return Wrong("return a list of whole numbers", expected=right, given=given)
    if found == right:
        return None
    if len(found) != count:
        hint = f"{count} symbols are asked for, not {len(found)}"
        return Wrong(hint, expected=right, given=found)
    at = next(i for i, symbol in enumerate(right) if symbol != found[i])
    return Wrong(
        f"symbol {at} (counted from 0) is {right[at]}, whose code is {codes[right[at]]!r}, and "
        f"not {found[at]}",
        expected=right,
        given=found,
    )


def _reference(bits: str, codes: list[str], count: int) -> list[int] | None:
    """The first `count` symbols of the bits, or None where the bits are not so many symbols.

    >>> decode_bits("100110000", ["10", "0", "", "110", "111"], 4)
    [0, 1, 3, 1]
    """
    symbol_of = {code: symbol for symbol, code in enumerate(codes) if code}
    found, begin = [], 0
    for end in range(1, len(bits) + 1):
        if len(found) < count and bits[begin:end] in symbol_of:
            found.append(symbol_of[bits[begin:end]])
            begin = end
    return found if len(found) == count else None


decode_bits = Exercise(
    "decode_bits",
    by_cases(_streams, _read, _wrong_symbols, mistakes=MISTAKES, alike=_list_or_itself),
    reference=_reference,
    core=False,
    minutes=12,
    mistakes=MISTAKES,
)
