"""How much a unit is worth: by its weights, by its batch norm, by what the layers behind it get."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from shrink.arguments import whole_number, whole_seed
from shrink.modes import in_use
from shrink.plain import check_module
from shrink.pruning.arguments import check_weight
from shrink.pruning.dependency import Group, Member, check_fits
from shrink.tensors import check_tensor, wide

SCORES = ("l1", "l2", "gamma", "activation", "random")


def weight_scores(weight: Tensor, norm: int = 1, axis: int = 0) -> Tensor:
    """The L1 or L2 norm of the weights of each unit: of each entry along the axis.

    >>> weight_scores(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    tensor([3., 7.])
    >>> weight_scores(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), norm=2)
    tensor([2.2361, 5.0000])

    Args:
        weight: floating point, any shape of one axis or more, as (out, in, height, width).
        norm: 1 for the sum of magnitudes, 2 for the root of the sum of squares.
        axis: whose entries are the units: 0 for outputs (filters), 1 for inputs.

    Returns:
        float32 (units,), or float64 for such weights. Narrower ones are added up in float32.

    Raises:
        TypeError: the weight is not floating point, or `norm` or `axis` is not whole.
        ValueError: the weight is empty, holds NaN or is a single number, `norm` is neither 1 nor 2,
            or there is no such axis.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1 (L1).
    """
    check_weight("weight", weight)
    if weight.dim() == 0:
        raise ValueError("weight is a single number, and has no axis of units")
    norm = whole_number("norm", norm, 1, 2)
    axis = whole_number("axis", axis, -weight.dim(), weight.dim() - 1)
    return _power_sums(weight, axis, norm) ** (1 / norm)


def group_scores(
    model: nn.Module,
    group: Group,
    by: str,
    *,
    images: Tensor | None = None,
    seed: int | None = None,
) -> Tensor:
    """One score for each unit of a dependency group, over all layers that the unit goes through.

    - "l1", "l2": the norm of all weights that make the unit, those of all its layers together.
      Biases do not count.
    - "gamma": the mean magnitude of its batch norms' weights.
    - "activation": the mean magnitude of what the layers behind it take in, over images and places.
    - "random": equally likely in any order. The groups of a model are drawn apart from one seed.

    Only "activation" and "gamma" can be compared between groups as they are, and only as far as
    what is behind a unit does not undo its scale.

    Args:
        model: any whose `dependency_groups` have the group; not changed, and called for
            "activation" only, in `eval` mode.
        group: of this model.
        by: one of the five names above.
        images: the model's input, for "activation".
        seed: for "random"; the same seed gives the same scores, on every device.

    Returns:
        floating point (group.units,), float32 at least, on the device of the weights.

    Raises:
        TypeError: `model` is no module, or a weight is not floating point.
        ValueError: there is no score of that name, or what it needs is missing: images, a seed,
            weights that make each unit, a batch norm behind each, layers that take each in; a
            weight or a score is NaN; or the group is not of this model.

    Source: Li et al. 2017, section 3.1 ("l1"); Liu et al. 2017, "Network Slimming", section 3
        ("gamma"); Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource
        Efficient Inference", section 2.2 ("activation").
    Differs: Li et al. rank the filters of one layer; here a unit of several layers, as behind a
        residual sum, has one score.
    """
    check_module(model)
    if by not in SCORES:
        raise ValueError(f"by must be one of {', '.join(SCORES)}, not {by!r}")
    tensors = check_fits(model, {group.name: group})
    members = [(member, tensors[member.tensor]) for member in group.members]
    for member, tensor in members:
        check_weight(member.tensor, tensor)
    if by == "random":
        return _random(group, seed).to(members[0][1].device)
    if by == "gamma":
        return _gamma(model, group, members)
    if by == "activation":
        return _activation(model, group, members, images)
    norm = 1 if by == "l1" else 2
    sums = [
        (member, _power_sums(weight, member.axis, norm))
        for member, weight in members
        if member.role == "makes" and weight.dim() > 1  # no bias
    ]
    return _over_entries(group, sums, "weights that make it")[0] ** (1 / norm)


def _power_sums(weight: Tensor, axis: int, norm: int) -> Tensor:
    """Of each entry along the axis, the sum of |w| ** norm."""
    magnitudes = wide(weight.detach()).movedim(axis, 0).abs()
    return (magnitudes**norm).reshape(len(magnitudes), -1).sum(1)


def _random(group: Group, seed: int | None) -> Tensor:
    if seed is None:
        raise ValueError("by='random' needs a seed")
    rng = random.Random(f"{whole_seed(seed)} {group.name}")
    return torch.tensor([rng.random() for _ in range(group.units)])


def _gamma(model: nn.Module, group: Group, members: Sequence[tuple[Member, Tensor]]) -> Tensor:
    gammas = [
        (member, wide(weight.detach()).abs())
        for member, weight in members
        if member.tensor.endswith("weight")
        and isinstance(model.get_submodule(member.layer), _BatchNorm)
    ]
    sums, entries = _over_entries(group, gammas, "batch norm with a weight")
    return sums / entries


def _activation(
    model: nn.Module,
    group: Group,
    members: Sequence[tuple[Member, Tensor]],
    images: Tensor | None,
) -> Tensor:
    if images is None:
        raise ValueError("by='activation' needs images, which the model is called with")
    check_tensor("images", images)
    if not images.numel():
        raise ValueError(f"images {tuple(images.shape)} has none: there is no activation")
    readers = [(member, weight) for member, weight in members if member.role == "reads"]
    taken = _mean_inputs(model, readers, images)
    sums, entries = _over_entries(group, taken, "layer that takes it in")
    scores = sums / entries
    check_weight(f"the mean activation of {group.name}", scores)
    return scores


def _mean_inputs(
    model: nn.Module, readers: Sequence[tuple[Member, Tensor]], images: Tensor
) -> list[tuple[Member, Tensor]]:
    """Of each reader, the mean magnitude of what each of its entries takes in."""
    inputs = {member.tensor: _MeanInput(len(member.units)) for member, _ in readers}
    hooks = []
    try:
        for member, weight in readers:
            for layer in _layers_of(model, member, weight):
                add = inputs[member.tensor].add
                hooks.append(layer.register_forward_pre_hook(add, with_kwargs=True))
        with in_use(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for member, _ in readers:
        if not inputs[member.tensor].count:
            raise ValueError(f"{member.layer} takes in nothing: the model does not call it")
    return [(m, inputs[m.tensor].total / inputs[m.tensor].count) for m, _ in readers]


class _MeanInput:
    """Adds up the magnitudes that come into a layer, for each entry of its weight's inputs."""

    def __init__(self, entries: int) -> None:
        self.entries, self.count = entries, 0
        self.total: Tensor | float = 0.0

    def add(self, layer: nn.Module, args: tuple, kwargs: dict) -> None:
        x = args[0] if args else kwargs["input"]
        channels = _power_sums(x, 1 - layer.weight.dim(), 1)
        # in a grouped convolution an entry takes in one channel of each group
        self.total = self.total + channels.view(-1, self.entries).sum(0)
        self.count += x.numel() // self.entries


def _layers_of(model: nn.Module, member: Member, weight: Tensor) -> list[nn.Module]:
    """The layers of this weight: several where it is tied.

    Raises `ValueError` for what is no linear layer and no convolution: it may do anything to what
    it is given before the weight takes it in.
    """
    layers = [m for m in model.modules() if any(p is weight for p in m.parameters(recurse=False))]
    for layer in layers:
        if not isinstance(layer, nn.Linear | _ConvNd):
            raise ValueError(
                f"{member.tensor} is the weight of a {type(layer).__name__}, and what it takes in "
                "is known of linear layers and convolutions only"
            )
    return layers


def _over_entries(
    group: Group, numbers: Sequence[tuple[Member, Tensor]], what: str
) -> tuple[Tensor, Tensor]:
    """Of each unit, the sum of the numbers of its entries, and how many there are, never none."""
    if not numbers:
        raise ValueError(f"the units of {group.name} have no {what}")
    values = torch.cat([of_entries for _, of_entries in numbers])
    units = torch.cat([member.units for member, _ in numbers]).to(values.device)
    values, units = values[units >= 0], units[units >= 0]
    sums = values.new_zeros(group.units).index_add(0, units, values)
    entries = torch.bincount(units, minlength=group.units)
    if bare := (entries == 0).nonzero().flatten().tolist():
        raise ValueError(f"unit {bare[0]} of {group.name} has no {what}")
    return sums, entries
