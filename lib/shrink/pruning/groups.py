"""Dependency groups: rows, columns and statistics that go together, found from the model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shrink.modes import in_use
from shrink.plain import check_module, described, refuse_computed, refuse_packed
from shrink.pruning.dependency import Group, Member
from shrink.pruning.marks import FIXED, Axis, Marking, flat
from shrink.pruning.rules import RULES
from shrink.pruning.surgery import mask_units, remove_units
from shrink.tensors import check_plain


def dependency_groups(model: nn.Module, images: Tensor) -> dict[str, Group]:
    """The groups of units that can be removed whole, and what goes with each unit.

    The model runs once, on two images, and each entry of each activation carries the number of its
    unit: a layer makes units, an addition makes two units one, a concatenation sets them side by
    side, flattening repeats them. What goes with a unit is every entry of a parameter or buffer
    that met its number. Inputs and outputs, the classes, stay whole, and with them all that is tied
    to them. Then the groups are tried: without the first unit of each group, without the last, and
    without every second the model must compute what it computes with those units masked.

    Args:
        model: any module of linear layers, convolutions (grouped and depthwise too), batch norm,
            activations, pooling, reshaping, addition, multiplication and concatenation; not
            changed. It may use these as modules or as functions.
        images: (n, …) of which the first two are run, on the model's device; not changed.

    Returns:
        name of the first layer that makes the units → `Group`, in the order of the forward call.
        Layers that do not run are in none.

    Raises:
        TypeError: the model is no module, or the images are no tensor.
        ValueError: there is no image; or the model calls a function that has no rule here, has a
            weight that is computed at each call or is not there yet, a size written into its
            forward, or is scripted.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", sections 3.1 and 3.3; Fang et
        al. 2023, "DepGraph: Towards Any Structural Pruning", section 3, names and groups such
        dependencies.
    Differs: DepGraph follows layers and derives the indices; here each index is followed by itself.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
    ...                       nn.Linear(36, 10))
    >>> print(*dependency_groups(model, torch.zeros(1, 1, 5, 5)).values())
    0: 4 units made by 0; scaled by 1; read by 4
    """
    check_module(model)
    check_plain("the images", images)
    if images.dim() < 2 or not len(images):
        raise ValueError(f"there must be images (n, …) to run, not {tuple(images.shape)}")
    refuse_packed(model)
    _check_followed(model, images)
    groups = _groups(_axes(model, images[:2]))
    for drop in (slice(None, 1), slice(-1, None), slice(None, None, 2)):
        _try(model, images[:2], groups, {name: _without(g, drop) for name, g in groups.items()})
    return groups


def _check_followed(model: nn.Module, images: Tensor) -> None:
    """Raise `ValueError` where a call of the model would not show what it computes with."""
    for name, module in model.named_modules():
        refuse_computed(module, described(name, module))
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{name or 'the model'} is scripted: give the model it was made of")
    if images.is_meta:
        raise ValueError("the images are on meta, where nothing is computed")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet: run the model once, on an input")
        if tensor.is_meta:
            raise ValueError(f"{name} has no values: it is on the device meta")


def _axes(model: nn.Module, images: Tensor) -> dict[tuple[str, int], Axis]:
    """Of each tensor that took part, the units along its axes; what is one unit has one number."""
    marking, images = Marking(model, RULES), images.clone()  # a model may change them in place
    marking.mark(images, torch.full(images.shape, FIXED))
    with in_use(model), marking.watching(), marking:
        outputs = model(images)
    for output in flat(outputs):
        marks = marking.marks(output)
        if marks is None:
            raise ValueError(f"the model gives a {type(output).__name__} that cannot be followed")
        marking.units.fix(marks)
    return {
        key: Axis(marking.units.same(axis.marks), axis.role) for key, axis in marking.axes.items()
    }


def _groups(axes: Mapping[tuple[str, int], Axis]) -> dict[str, Group]:
    """Units that the same layers make, together, and what is theirs along each axis."""
    made: list[dict[int, None]] = []  # each the numbers of units, in the order of their first layer
    for axis in axes.values():
        units = {mark: None for mark in axis.marks.tolist() if mark != FIXED}
        if axis.role == "makes" and units:
            ours = [other for other in made if other.keys() & units.keys()]
            joined = {mark: None for other in [*ours, units] for mark in other}
            place = made.index(ours[0]) if ours else len(made)
            made[place : place + 1] = [joined]
            made = [other for other in made if other not in ours[1:]]
    groups: dict[str, Group] = {}
    for units in made:
        members = _members(axes, torch.tensor([*units]))
        first = next(member for member in members if member.role == "makes")
        name = first.layer if first.layer and first.layer not in groups else first.tensor
        groups[name] = Group(name, len(units), members)
    return groups


def _members(axes: Mapping[tuple[str, int], Axis], units: Tensor) -> tuple[Member, ...]:
    members = []
    places = torch.full((1 + int(max(axis.marks.max() for axis in axes.values())),), -1)
    places[units] = torch.arange(len(units))
    for (tensor, along), axis in axes.items():
        if ((numbers := places[axis.marks]) >= 0).any():
            members.append(Member(tensor, along, numbers, axis.role))
    return tuple(members)


def _without(group: Group, drop: slice) -> Tensor:
    """The group's units without these, except the last of them in a layer that has no other."""
    keep = torch.ones(group.units, dtype=torch.bool)
    keep[drop] = False
    for member in group.members:
        units = member.units[member.units >= 0]
        if not keep[units].any():
            keep[units[-1]] = True
    return keep.nonzero().flatten()


def _try(
    model: nn.Module, images: Tensor, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> None:
    """Raise `ValueError` unless removing units does what masking them does."""
    masked, smaller = mask_units(model, groups, kept), remove_units(model, groups, kept)
    why = "its units cannot be removed: without some of each group the model"
    with in_use(masked), in_use(smaller):
        expected = [*flat(masked(images.clone()))]
        try:
            found = [*flat(smaller(images.clone()))]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{why} does not run; is a size written in it? ({error})") from error
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"{why} gives {tuple(ours.shape)} in place of {tuple(theirs.shape)}")
        off, size = (ours - theirs).abs().max(), theirs.abs().max()
        if not off <= max(1e-3, torch.finfo(off.dtype).eps ** 0.5) * size:  # nor where it is NaN
            raise ValueError(f"{why} gives other outputs than with it masked, by {off:.2g}")
