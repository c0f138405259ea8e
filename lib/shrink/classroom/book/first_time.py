"""What a chapter makes when it is first run, and how long that takes; here nothing is made."""

from collections.abc import Callable, Iterable, Sequence

import torch

from shrink.classroom.data import Dataset, load
from shrink.classroom.progress import Announced, about, only_asking

Steps = Iterable[Callable[[], object]]
Chapter = Callable[[Dataset], Steps]


def at_hand(device: torch.device) -> Dataset | Announced:
    """The data that the chapters would take, or what must be drawn first."""
    try:
        with only_asking():
            return load(device=device, announce=False)
    except Announced as drawing:
        return drawing


def made_at_first(chapter: Callable[[], Steps]) -> tuple[Announced, ...]:
    """Of each step of a chapter the first thing that is not kept yet, each thing once.

    What is made of that thing is not known, so the seconds are the least that it takes.
    """
    missing: dict[str, Announced] = {}
    steps = iter(chapter())
    while True:
        try:
            with only_asking():
                if (step := next(steps, None)) is None:
                    return tuple(missing.values())
                step()
        except Announced as one:
            missing[one.what] = one


def in_all(missing: Sequence[Announced]) -> str:
    """About how long it takes to make these, as one says it behind them; each counts once.

    >>> in_all([Announced("training a", 40), Announced("training b", 60)])
    ' (about 2 min or longer)'
    >>> in_all([Announced("drawing glyphs", None)])
    ''
    """
    seconds = sum({one.what: one.seconds or 0 for one in missing}.values())
    return f" ({about(seconds)} or longer)" if seconds else ""
