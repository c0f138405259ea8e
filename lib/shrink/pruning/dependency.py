"""What goes together when a unit goes: the rows and columns of tensors that are the unit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shrink.plain import check_module
from shrink.tensors import check_whole


@dataclass(frozen=True)
class Member:
    """One axis of one tensor in a group.

    `units`, int64 of the axis's size, has the unit of each entry, or -1 where it is none of the
    group's. `role` says what an entry does with its unit: "makes" it (a row of a weight or of its
    bias), "scales" it (batch norm, a depthwise convolution: what acts on each unit alone), or
    "reads" it (a column of a weight).
    """

    tensor: str
    axis: int
    units: Tensor
    role: str

    @property
    def layer(self) -> str:
        return self.tensor.rpartition(".")[0]


@dataclass(frozen=True)
class Group:
    """Units that are chosen together: each is the entries of its number in all `members`.

    `name` is that of the first layer that makes them.
    """

    name: str
    units: int
    members: tuple[Member, ...]

    def layers(self, role: str) -> list[str]:
        """The layers whose tensors have this role, "makes", "scales" or "reads", in order."""
        return list(dict.fromkeys(m.layer or m.tensor for m in self.members if m.role == role))

    def __str__(self) -> str:
        said = {"makes": "made by", "scales": "scaled by", "reads": "read by"}
        parts = [f"{how} {', '.join(self.layers(role))}" for role, how in said.items()]
        parts = [part for part in parts if not part.endswith("by ")]
        return f"{self.name}: {self.units} units {'; '.join(parts)}"


def check_kept(groups: Mapping[str, Group], kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers of each group's units that are kept, ascending, int64.

    Raises:
        KeyError: there is no group of that name.
        TypeError: `kept` is no mapping, or the numbers are not whole.
        ValueError: they are not on one axis, none are kept, one is not there, or there twice.
    """
    if not isinstance(kept, Mapping):
        raise TypeError(f"kept must map groups to numbers of units, not be a {type(kept).__name__}")
    return {name: _checked(_group(groups, name), numbers) for name, numbers in kept.items()}


def _group(groups: Mapping[str, Group], name: str) -> Group:
    if name not in groups:
        raise KeyError(f"no group is named {name!r}; there are {', '.join(groups) or 'none'}")
    return groups[name]


def _checked(group: Group, numbers: Tensor) -> Tensor:
    try:
        numbers = torch.as_tensor(numbers)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"the units of {group.name} must be whole numbers: {error}") from error
    if numbers.numel() == 0:
        raise ValueError(f"{group.name} would have no unit left, and nothing could pass: keep one")
    check_whole(numbers, f"the units of {group.name}")
    if numbers.dim() != 1:
        raise ValueError(f"the units of {group.name} are on one axis, not {tuple(numbers.shape)}")
    numbers, counts = numbers.long().cpu().unique(return_counts=True)
    if strangers := numbers[(numbers < 0) | (numbers >= group.units)].tolist():
        raise ValueError(f"{group.name} has the units 0 to {group.units - 1}, not {strangers[0]}")
    if twice := numbers[counts > 1].tolist():
        raise ValueError(f"unit {twice[0]} of {group.name} is kept twice")
    return numbers


def check_fits(model: nn.Module, groups: Mapping[str, Group]) -> dict[str, Tensor]:
    """The model's parameters and buffers by name.

    Raises:
        TypeError: the model is no module.
        ValueError: the groups are of another model: a tensor is missing or has another size.
    """
    check_module(model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group in groups.values():
        for member in group.members:
            tensor = tensors.get(member.tensor)
            if tensor is None:
                raise ValueError(f"the groups are of another model: this has no {member.tensor}")
            if tensor.dim() <= member.axis or tensor.shape[member.axis] != len(member.units):
                raise ValueError(
                    f"the groups are of another model: {member.tensor} is {tuple(tensor.shape)}, "
                    f"and its axis {member.axis} had {len(member.units)} entries"
                )
    return tensors
