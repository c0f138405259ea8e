"""How much a unit is worth: by its weights, by its batch norm, by what comes out of it."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrink.arguments import whole_number, whole_seed
from shrink.modes import in_use
from shrink.plain import check_module
from shrink.pruning.arguments import check_weight
from shrink.tensors import check_tensor, first_names, wide

if TYPE_CHECKING:
    from shrink.pruning.groups import Group, Member

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
    group: "Group",
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
        Efficient Inference", section 2.2 ("activation", "random").
    Differs: Li et al. rank the filters of one layer; here a unit of several layers, as behind a
        residual sum, has one score.
    """
    check_module(model)
    if by not in SCORES:
        raise ValueError(f"by must be one of {', '.join(SCORES)}, not {by!r}")
    if by == "random":
        return _random(model, group, seed)
    if by == "gamma":
        return _gamma(model, group)
    if by == "activation":
        return _activation(model, group, images)
    norm = 1 if by == "l1" else 2
    made = [(m, w) for m, w in _tensors(model, group, "makes") if w.dim() > 1]  # no biases
    sums, _ = _over_entries(group, [(m, _power_sums(w, m.axis, norm)) for m, w in made], "weights")
    return sums ** (1 / norm)


def _power_sums(weight: Tensor, axis: int, norm: int) -> Tensor:
    """Of each entry along the axis, the sum of |w| ** norm."""
    magnitudes = wide(weight.detach()).movedim(axis, 0).abs()
    return (magnitudes**norm).reshape(len(magnitudes), -1).sum(1)


def _gamma(model: nn.Module, group: "Group") -> Tensor:
    gammas = [
        (member, wide(weight.detach()).abs())
        for member, weight in _tensors(model, group, "scales")
        if _is_gamma(model, member.tensor)
    ]
    sums, entries = _over_entries(group, gammas, "a batch norm")
    return sums / entries


def _is_gamma(model: nn.Module, tensor: str) -> bool:
    layer, _, name = tensor.rpartition(".")
    return name == "weight" and isinstance(model.get_submodule(layer), _BatchNorm)


def _activation(model: nn.Module, group: "Group", images: Tensor | None) -> Tensor:
    if images is None:
        raise ValueError("by='activation' needs images, what the model is called with")
    check_tensor("images", images)
    readers = {
        member.tensor.rpartition(".")[0]: member for member, _ in _tensors(model, group, "reads")
    }
    means = _mean_inputs(model, readers, images)
    pairs = [(member, means[layer]) for layer, member in readers.items()]
    sums, entries = _over_entries(group, pairs, "a layer that takes it in")
    scores = sums / entries
    check_weight(f"the mean activation of {group.name}", scores)
    return scores


@torch.no_grad()
def _mean_inputs(
    model: nn.Module, readers: Mapping[str, "Member"], images: Tensor
) -> dict[str, Tensor]:
    """Of each of these layers, the mean magnitude of each channel (or number) that it takes in."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple], None]:
        def add(layer: nn.Module, given: tuple) -> None:
            channel = -1 if isinstance(layer, nn.Linear) else 1
            rows = _power_sums(given[0], channel, 1)
            sums[name] = sums.get(name, 0) + rows
            counts[name] = counts.get(name, 0) + given[0].numel() // len(rows)

        return add

    hooks = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in readers]
    try:
        with in_use(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if silent := [name for name in readers if name not in sums]:
        raise ValueError(f"{silent[0]} takes in nothing: the model does not call it on the images")
    return {name: sums[name] / counts[name] for name in readers}


def _random(model: nn.Module, group: "Group", seed: int | None) -> Tensor:
    if seed is None:
        raise ValueError("by='random' needs a seed")
    rng = random.Random(f"{whole_seed(seed)} {group.name}")
    device = next((weight.device for _, weight in _tensors(model, group, "makes")), None)
    return torch.tensor([rng.random() for _ in range(group.units)], device=device)


def _tensors(model: nn.Module, group: "Group", role: str) -> Iterator[tuple["Member", Tensor]]:
    """The members of this role with their tensors, one that has several names once."""
    state = model.state_dict()
    members = [member for member in group.members if member.role == role]
    for member in members:
        sizes = tuple(state[member.tensor].shape) if member.tensor in state else ()
        if len(sizes) <= member.axis or sizes[member.axis] != len(member.units):
            raise ValueError(
                f"the group {group.name} is not of this model: {member.tensor} has "
                f"{len(member.units)} entries along axis {member.axis} there, and here is of shape "
                f"{sizes}"
            )
        check_weight(member.tensor, state[member.tensor])
    first = first_names({member.tensor: state[member.tensor] for member in members})
    yield from ((m, state[m.tensor]) for m in members if m.tensor == first[m.tensor])


def _over_entries(
    group: "Group", pairs: list[tuple["Member", Tensor]], what: str
) -> tuple[Tensor, Tensor]:
    """Of each unit, the sum of the numbers of its entries, and how many there are, never none."""
    device = pairs[0][1].device if pairs else None
    dtype = pairs[0][1].dtype if pairs else torch.float32
    sums = torch.zeros(group.units, dtype=dtype, device=device)
    entries = torch.zeros(group.units, dtype=torch.int64, device=device)
    for member, numbers in pairs:
        if len(numbers) != len(member.units):
            raise ValueError(
                f"{member.tensor} is of {len(member.units)} entries, and takes in {len(numbers)}"
            )
        units = member.units.to(device)
        own = units >= 0
        sums = sums.index_add(0, units[own], numbers[own].to(dtype))
        entries += torch.bincount(units[own], minlength=group.units)
    if bare := (entries == 0).nonzero().flatten().tolist():
        raise ValueError(f"unit {bare[0]} of the group {group.name} has no {what}")
    return sums, entries
