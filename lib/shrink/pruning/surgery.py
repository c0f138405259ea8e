"""Units removed from a model, or masked in it: the same outputs, in a smaller or in its size."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shrink.plain import copied
from shrink.pruning.dependency import Group, check_fits, check_kept


def remove_units(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A new, physically smaller model, of the units that are kept.

    It computes what `mask_units` computes, up to the order of its sums. Its layers know their new
    sizes, so it can be trained, saved and shown; an optimizer must be made for its parameters.

    Args:
        model: not changed, and shares nothing with the new one.
        groups: of this model, by `dependency_groups`.
        kept: name of a group → the numbers of its units that stay, int64, in any order; at least
            one. They keep the order that they had. A group that is not named stays whole.

    Returns:
        A copy of the model, each tensor of a group with its kept entries alone.

    Raises:
        KeyError: there is no group of a name in `kept`.
        TypeError: the numbers are not whole, or `model` is no module.
        ValueError: no unit of a group is kept, one is not there or is kept twice, the groups are
            of another model, or the model cannot be copied.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1.

    >>> from shrink.pruning import dependency_groups
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> groups = dependency_groups(model, torch.zeros(1, 2))
    >>> remove_units(model, groups, {"0": torch.tensor([0, 2])})
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    stays = _staying(model, groups, kept)
    smaller = copied(model)
    cut: dict[int, Tensor] = {}
    for name, axes in stays.items():
        whole = _tensor(smaller, name)
        tensor = whole.detach()
        for axis, entries in axes.items():
            tensor = tensor.index_select(axis, entries.nonzero().flatten().to(tensor.device))
        if isinstance(whole, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=whole.requires_grad)
        cut[id(whole)] = tensor
    for module in smaller.modules():
        _cut(module, cut)
    return smaller


def mask_units(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the same size, with zeros in every entry of the units that are not kept.

    Arguments and errors are those of `remove_units`, whose model computes the same.
    """
    return _with_zeros(model, _staying(model, groups, kept))


def mask_filters(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the same size, with zeros only in the weights and biases that make the units.

    Behind batch norm, or any layer with a bias of its own, such a unit still says something: this
    is what is often taken for removing it. Arguments and errors are those of `remove_units`.
    """
    return _with_zeros(model, _staying(model, groups, kept, roles=("makes",)))


def _staying(
    model: nn.Module,
    groups: Mapping[str, Group],
    kept: Mapping[str, Tensor],
    roles: tuple[str, ...] = ("makes", "scales", "reads"),
) -> dict[str, dict[int, Tensor]]:
    """Of each tensor and axis that loses something, the entries that stay, bool (size,)."""
    kept = check_kept(groups, kept)
    check_fits(model, groups)
    stays: dict[str, dict[int, Tensor]] = {}
    for name, numbers in kept.items():
        keep = torch.zeros(groups[name].units + 1, dtype=torch.bool)
        keep[numbers] = keep[-1] = True  # the last stands for -1, an entry of no unit of the group
        for member in groups[name].members:
            if member.role in roles and not (entries := keep[member.units]).all():
                axes = stays.setdefault(member.tensor, {})
                axes[member.axis] = entries & axes.get(member.axis, entries)
    return stays


def _with_zeros(model: nn.Module, stays: Mapping[str, Mapping[int, Tensor]]) -> nn.Module:
    masked = copied(model)
    for name, axes in stays.items():
        tensor = _tensor(masked, name).detach()
        for axis, entries in axes.items():
            tensor.index_fill_(axis, (~entries).nonzero().flatten().to(tensor.device), 0)
    return masked


def _tensor(model: nn.Module, name: str) -> Tensor:
    layer, _, own = name.rpartition(".")
    return getattr(model.get_submodule(layer), own)


def _cut(module: nn.Module, cut: Mapping[int, Tensor]) -> None:
    """Put the cut tensors into the module, under every name that they have in it."""
    before = getattr(module, "weight", None)
    changed = False
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            if id(tensor) in cut:
                tensors[name] = cut[id(tensor)]
                changed = True
    if changed:
        _mend(module, before)


def _mend(module: nn.Module, before: Tensor) -> None:
    """The sizes that a layer keeps beside its weight, which has become smaller."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if module.groups > 1 and before.shape[1] == 1:  # depthwise: a group for each channel
            module.groups = module.groups * len(module.weight) // len(before)
        module.out_channels = len(module.weight)
        module.in_channels = module.weight.shape[1] * module.groups
    elif hasattr(module, "num_features"):  # batch and instance norm
        sizes = [len(t) for t in (module.running_mean, module.weight) if t is not None]
        module.num_features = sizes[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
