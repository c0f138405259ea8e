"""An exercise of chapter 08: prune in steps, with an exponential schedule and scores taken anew.

The oracle follows every choice where scores tie.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.saliency import chains
from shrink.chapters.saliency.score_functions import (
    Score,
    quadratic,
    signed,
    synflow_of,
    whole_numbers,
)
from shrink.classroom.exercises.attempt import Mistake, Wrong, kind_of, known, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

MOST_MASKS = 50  # that are right in one case
SHOWN_BY_SIGNS = {"zero for pruned ones"}  # mistakes that take negative scores to be seen
SHOWN_BY_TIES = {"threshold"}


Case = tuple[Score, Tensor, int, int]
Counts = Callable[[int, int, int], Sequence[int]]
Ranked = Callable[[Tensor, Tensor], Tensor]
Chosen = Callable[[Tensor, int], Tensor]


def _topk(scores: Tensor, count: int) -> Tensor:
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.index_fill(0, scores.topk(count).indices, True)


def _pruned_last(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -torch.inf)


def _in_steps(
    counts: Counts = chains.exponential,
    ranked: Ranked = _pruned_last,
    chosen: Chosen = _topk,
    masked: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Callable[..., Tensor]:
    """How to prune in steps, right except for what is passed."""

    def prune(score: Score, weights: Tensor, keep: int, steps: int) -> Tensor:
        weights = weights.detach()
        mask = torch.ones_like(weights, dtype=torch.bool)
        for count in counts(len(weights), keep, steps):
            mask = chosen(ranked(score(masked(weights, mask)), mask), count)
        return mask

    return prune


def pruned(score: Callable[[Tensor], Tensor], weights: Tensor, keep: int, steps: int) -> Tensor:
    """The mask of the `keep` weights that are left after so many steps.

    After step t of T, round(n · (keep/n)^(t/T)) of the n weights are left: the largest scores among
    those left before, of the weights with zeros for all that are pruned.

    >>> pruned(torch.abs, torch.tensor([1.0, -4.0, 2.0, 3.0]), keep=1, steps=2)
    tensor([False,  True, False, False])
    """
    return _in_steps()(score, weights, keep, steps)


def _threshold(scores: Tensor, count: int) -> Tensor:
    return scores >= scores.topk(count).values[-1]


def _rounded_down(weights: int, keep: int, steps: int) -> list[int]:
    return [int(weights * (keep / weights) ** (step / steps)) for step in range(1, steps + 1)]


def _from_zero(weights: int, keep: int, steps: int) -> list[int]:
    return [weights, *chains.exponential(weights, keep, steps)[:-1]]


def _one_more(weights: int, keep: int, steps: int) -> list[int]:
    more = round(weights * (keep / weights) ** ((steps + 1) / steps))
    return [*chains.exponential(weights, keep, steps), more]


@known(
    "pruned weights took places among the largest, and then went for having gone before, so that "
    "too few are left: give them -inf before you rank"
)
def _both_masks(score: Score, weights: Tensor, keep: int, steps: int) -> Tensor:
    weights = weights.detach()
    mask = torch.ones_like(weights, dtype=torch.bool)
    for count in chains.exponential(len(weights), keep, steps):
        mask = mask & _topk(score(weights * mask), count)
    return mask


MISTAKES = (
    Mistake(
        "scored once",
        _in_steps(masked=lambda weights, mask: weights),
        "these are the scores of the whole network, in every step: call score with the weights "
        "that are left, zeros in the places of the others",
    ),
    Mistake(
        "linear schedule",
        _in_steps(counts=chains.linear),
        "your steps all remove the same number, so that the last ones take most of what is left: "
        "each step leaves the same share, (keep/n) to the power of 1/steps",
    ),
    Mistake(
        "pruned ones ranked again",
        _in_steps(ranked=lambda scores, mask: scores),
        "a pruned weight came back: it has a score too, which may be larger than that of a weight "
        "that is left. Give pruned weights -inf before you rank",
    ),
    _both_masks,
    Mistake(
        "zero for pruned ones",
        _in_steps(ranked=lambda scores, mask: scores * mask),
        "scores times mask gives pruned weights a 0, and scores may be negative, so that 0 is "
        "above them: -inf is below every score",
    ),
    Mistake(
        "threshold",
        _in_steps(chosen=_threshold),
        "with >= every weight whose score equals the last place stays, and these may be several: "
        "take positions, from topk or argsort",
    ),
    Mistake(
        "last step missing",
        _in_steps(counts=_from_zero),
        "range(steps) begins at 0 and ends one step short: the exponent of the first step is "
        "1/steps, of the last steps/steps",
    ),
    Mistake(
        "a step too many",
        _in_steps(counts=_one_more),
        "this is one step too many: after `steps` of them `keep` weights are left",
    ),
    Mistake(
        "rounded down",
        _in_steps(counts=_rounded_down),
        "int() cuts off what stands after the point, also where 2.9999999 should have been 3: "
        "take round()",
    ),
)


@dataclass(frozen=True, eq=False)
class AnyOf:
    """Every mask that is right: one for each choice among scores that tie."""

    masks: set[tuple[bool, ...]]

    def __eq__(self, other: object) -> bool:
        """Whether the other is one of them, as `_comparable` has it."""
        return other in [("torch.bool", list(mask)) for mask in self.masks]

    def __repr__(self) -> str:
        first = repr(torch.tensor(min(self.masks))).replace("\n", "")
        more = len(self.masks) - 1
        return f"{first}, or one of {more} others, as scores tie" if more else first


NONE = Mistake("none", lambda *case: None, "")


def right_masks(score: Score, weights: Tensor, keep: int, steps: int) -> AnyOf:
    masks = {(True,) * len(weights)}
    for count in chains.exponential(len(weights), keep, steps):
        masks = {left for mask in masks for left in _after(score, weights, mask, count)}
    return AnyOf(masks)


def _after(
    score: Score, weights: Tensor, mask: tuple[bool, ...], count: int
) -> Iterator[tuple[bool, ...]]:
    among = torch.tensor(mask, device=weights.device)
    scores = score.function(weights.detach() * among)
    for left in chains.largest(scores.cpu(), count, among.cpu()):
        yield tuple(left.tolist())


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(
        draw: Callable[[], Score], keep: int, steps: int, most: int = 1, wrong: Mistake = NONE
    ) -> Case:
        """Weights for which so many masks are right at most, and that mistake is none of them."""
        while True:
            score = draw()
            args = (score, whole_numbers(g, score.weights), keep, steps)
            right = right_masks(*args)
            if len(right.masks) <= most and right != _comparable(wrong(*_copied(args))):
                return args

    def ties(weights: int, keep: int, steps: int) -> Case:
        """Weights of two magnitudes, one of them on both sides of the last place."""
        signs = whole_numbers(g, weights).sign()
        sizes = torch.tensor([5.0] * (keep - 1) + [2.0] * (weights - keep + 1))
        order = torch.randperm(weights, generator=g)
        return Score("magnitude", torch.abs, weights), signs * sizes[order], keep, steps

    def changed(change: Callable[[Tensor], Tensor], *arguments: Any) -> Case:
        score, weights, keep, steps = case(*arguments)
        return score, change(weights), keep, steps

    for mistake in MISTAKES:
        score = signed if mistake.name in SHOWN_BY_SIGNS else quadratic
        if mistake.name not in SHOWN_BY_TIES:
            yield partial(case, partial(score, g, 16), 5, 4, wrong=mistake)
    yield lambda: ties(6, 3, 2)
    yield lambda: case(partial(synflow_of, 3, 2, 2), 2, 12, MOST_MASKS)  # a weight in each layer
    yield lambda: case(partial(synflow_of, 2, 3, 2, 1), 3, 20, MOST_MASKS)
    yield lambda: case(partial(quadratic, g, 12), 4, 5)
    yield lambda: case(partial(signed, g, 8), 5, 1)
    yield lambda: case(partial(quadratic, g, 5), 5, 3)  # all stay
    yield lambda: ties(4, 1, 1)
    yield lambda: case(partial(quadratic, g, 14), 3, 3)
    yield lambda: changed(Tensor.double, partial(signed, g, 7), 2, 4)
    yield lambda: changed(torch.nn.Parameter, partial(quadratic, g, 7), 3, 2)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, partial(signed, g, 7), 2, 4)


def _comparable(result: Any) -> Any:
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    return str(result.dtype), result.tolist()


def _wrong(
    given: Any, right: AnyOf, score: Score, weights: Tensor, keep: int, steps: int
) -> Wrong | None:
    if not isinstance(given, Tensor):
        return Wrong("a mask is a tensor", expected=right, given=given)
    if given.dtype != torch.bool or given.layout != torch.strided:
        return Wrong("a mask is a bool tensor", expected="torch.bool, dense", given=kind_of(given))
    if given.shape != weights.shape or given.device != weights.device:
        return Wrong(
            "the mask has the shape and device of the weights",
            expected=place_of(weights.shape, weights.device),
            given=place_of(given.shape, given.device),
        )
    if right == _comparable(given):
        return None
    counts = [len(weights), *chains.exponential(len(weights), keep, steps)]
    return Wrong(
        _explained(int(given.sum()), score, counts),
        expected=right,
        given=given,
        known_mistakes=_is_known(given, score, weights, keep, steps),
    )


def _explained(stay: int, score: Score, counts: list[int]) -> str:
    """What is wrong where so many weights stay, and so many must be left before and after steps."""
    if stay == counts[-1] and score.left == counts[:-1]:
        return "in each step the right number of weights is left, but not the right ones"
    left = ", then ".join(map(str, counts))
    if stay != counts[-1]:
        return f"{counts[-1]} weights stay, and with your mask {stay} do; left must be {left}"
    asked = ", then ".join(map(str, score.left)) or "no"
    return f"your score was taken with {asked} weights left, and there must be {left}"


def _is_known(given: Tensor, *case: Any) -> bool:
    """Whether a known mistake leaves this mask, and has as many weights left in each step.

    Masks are small: another mistake may leave the same one by chance.
    """
    for mistake in MISTAKES:
        twin = _copied(case)
        if _comparable(mistake(*twin)) == _comparable(given) and twin[0].left == case[0].left:
            return True
    return False


def _copied(case: tuple) -> tuple:
    """The same arguments, with a score that has not been asked yet."""
    score, *others = case
    return replace(score, asked=[]), *copy.deepcopy(others)


prune_in_steps = Exercise(
    "prune_in_steps",
    by_cases(_cases, right_masks, _wrong, mistakes=MISTAKES, alike=_comparable, copied=_copied),
    reference=pruned,
    core=False,
    minutes=12,
    mistakes=MISTAKES,
)
