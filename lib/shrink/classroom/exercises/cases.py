"""The loop of a check: cases that tell known mistakes apart, and each answer compared."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.parts import Asking, Part

_TRIES = 100

Check = Callable[[Attempt, random.Random], None]
Draw = Callable[[], tuple]


def by_cases(
    cases: Callable[[random.Random], Iterable[tuple | Draw]],
    right: Callable[..., Any],
    compare: Callable[..., Wrong | None],
    *,
    mistakes: Sequence[Mistake] = (),
    alike: Callable[[Any], Any] | None = None,
    copied: Callable[[tuple], tuple] = tuple,
    parts: Callable[..., Iterable[Part]] | None = None,
    of_parts: Sequence[Mistake] = (),
) -> Check:
    """A check that calls the answer with each case and compares what it gives with what is right.

    Args:
        cases: the arguments of each call, from a seeded generator; or functions that draw them,
            where they are to tell the mistakes apart.
        right: the oracle: the arguments → what is right.
        compare: what the answer gave, what is right, the arguments → what is wrong, or None.
        mistakes: those that drawn cases tell apart.
        alike: what of a result counts, as `Attempt` has it.
        copied: gives a mistake arguments of its own; needed where it changes them.
        parts: the arguments of a wrong case → those at which a part of the answer counts, for
            answers that are wrong as no known mistake is.
        of_parts: mistakes whose hints only parts give, besides the others.
    """
    asking = Asking(right, compare, (*mistakes, *of_parts), alike or _itself, copied)

    def check(answer: Attempt, rng: random.Random) -> None:
        for args in telling(cases(rng), right, mistakes, alike or _itself, copied):
            expected = right(*args)  # before the answer has them
            if wrong := compare(answer(*args, alike=alike), expected, *args):
                if parts is not None:
                    wrong.in_parts = partial(asking.told, answer, list(parts(*args)))
                raise wrong

    return check


def telling(
    cases: Iterable[tuple | Draw],
    right: Callable[..., Any],
    mistakes: Sequence[Mistake],
    alike: Callable[[Any], Any],
    copied: Callable[[tuple], tuple] = tuple,
) -> Iterator[tuple]:
    """The cases, drawn so that they tell the mistakes apart and each gets its own hint.

    Of the mistakes that were right on all cases before, no two are wrong in the same way. A case
    that is no function is taken as it is. The arguments are those of `by_cases`.

    Raises:
        RuntimeError: a hundred draws of a case did not tell two mistakes apart, which the author of
            the exercise has to mend: by other cases, or by one hint for both.
    """
    left = list(mistakes)
    for case in cases:
        if not callable(case):
            yield case
            continue
        for _ in range(_TRIES):
            args = case()
            expected = alike(right(*args))
            seen = [_outcome(mistake, copied(args), alike) for mistake in left]
            wrong = [(m, it) for m, it in zip(left, seen, strict=True) if it != expected]
            same = [(a, b) for (a, x), (b, y) in combinations(wrong, 2) if x == y]
            if not same:
                break
        else:
            names = " and ".join(repr(mistake.name) for mistake in same[0])
            raise RuntimeError(
                f"{_TRIES} draws of a case do not tell the mistakes {names} apart: change the "
                "cases, or give both one hint"
            )
        left = [mistake for mistake, it in zip(left, seen, strict=True) if it == expected]
        yield args


def none_may_hide(
    mistakes: Sequence[Mistake],
    is_right: Callable[[Mistake], bool],
    given: Any,
    comes_out: str,
    otherwise: str = "wrong there",
) -> None:
    """Raise `Wrong` for an input that is to break all these mistakes, where one comes out right.

    Args:
        is_right: whether a mistake gives the right result on the input.
        given: the input.
        comes_out: how that is said, as "on your input the mask comes out right".
        otherwise: what the others are on it.
    """
    hides = [m.name for m in mistakes if is_right(m)]
    if hides:
        broken = ", ".join(m.name for m in mistakes if m.name not in hides) or "none"
        raise Wrong(
            f"{', '.join(hides)}: {comes_out}, so the mistake hides "
            f"({otherwise}, as it should be: {broken})",
            given=given,
        )


def generator(rng: random.Random) -> torch.Generator:
    """A generator of torch's, on the CPU, seeded by the check's."""
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _itself(result: Any) -> Any:
    return result


def _outcome(mistake: Mistake, args: tuple, alike: Callable[[Any], Any]) -> Any:
    try:
        return alike(mistake.function(*args))
    except Exception as error:
        return repr(error)
