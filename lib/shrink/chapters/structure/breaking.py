"""An exercise of chapter 07: a small net on which four wrong surgeries show.

The net is `outputs`: two convolutions of 1x1 with a sum about the second, and a linear layer.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.chapters.structure import channels, flatten, layers, residual_block
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole_numbers

MOST, LARGEST = 4, 10  # channels and places of a net, and magnitudes of its numbers
SMALLEST_DIFFERENCE = 0.1  # of outputs, from which a mistake shows
ENTRIES = ("stem", "gamma", "beta", "mean", "var", "conv", "fc", "image")
NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


@dataclass(frozen=True)
class Net:
    """The net as torch's layers take it, in float64."""

    stem: Tensor  # (channels, 1, 1, 1)
    norm: Mapping[str, Tensor]  # each (channels,)
    conv: Tensor  # (channels, channels, 1, 1)
    fc: Tensor  # (1, channels * places)
    image: Tensor  # (1, 1, 1, places)

    @property
    def places(self) -> int:
        return self.image.shape[-1]


def output(net: Net) -> Tensor:
    """The one number that the net makes of its image, (1, 1)."""
    h = layers.convolved(net.image, {"weight": net.stem})
    h = F.relu(layers.normed(h, net.norm))
    h = F.relu(h + layers.convolved(h, {"weight": net.conv}))
    return F.linear(h.flatten(1), net.fc)


def masked(net: Net, kept: Tensor) -> Net:
    """The net as large as it was, with zeros in all that makes and scales the channels that go."""
    return replace(
        net,
        stem=layers.masked(net.stem, 0, kept),
        norm=layers.masked_layer(net.norm, kept),
        conv=layers.masked(net.conv, 0, kept),
    )


def _filters_only(net: Net, kept: Tensor) -> Net:
    return replace(masked(net, kept), norm=net.norm)


def _surgery(
    remove: Callable = channels.removed,
    rows: Callable[[Tensor, Tensor], Tensor] = lambda conv, kept: kept,
    columns: Callable = flatten.inputs_removed,
) -> Callable[[Net, Tensor], Net]:
    """How the net is made smaller, right except for what is passed."""

    def smaller(net: Net, kept: Tensor) -> Net:
        case = ({"weight": net.stem}, net.norm, {"weight": net.conv}, kept)
        stem, norm, conv = remove(*case)
        return Net(
            stem["weight"],
            norm,
            layers.taken(conv["weight"], 0, rows(net.conv, kept)),
            columns(net.fc, kept, net.places),
            net.image,
        )

    return smaller


def _own_choice(conv: Tensor, kept: Tensor) -> Tensor:
    """The strongest rows, as many as are kept; of those that tie, the kept ones first."""
    strength, among = residual_block.l1(conv).tolist(), kept.tolist()
    order = sorted(range(len(conv)), key=lambda row: (-strength[row], row not in among))
    return torch.tensor(sorted(order[: len(kept)]))


surgery = _surgery()
BREAKABLE = (
    Mistake("filters only", _filters_only, "the batch norm makes a constant of the zeros"),
    replace(channels.FIRST_STATISTICS, function=_surgery(channels.FIRST_STATISTICS)),
    Mistake("own choice", _surgery(rows=_own_choice), "stem and conv keep different channels"),
    replace(flatten.ONE_COLUMN, function=_surgery(columns=flatten.ONE_COLUMN)),
)


def _need(holds: bool, told: str, given: Any) -> None:
    if not holds:
        raise Wrong(told, given=given)


def _numbers(name: str, given: Any) -> Tensor:
    """The numbers of one entry of the net, float64; `Wrong` where they are not what can be used."""
    try:
        numbers = torch.as_tensor(given).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Wrong(f"{name} is a list of numbers, or a tensor", given=given) from None
    _need(numbers.isfinite().all().item(), f"{name} has a number that is not finite", given)
    small = f"the numbers of {name} lie from -{LARGEST} to {LARGEST}"
    _need((numbers.abs() <= LARGEST).all().item(), small, given)
    return numbers


def read(given: Any) -> tuple[Net, Tensor]:
    """The net and the channels that stay, or `Wrong` where they are none."""
    pair = isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], Mapping)
    if not pair:
        raise Wrong("return a dict and a list", expected="(net, kept)", given=given)
    net, kept = given
    if set(net) != set(ENTRIES):
        raise Wrong("the net has other entries", expected=list(ENTRIES), given=list(net))
    found = {name: _numbers(name, net[name]) for name in ENTRIES}
    count, places = (found[name].numel() for name in ("stem", "image"))
    within = 1 <= count <= MOST and 1 <= places <= MOST
    most = f"stem has 1 to {MOST} numbers, one per channel, and image 1 to {MOST}, one per place"
    _need(within, most, f"{count} and {places}")
    shapes = dict.fromkeys(("stem", *NORM), (count,))
    shapes |= {"conv": (count, count), "fc": (count * places,), "image": (places,)}
    for name, shape in shapes.items():
        told = f"for a stem of {count} and an image of {places}, {name} has the shape {shape}"
        _need(found[name].shape == shape, told, net[name])
    _need((found["var"] >= 0.1).all().item(), "variances are 0.1 or more", net["var"])
    return _net(found), _kept(kept, count)


def _kept(given: Any, count: int) -> Tensor:
    kept = whole_numbers(given)
    ascending = kept is not None and kept == sorted(set(kept))
    _need(ascending, "kept is a list of whole numbers that rise", given)
    within = all(0 <= channel < count for channel in kept)
    _need(within, f"the channels are numbered 0 to {count - 1}", given)
    _need(len(kept) > 0, "kept is empty: a layer without channels passes nothing on", given)
    _need(len(kept) < count, "kept has all channels, so that nothing is removed", given)
    return torch.tensor(kept)


def _net(found: Mapping[str, Tensor]) -> Net:
    return Net(
        found["stem"].view(-1, 1, 1, 1),
        {of_torch: found[name] for name, of_torch in NORM.items()},
        found["conv"][..., None, None],
        found["fc"][None],
        found["image"].view(1, 1, 1, -1),
    )


def difference(mistake: Callable[[Net, Tensor], Net], net: Net, kept: Tensor) -> float:
    """How far the output is from the right one; infinite where the smaller net does not run."""
    try:
        return (output(mistake(net, kept)) - output(surgery(net, kept))).abs().item()
    except RuntimeError:
        return torch.inf


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    net, kept = read(given)
    far = {mistake.name: difference(mistake, net, kept) for mistake in BREAKABLE}
    told = {name: "does not run" if d == torch.inf else f"by {d:.2f}" for name, d in far.items()}
    right = output(surgery(net, kept)).item()
    none_may_hide(
        [replace(mistake, name=f"{mistake.name} ({told[mistake.name]})") for mistake in BREAKABLE],
        lambda mistake: difference(mistake, net, kept) < SMALLEST_DIFFERENCE,
        given,
        f"on your net the output is within {SMALLEST_DIFFERENCE} of the right one, {right:.3g}",
        otherwise="off",
    )


break_the_surgery = Exercise("break_the_surgery", _check, core=False, minutes=10)
