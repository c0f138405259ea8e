"""What the checks of exercises 2, 3, 4 and 6 share: layers as PyTorch runs them, and what is left.

The oracle of each is the layers as large as they were, with zeros in all that goes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong, kind_of

Layer = Mapping[str, Tensor]

ROUNDING = 1e-9
INPUTS, HEIGHT, WIDTH = 6, 5, 4  # random inputs on which layers are compared; of images


def convolved(x: Tensor, layer: Layer) -> Tensor:
    """The convolution's outputs, as high and wide as x: there are zeros around it."""
    around = [side // 2 for side in layer["weight"].shape[2:]]
    return F.conv2d(x, layer["weight"], layer.get("bias"), padding=around)


def normed(x: Tensor, norm: Layer) -> Tensor:
    """Batch norm as in `eval` mode, with the running statistics."""
    return F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"])


def random_inputs(like: Tensor, *shape: int) -> Tensor:
    """Inputs of this shape, float64 on the device of `like`; the same at every call."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(INPUTS, *shape, generator=g, dtype=torch.float64).to(like.device)


def random_images(kernels: Tensor) -> Tensor:
    """Inputs for a convolution with these kernels, (filters, channels, height, width)."""
    return random_inputs(kernels, kernels.shape[1], HEIGHT, WIDTH)


def doubled(layer: Layer) -> dict[str, Tensor]:
    """The layer in float64, without gradients."""
    return {name: tensor.detach().double() for name, tensor in layer.items()}


def taken(tensor: Tensor, axis: int, kept: Tensor) -> Tensor:
    """What is left of the tensor: its slices `kept` along the axis."""
    return tensor.detach().index_select(axis, kept)


def masked(tensor: Tensor, axis: int, kept: Tensor) -> Tensor:
    """A copy of the tensor, with zeros in all slices along the axis that are not kept."""
    stays = torch.zeros_like(tensor.detach())
    return stays.index_copy(axis, kept, taken(tensor, axis, kept))


def masked_layer(layer: Layer, kept: Tensor) -> dict[str, Tensor]:
    """Weight and bias with zeros for what goes; the running statistics as they are."""
    zeroed = {name: masked(layer[name], 0, kept) for name in ("weight", "bias") if name in layer}
    return {**layer, **zeroed}


def off(outputs: Tensor, right: Tensor) -> float:
    """The largest difference of outputs, as a part of the largest of the right ones.

    Infinite where they have another shape, or where some are not finite.
    """
    if outputs.shape != right.shape:
        return torch.inf
    return ((outputs - right).abs().max() / right.abs().max()).nan_to_num(torch.inf).item()


def near(outputs: Tensor, right: Tensor) -> bool:
    """Whether outputs are equal except for what float64 rounds."""
    return off(outputs, right) <= ROUNDING


def how_far_off(outputs: Tensor, right: Tensor) -> str:
    """How far outputs are from those of the masked layers, in words."""
    share = 100 * off(outputs, right)
    return f"outputs differ from the masked layers' by up to {share:.3g} % of the largest"


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same numbers, whatever their type."""
    return a.shape == b.shape and bool((a.detach().double() == b.detach().double()).all())


def is_dense(tensor: Any) -> bool:
    """Whether it is a tensor of real numbers that can be read one by one."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_meta
        and not tensor.is_complex()
    )


def comparable(tensor: Any) -> Any:
    """What two tensors are compared by: shape and numbers, not their type; else what it is."""
    if not is_dense(tensor):
        return tensor
    return tuple(tensor.shape), tensor.detach().double().tolist()


def wrong_tensor(name: str, given: Any, right: Tensor) -> Wrong | None:
    """What is wrong with the kind of a tensor, if anything; not with its shape or its numbers."""
    if not isinstance(given, Tensor):
        return Wrong(f"{name} is a tensor", expected=right, given=given)
    if given.device != right.device:
        told = f"{name} stays on the device that it was on"
        return Wrong(told, expected=str(right.device), given=str(given.device))
    if not is_dense(given) or given.is_floating_point() != right.is_floating_point():
        kind = "of floats" if right.is_floating_point() else "of whole numbers"
        told = f"{name} is a dense tensor {kind}"
        return Wrong(told, expected=kind_of(right), given=kind_of(given))
    return None


def wrong_names(given: Mapping, right: Mapping[str, Tensor], what: str) -> Wrong | None:
    """What is wrong with the names in a dict: it has those that it came with, in any order."""
    if missing := [name for name in right if name not in given]:
        return Wrong(f"{what} has no {missing[0]!r} any more: keep every name", given=list(given))
    if more := [name for name in given if name not in right]:
        return Wrong(f"{what} has got {more[0]!r}, a name that it did not come with", given=more)
    return None


def wrong_shapes(given: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> Wrong | None:
    """The tensors that have another shape than they must have, all in one message."""
    off = [name for name in right if given[name].shape != right[name].shape]
    if not off:
        return None

    def shapes(tensors: Mapping[str, Tensor]) -> str:
        return ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in off)

    who = f"{off[0]} has" if len(off) == 1 else f"{len(off)} tensors have"
    told = f"{who} the wrong shape"
    return Wrong(told, expected=shapes(right), given=shapes(given))


def slices_in(given: Tensor, whole: Tensor, axis: int) -> list[int] | None:
    """Which slices of `whole` along the axis `given` is made of; None where it has others.

    >>> slices_in(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0, 3.0]), axis=0)
    [2, 0]
    """
    mine, its = (
        [one.tolist() for one in tensor.detach().double().unbind(axis)] for tensor in (given, whole)
    )
    return [its.index(one) for one in mine] if all(one in its for one in mine) else None


def listed(numbers: Sequence[int]) -> str:
    """The numbers in words.

    >>> listed([4]), listed([0, 2, 3])
    ('4', '0, 2 and 3')
    """
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def some_numbers(g: torch.Generator, *shape: int) -> Tensor:
    """Whole numbers from -9 to 9 and not 0, as float32."""
    signs = 2 * torch.randint(2, shape, generator=g) - 1
    return (signs * torch.randint(1, 10, shape, generator=g)).float()


def some_channels(g: torch.Generator, count: int, *, positive: bool = False) -> Tensor:
    """A number for each channel, whole and not 0, as float32; no two are the same."""
    most = max(9, count)
    numbers = torch.arange(1, most + 1)
    numbers = numbers if positive else torch.cat([-numbers, numbers])
    return numbers[torch.randperm(len(numbers), generator=g)[:count]].float()


def some_norm(g: torch.Generator, channels: int) -> dict[str, Tensor]:
    """A batch norm in which every channel differs from every other in each of its numbers."""
    vectors = {name: some_channels(g, channels) for name in ("weight", "bias", "running_mean")}
    return {**vectors, "running_var": some_channels(g, channels, positive=True)}


def some_kept(g: torch.Generator, channels: int, count: int) -> Tensor:
    """Ascending numbers of channels, int64; not the first ones, where there is a choice."""
    numbers = torch.randperm(channels, generator=g)[:count].sort().values
    first = count < channels and int(numbers[-1]) == count - 1
    return some_kept(g, channels, count) if first else numbers
