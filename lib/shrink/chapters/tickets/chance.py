"""What chance gives the controls of a ticket, and how a pair of controls is unlike it.

New initial values are told by the distribution of a layer's numbers, and by their correlation with
the old ones; random places by their number, and by what they share with the old mask. Each bound is
so wide that chance breaks it less than once in 100 million times.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets.control_mistakes import Masks, drawn_anew, linear_layers

DEVIATIONS = 6  # from what chance gives on the average
ROUNDING = 1e-4  # of a bound, relative
NEARLY_NORMAL = 0.06  # the largest distance from a normal distribution that is called normal
UNLIKELY = 1e-9  # that chance alone gives a distribution so far from its own
MOST_UNEVEN = 3  # times the variance that chance gives the sums of rows, or of columns


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one half of an answer: a code, by which mistakes are known, and words."""

    code: str
    told: str
    expected: Any = None
    given: Any = None


def distance(probabilities: Tensor) -> float:
    """Of Kolmogorov and Smirnov: how far what should be uniform from 0 to 1 is from that."""
    ranked = probabilities.clamp(0, 1).sort().values
    steps = torch.arange(len(ranked) + 1, dtype=torch.float64) / len(ranked)
    return float(torch.maximum(steps[1:] - ranked, ranked - steps[:-1]).max())


def _is_uniform(values: Tensor, bound: float) -> bool:
    """Whether chance may give values like these (Dvoretzky, Kiefer, Wolfowitz, Massart)."""
    may_be = math.sqrt(math.log(2 / UNLIKELY) / (2 * len(values)))
    inside = float(values.abs().max()) <= bound * (1 + ROUNDING)
    return inside and distance((values / bound + 1) / 2) <= may_be


def _is_normal(values: Tensor) -> bool:
    spread = values.std()
    return bool(spread > 0) and distance(torch.special.ndtr(values / spread)) < NEARLY_NORMAL


def _numbers(p: Tensor, keep: Tensor | None) -> Tensor:
    """The values where the mask is True, all if there is none, in float64 on the CPU."""
    p = p.detach().cpu().double()
    return p.flatten() if keep is None else p[keep.cpu()]


def _of_values(
    name: str, values: Tensor, others: Mapping[str, Tensor], inputs: int
) -> Verdict | None:
    """What is wrong with the values of a parameter; `others` are what they must not go with."""
    for whose, old in others.items():
        if torch.equal(values, old):
            return Verdict(whose, f"{name} has the values that {whose}")
    for old in others.values():
        if torch.equal(values.sort().values, old.sort().values):
            return Verdict("swapped", f"{name} has the old values, in other places")
    for old in others.values():
        pairs = (values, old), (values.abs(), old.abs())
        correlations = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
        largest = max(correlations, key=abs)
        if abs(largest) > DEVIATIONS / math.sqrt(len(values)):
            return Verdict(
                "related",
                f"the values of {name} go with the old ones: the correlation (of the values, or of "
                f"their magnitudes) is {largest:.2f}, and chance gives nearly 0",
            )
    bound = 1 / math.sqrt(inputs)
    return None if _is_uniform(values, bound) else _of_distribution(name, values, inputs, bound)


def _of_distribution(name: str, values: Tensor, inputs: int, bound: float) -> Verdict:
    drawn = f"nn.Linear draws evenly between -{bound:.4g} and {bound:.4g}, 1/√{inputs}"
    largest = float(values.abs().max())
    if largest > 0 and _is_uniform(values, largest):
        told = f"the values of {name} are spread evenly between -{largest:.4g} and {largest:.4g}"
        return Verdict("another bound", f"{told}; {drawn}")
    return Verdict(
        "normal" if _is_normal(values) else "another distribution",
        f"the values of {name} are not distributed as those of a new layer: {drawn}",
        expected=f"standard deviation {bound / math.sqrt(3):.4g}, largest {bound:.4g}",
        given=f"standard deviation {values.std():.4g}, largest {largest:.4g}",
    )


def of_net(net: nn.Module, model: nn.Module, masks: Masks, seed: int) -> Verdict | None:
    """What is wrong with the network, if anything: its weights come first, then its biases."""
    made = dict(drawn_anew(copy.deepcopy(model).cpu(), seed).named_parameters())
    inputs = {name: layer.in_features for name, layer in linear_layers(model)}
    new, old = dict(net.named_parameters()), dict(model.named_parameters())
    for name in sorted(old, key=lambda name: old[name].dim(), reverse=True):
        keep = masks.get(name)
        others = {"came in": old[name], "the model was made with": made[name]}
        numbers = {whose: _numbers(p, keep) for whose, p in others.items()}
        values = _numbers(new[name], keep)
        if len(values) < 2:
            continue
        if verdict := _of_values(name, values, numbers, inputs[name.rpartition(".")[0]]):
            kind = "weights" if old[name].dim() > 1 else "biases"
            return replace(verdict, code=f"{kind}: {verdict.code}")
    return None


def of_masks(given: Masks, masks: Masks) -> Verdict | None:
    """What is wrong with the masks, if anything."""
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    counts = {name: int(given[name].sum()) for name in masks}
    if counts != kept:
        name = next(name for name in masks if counts[name] != kept[name])
        off = max(abs(counts[n] - kept[n]) / max(_coin(kept[n], m), 1) for n, m in masks.items())
        moved = sum(counts.values()) == sum(kept.values()) and off > DEVIATIONS
        by_chance = off <= 2 * DEVIATIONS
        return Verdict(
            "moved" if moved else "off by chance" if by_chance else "far off",
            f"{name} must keep as many weights as before",
            expected=f"{kept[name]} of {masks[name].numel()}",
            given=f"{counts[name]} of {masks[name].numel()}",
        )
    for name, mask in masks.items():
        if verdict := _of_mask(name, given[name].cpu(), mask.cpu()):
            return verdict
    return None


def _coin(kept: int, mask: Tensor) -> float:
    """The standard deviation of the number that stays, if each does with the same probability."""
    return math.sqrt(kept * (1 - kept / mask.numel()))


def _of_mask(name: str, given: Tensor, mask: Tensor) -> Verdict | None:
    """What is wrong with a mask of the right count."""
    if mask.all() or not mask.any():
        return None
    if torch.equal(given, mask):
        return Verdict("the same", f"the mask of {name} is the one that came in")
    for axis, lines in enumerate(("rows", "columns")):
        if sorted(given.movedim(axis, 0).tolist()) == sorted(mask.movedim(axis, 0).tolist()):
            return Verdict(lines, f"the mask of {name} has the {lines} of the old one, reordered")
    overlap = pruning.mask_overlap({name: given}, {name: mask})[name]
    if abs(overlap.shared - overlap.expected) > DEVIATIONS * overlap.deviation:
        return Verdict(
            "overlap",
            f"your mask of {name} and the old one both keep {overlap.shared} weights, and random "
            f"places would share {overlap.expected:.0f} ± {overlap.deviation:.0f}",
        )
    for axis, lines in enumerate(("rows", "columns")):
        sums = given.movedim(axis, 0).flatten(1).sum(1).double()
        share = float(given.double().mean())
        by_chance = given.numel() / len(sums) * share * (1 - share)  # the variance of a sum
        if float(sums.var()) > MOST_UNEVEN * by_chance:
            return Verdict(
                "pattern",
                f"the {lines} of your mask of {name} keep {int(sums.min())} to {int(sums.max())} "
                "weights, far more unevenly than random places would be spread over the layer",
            )
    return None
