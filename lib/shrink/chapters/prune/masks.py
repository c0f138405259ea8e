"""The exercises of chapter 02 that choose masks: of one weight, of all together; how they break.

Their oracle is the definition, in numpy: how many weights go, and that none that goes is larger
than one that stays. So any tie order passes, and so does any algorithm.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink import pruning
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, kind_of, known, place_of
from shrink.classroom.exercises.cases import Draw, by_cases, generator, none_may_hide
from shrink.classroom.exercises.exercise import Exercise


def _keep_all_but(scores: Tensor, count: int) -> Tensor:
    """A mask that drops exactly `count` of the smallest scores, by sorting; count may be off."""
    keep = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    keep[scores.flatten().argsort()[: max(count, 0)]] = False
    return keep.view(scores.shape)


def _sorted(weight: Tensor) -> Tensor:
    return weight.abs().flatten().sort().values


@known("the most negative weights went first: magnitude means absolute value")
def signed(weight: Tensor, sparsity: float) -> Tensor:
    return _keep_all_but(weight, round(sparsity * weight.numel()))


@known(
    "one weight too many survives: is the k-th smallest pruned? Do you count from 0 or from 1?",
    "k off by one",
)
def off_by_one(weight: Tensor, sparsity: float) -> Tensor:
    return _keep_all_but(weight.abs(), round(sparsity * weight.numel()) - 1)


@known("your mask is True where a weight is pruned; True means keep")
def inverted(weight: Tensor, sparsity: float) -> Tensor:
    return ~_keep_all_but(weight.abs(), round(sparsity * weight.numel()))


@known("sparsity is the fraction of zeros, not of what is kept")
def fraction_kept(weight: Tensor, sparsity: float) -> Tensor:
    return _keep_all_but(weight.abs(), round((1 - sparsity) * weight.numel()))


@known("argsort gives the positions of the sorted weights, not the rank of each weight")
def positions_as_ranks(weight: Tensor, sparsity: float) -> Tensor:
    k = round(sparsity * weight.numel())
    return (weight.abs().flatten().argsort() >= k).view(weight.shape)


@known(
    "keeping everything at or above a threshold keeps too much where magnitudes tie with it; "
    "decide which of the equal ones go"
)
def threshold(weight: Tensor, sparsity: float) -> Tensor:
    k = round(sparsity * weight.numel())
    kept = _sorted(weight)[k:]
    return weight.abs() >= (kept[0] if len(kept) else torch.inf)


@known(
    "keeping only what lies above the k-th magnitude prunes too much where magnitudes tie with it; "
    "decide which of the equal ones stay"
)
def strict_threshold(weight: Tensor, sparsity: float) -> Tensor:
    k = round(sparsity * weight.numel())
    return weight.abs() > (_sorted(weight)[k - 1] if k else -1)


@known("a quantile is a value between two weights, or one of them: it counts nothing; rank them")
def quantile(weight: Tensor, sparsity: float) -> Tensor:
    return weight.abs() > torch.quantile(weight.abs(), sparsity)


BREAKABLE = (threshold, strict_threshold, off_by_one, signed)


def _wrong_masks(
    masks: Any, _: Any, weights: Mapping[str, Tensor], sparsity: float
) -> Wrong | None:
    """What is wrong with masks for these weights taken together, by the definition; or None."""
    if not isinstance(masks, Mapping) or masks.keys() != weights.keys():
        return Wrong(
            "return one mask a layer: a dict with the names of the weights",
            expected=f"a dict with the names {', '.join(weights)}",
            given=masks,
        )
    for name, weight in weights.items():
        if wrong := _no_mask_for(weight, masks[name]):
            return wrong
    keep = np.concatenate([masks[name].cpu().numpy().ravel() for name in weights])
    size = np.concatenate([w.detach().cpu().double().numpy().ravel() for w in weights.values()])
    size = np.abs(size)
    number = round(sparsity * keep.size)
    if (~keep).sum() != number:
        return Wrong(
            f"of {keep.size} weights at sparsity {sparsity:g} exactly {number} go",
            expected=f"{number} False",
            given=f"{(~keep).sum()} False: {_brief(masks)}",
        )
    if 0 < number < keep.size and size[~keep].max() > size[keep].min():
        return Wrong(
            f"a weight of magnitude {size[~keep].max():.4g} went, "
            f"and one of {size[keep].min():.4g} stayed",
            given=_brief(masks),
        )
    return None


def _no_mask_for(weight: Tensor, mask: Any) -> Wrong | None:
    if not isinstance(mask, Tensor):
        return Wrong("a mask is a tensor", expected="a bool tensor", given=mask)
    if mask.dtype != torch.bool or mask.layout != torch.strided:
        given = kind_of(mask)
        return Wrong("a mask is a bool tensor", expected="torch.bool, dense", given=given)
    if mask.shape != weight.shape or mask.device != weight.device:
        return Wrong(
            "a mask has the shape and device of its weight",
            expected=place_of(weight.shape, weight.device),
            given=place_of(mask.shape, mask.device),
        )
    return None


def _brief(masks: Mapping[str, Tensor]) -> str:
    return "; ".join(
        " ".join(str(m.tolist()).split()) if m.numel() <= 24 else f"shape {tuple(m.shape)}"
        for m in masks.values()
    )


def _wrong_mask(mask: Any, _: Any, weight: Tensor, sparsity: float) -> Wrong | None:
    return _wrong_masks({"weight": mask}, _, {"weight": weight}, sparsity)


def _mask_cases(rng: random.Random) -> Iterator[tuple[Tensor, float]]:
    g = generator(rng)
    for k in rng.sample(range(3, 8), 3):
        weight = torch.randn(4, 4, generator=g)
        weight[0, 0] = 4  # the largest is positive: signed values and magnitudes rank apart
        yield weight, k / 16
    yield torch.randn(11, generator=g), 0.25  # 2.75 weights: round, not cut off
    yield torch.randn(10, generator=g), 0.25  # 2.5 weights: Python rounds half to even
    yield torch.randn(5, generator=g), 0
    yield torch.randn(5, generator=g), 1
    for k in rng.sample(range(1, 12), 4):  # magnitudes that tie, under both signs
        yield torch.randint(1, 4, (12,), generator=g) * torch.tensor([1.0, -1.0] * 6), k / 12
    yield torch.full((6,), rng.choice([0.0, 0.5, -2.0])), 0.5
    yield torch.randn(1, generator=g), rng.choice([0.2, 0.8])
    yield torch.randn(6, 4, generator=g).t(), 0.5  # not contiguous
    yield torch.randn(5, 2, 3, 3, generator=g), rng.uniform(0.1, 0.9)
    yield torch.randn(9, generator=g, dtype=torch.float64), 1 / 3
    yield torch.nn.Parameter(torch.randn(12, generator=g)), 0.75
    if torch.cuda.is_available():
        yield torch.randn(12, generator=g).cuda(), 0.75


magnitude_mask = Exercise(
    "magnitude_mask",
    by_cases(_mask_cases, pruning.magnitude_mask, _wrong_mask),
    reference=pruning.magnitude_mask,
    core=True,
    minutes=15,
    mistakes=(
        signed,
        off_by_one,
        inverted,
        fraction_kept,
        positions_as_ranks,
        threshold,
        strict_threshold,
        quantile,
    ),
)


def _over_all(one_mask: Callable[[Tensor, float], Tensor]) -> Callable:
    """A wrong mask of one tensor, made a wrong mask of all weights laid end to end."""

    def masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        keep = one_mask(torch.cat([w.detach().flatten() for w in weights.values()]), sparsity)
        parts = keep.split([w.numel() for w in weights.values()])
        return {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}

    return masks


@known("every layer lost the same share: rank the weights of all layers together")
def local(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    return {n: pruning.magnitude_mask(w, sparsity) for n, w in weights.items()}


@known("the mean of the layers' thresholds is not the threshold of all weights together")
def mean_threshold(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    each = [_sorted(w.detach())[int(sparsity * (w.numel() - 1))] for w in weights.values()]
    return {n: w.detach().abs() > torch.stack(each).mean() for n, w in weights.items()}


@known("magnitudes are compared as they are, not relative to the largest of their layer")
def normalised(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    return pruning.global_masks(
        {n: w.detach() / w.detach().abs().max() for n, w in weights.items()}, sparsity
    )


GLOBAL_MISTAKES = (
    local,
    *(
        Mistake(m.name, _over_all(m.function), m.hint)
        for m in (signed, inverted, threshold, strict_threshold)
    ),
    normalised,
    mean_threshold,
)


def _listed(masks: Any) -> Any:
    """Masks as what compares."""
    if not isinstance(masks, Mapping):
        return masks
    return {n: ("tensor", m.tolist()) if isinstance(m, Tensor) else m for n, m in masks.items()}


def _global_cases(rng: random.Random) -> Iterator[tuple | Draw]:
    g = generator(rng)

    def layers(*scales: float) -> dict[str, Tensor]:
        shapes = [(2, 4), (4,), (2, 2)]
        return {
            f"fc{i + 1}.weight": scale * torch.randn(shape, generator=g)
            for i, (scale, shape) in enumerate(zip(scales, shapes, strict=False))
        }

    def small(sparsity: float) -> tuple[dict[str, Tensor], float]:
        weights = layers(0.01, 1, 4)
        weights["fc2.weight"][0] = 4  # the largest is positive: signed values rank apart
        return weights, sparsity

    yield lambda: small(0.4375)
    yield small(0.5)  # one layer loses everything, the others nothing
    for k in rng.sample(range(3, 8), 2):
        yield layers(1, 2, 0.5), k / 16
    yield layers(1, 1), 0.15  # 1.8 weights: round, not cut off
    yield layers(1, 1, 1), 0.15625  # 2.5 weights
    yield layers(1, 1, 1), 0
    yield layers(1, 1, 1), 1
    ties = torch.randint(1, 4, (12,), generator=g) * torch.tensor([1.0, -1.0] * 6)
    for k in rng.sample(range(2, 11), 3):
        yield {"a": ties[:6].view(2, 3), "b": ties[6:]}, k / 12
    yield layers(1), 0.5
    yield {n: torch.nn.Parameter(w) for n, w in layers(1, 3, 1).items()}, 0.5
    if torch.cuda.is_available():
        yield {n: w.cuda() for n, w in layers(1, 3, 1).items()}, 0.5


global_masks = Exercise(
    "global_masks",
    by_cases(
        _global_cases,
        pruning.global_masks,
        _wrong_masks,
        mistakes=GLOBAL_MISTAKES,
        alike=_listed,
    ),
    reference=pruning.global_masks,
    core=True,
    minutes=10,
    mistakes=GLOBAL_MISTAKES,
)


def _check_break_the_masks(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    if not (isinstance(given, tuple) and len(given) == 2):
        raise Wrong("return a pair", expected="(weight, sparsity)", given=given)
    weight, sparsity = given
    try:
        pruning.magnitude_mask(weight, sparsity)
    except (TypeError, ValueError) as error:
        raise Wrong(f"the right mask has no answer either: {error}", given=given) from None
    if weight.numel() > 12:
        raise Wrong("twelve weights are plenty", given=weight)
    none_may_hide(
        BREAKABLE,
        lambda mistake: not _wrong_mask(mistake(weight, sparsity), None, weight, sparsity),
        given,
        "on your input the mask comes out right",
    )


break_the_masks = Exercise(
    "break_the_masks",
    _check_break_the_masks,
    core=False,
    minutes=10,
)
