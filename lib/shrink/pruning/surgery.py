"""Units removed from a model, or masked in it: the same outputs, in a smaller or in its size."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from shrink.pruning.dependency import Group, check_fits, check_kept


def remove_units(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A new, physically smaller model, of the units that are kept.

    It computes what `mask_units` computes, up to the order of its sums. Its layers know their new
    sizes, so it can be trained, saved and shown; an optimizer must be made for its parameters. Only
    a norm with neither weights nor statistics, which has no size but a number that PyTorch shows,
    keeps that number, and instance norm then warns that it is another.

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
        ValueError: no unit of a group or a layer is kept, one is not there or is kept twice, the
            groups are of another model, or the model cannot be copied.

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
    smaller = _with_changed(model, _staying(model, groups, kept), Tensor.index_select)
    for before, module in zip(model.modules(), smaller.modules(), strict=True):
        if _shapes(module) != _shapes(before):
            _mend(module, before)
    return smaller


def mask_units(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the same size, with zeros in every entry of the units that are not kept.

    Arguments and errors are those of `remove_units`, whose model computes the same.
    """
    return _with_changed(model, _staying(model, groups, kept), _zeros_beside)


def mask_filters(
    model: nn.Module, groups: Mapping[str, Group], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the same size, with zeros only in the weights and biases that make the units.

    Behind batch norm, or any layer with a bias of its own, such a unit still says something: this
    is what is often taken for removing it. Arguments and errors are those of `remove_units`.
    """
    return _with_changed(model, _staying(model, groups, kept, roles=("makes",)), _zeros_beside)


def _staying(
    model: nn.Module,
    groups: Mapping[str, Group],
    kept: Mapping[str, Tensor],
    roles: tuple[str, ...] = ("makes", "scales", "reads"),
) -> list[tuple[Tensor, dict[int, Tensor]]]:
    """Each tensor that loses something: of each axis that does, the numbers of what stays."""
    kept = check_kept(groups, kept)
    tensors = check_fits(model, groups)
    stays: dict[str, dict[int, np.ndarray]] = {}  # of numpy, which is faster at a few numbers
    for name, numbers in kept.items():
        keep = np.zeros(groups[name].units + 1, dtype=bool)
        keep[numbers.numpy()] = True
        keep[-1] = True  # for -1, an entry of no unit of the group
        for member in groups[name].members:
            if member.role not in roles or (entries := keep[member.units.numpy()]).all():
                continue
            axes = stays.setdefault(member.tensor, {})
            entries = entries & axes[member.axis] if member.axis in axes else entries
            axes[member.axis] = entries
            if not entries.any():
                raise ValueError(
                    f"{member.tensor} would have nothing left, as its units of {name} are "
                    f"{sorted(set(member.units.tolist()) - {-1})}: keep one of them"
                )
    return [
        (tensors[name], {axis: torch.from_numpy(e.nonzero()[0]) for axis, e in axes.items()})
        for name, axes in stays.items()
    ]


def _with_changed(
    model: nn.Module,
    stays: list[tuple[Tensor, dict[int, Tensor]]],
    change: Callable[[Tensor, int, Tensor], Tensor],
) -> nn.Module:
    """A deep copy of the model, in which those tensors are changed along those axes.

    `change` has a tensor, an axis, and the numbers of what stays along it.
    """
    changed: dict[int, object] = {}  # by the id of what each stands for, as deepcopy asks for it
    for whole, axes in stays:
        tensor = whole.detach()
        for axis, numbers in axes.items():
            tensor = change(tensor, axis, numbers.to(tensor.device))
        if isinstance(whole, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=whole.requires_grad)
        changed[id(whole)] = tensor
    try:
        return copy.deepcopy(model, _copied_faster(model) | changed)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the model cannot be copied: {error}") from error


def _copied_faster(model: nn.Module) -> dict[int, object]:
    """Copies of what takes deepcopy most of its time, by id: buffers, and empty dicts of hooks."""
    copies: dict[int, object] = {id(b): b.detach().clone() for b in model.buffers()}
    for module in model.modules():
        for value in vars(module).values():
            if type(value) in (OrderedDict, dict, set) and not value:
                copies[id(value)] = type(value)()
    return copies


def _zeros_beside(tensor: Tensor, axis: int, numbers: Tensor) -> Tensor:
    """A new tensor with zeros in place of what does not stay."""
    stays = torch.zeros(tensor.shape[axis], dtype=torch.bool, device=tensor.device)
    stays[numbers] = True
    shape = [-1 if a == axis else 1 for a in range(tensor.dim())]
    return tensor.masked_fill(~stays.view(shape), 0)


def _shapes(module: nn.Module) -> list[torch.Size]:
    own = (*module._parameters.values(), *module._buffers.values())
    return [tensor.shape for tensor in own if tensor is not None]


def _mend(module: nn.Module, before: nn.Module) -> None:
    """The sizes that a layer keeps beside its weight, which has become smaller."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if module.groups > 1 and before.weight.shape[1] == 1:  # depthwise: a group for each channel
            module.groups = module.groups * len(module.weight) // len(before.weight)
        module.out_channels = len(module.weight)
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.modules.batchnorm._NormBase):  # batch and instance norm
        sizes = [len(t) for t in (module.running_mean, module.weight) if t is not None]
        module.num_features = sizes[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
