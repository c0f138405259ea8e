"""Hidden units and channels removed whole: a network made physically smaller."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.arguments import whole, whole_number
from shrink.pruning.arguments import check_weight
from shrink.tensors import check_mapping, check_plain, check_whole, first_names, wide


def strongest_units(
    state: Mapping[str, Tensor], layers: Sequence[str], counts: Sequence[int]
) -> list[Tensor]:
    """Of each hidden layer, the units with the largest ‖weights in‖ · ‖weights out‖.

    The product stays the same when a unit's incoming weights and its bias are doubled and its
    outgoing weights halved, which changes nothing that a network with ReLU, or with no activation,
    computes. The bias does not count. Weights of 16 bits are summed in 32.

    Args:
        state: float tensors: for each layer `<layer>.weight`, (out, in) or (out, in, height,
            width).
        layers: their names in the order of the data. A channel may become several inputs of the
            layer behind it, as when images are flattened.
        counts: how many units of each layer but the last are taken.

    Returns:
        Their numbers in ascending order, int64 (count,), one tensor a hidden layer.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1, ranks by the sum
    of the absolute weights in.
    Differs: norms are Euclidean, and what goes out counts as well.

    Raises:
        KeyError: a layer has no weight.
        TypeError: a weight is not floating point, or not dense.
        ValueError: not one count for each hidden layer, one that is not 1 to its units, a weight
            that is empty or has NaN, or a layer whose inputs the units before it do not divide.

    >>> import torch
    >>> state = {"fc1.weight": torch.tensor([[3.0, 4.0], [1.0, 0.0]]),
    ...          "fc2.weight": torch.tensor([[1.0, 6.0]])}  # 5 · 1 and 1 · 6
    >>> strongest_units(state, ["fc1", "fc2"], [1])
    [tensor([1])]
    """
    if len(counts) != len(layers) - 1:
        raise ValueError(f"{len(layers)} layers have {len(layers) - 1} hidden, not {len(counts)}")
    check_mapping("state", state)
    found = []
    for layer, behind, count in zip(layers, layers[1:], counts, strict=False):
        for name in (layer, behind):
            check_weight(f"{name}.weight", state[f"{name}.weight"])
        inward = wide(_weight(state, layer)).flatten(1)
        units, taken = len(inward), whole(count)
        if taken is None or not 1 <= taken <= units:
            raise ValueError(f"{layer} has 1 to {units} units to take, not {count!r}")
        outward = wide(_by_input(state, behind, units))
        strength = inward.norm(dim=1) * outward.transpose(0, 1).flatten(1).norm(dim=1)
        found.append(strength.argsort(descending=True, stable=True)[:taken].sort().values)
    return found


def keep_units(
    state: Mapping[str, Tensor], layers: Sequence[str], kept: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The weights and biases of the network that has only these units in its hidden layers.

    Args:
        state: `<layer>.weight` and, where there is one, `<layer>.bias` (out,) of each layer.
        layers: as for `strongest_units`.
        kept: the numbers of the units of each hidden layer, int64.

    Returns:
        New tensors under the same names, for a network of those widths.

    Raises:
        KeyError: a layer has no weight.
        TypeError: the numbers of units are not whole, or a weight is not dense.
        ValueError: not one choice for each hidden layer, a unit that is not there or there twice,
            two layers with one weight, or a layer whose inputs the units before it do not divide.

    >>> import torch
    >>> state = {"a.weight": torch.tensor([[1.0], [2.0], [3.0]]), "a.bias": torch.zeros(3),
    ...          "b.weight": torch.tensor([[4.0, 5.0, 6.0]])}
    >>> keep_units(state, ["a", "b"], [torch.tensor([0, 2])])["b.weight"]
    tensor([[4., 6.]])
    """
    if len(kept) != len(layers) - 1:
        raise ValueError(f"{len(layers)} layers have {len(layers) - 1} hidden, not {len(kept)}")
    check_mapping("state", state)
    _check_untied(state, layers)
    kept = [_numbers(layer, chosen) for layer, chosen in zip(layers, kept, strict=False)]
    for layer, chosen in zip(layers, kept, strict=False):
        units = len(_weight(state, layer))
        if strangers := chosen[(chosen < 0) | (chosen >= units)].tolist():
            raise ValueError(f"{layer} has the units 0 to {units - 1}, not {strangers[0]}")
        if len(chosen.unique()) < len(chosen):
            raise ValueError(f"the units of {layer} are kept once, not {chosen.tolist()}")
    found = {}
    for place, layer in enumerate(layers):
        weight, bias = state[f"{layer}.weight"], state.get(f"{layer}.bias")
        if place:
            units = len(state[f"{layers[place - 1]}.weight"])
            weight = _by_input(state, layer, units)[:, kept[place - 1]].flatten(1, 2)
        if place < len(kept):
            weight = weight[kept[place]]
            bias = None if bias is None else bias[kept[place]]
        found[f"{layer}.weight"] = weight.clone()
        if bias is not None:
            found[f"{layer}.bias"] = bias.clone()
    return found


def fill_up(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor with zeros behind it along each axis, to this shape: the units that were removed.

    A unit whose weights are all zero gives zero, so the network of the full widths then computes
    what the small one does.

    Raises:
        TypeError: it is no dense tensor.
        ValueError: the shape is smaller along an axis, or has another number of axes.

    >>> import torch
    >>> fill_up(torch.tensor([[1, 2]]), (2, 3))
    tensor([[1, 2, 0],
            [0, 0, 0]])
    """
    check_plain("the tensor", tensor)
    shape = [whole_number("a size", size, 0) for size in shape]
    if tensor.dim() != len(shape) or any(
        to < size for to, size in zip(shape, tensor.shape, strict=True)
    ):
        raise ValueError(f"{tuple(tensor.shape)} cannot be filled up to {tuple(shape)}")
    ends = [(0, to - size) for to, size in zip(shape, tensor.shape, strict=True)]
    return F.pad(tensor, [end for pair in reversed(ends) for end in pair])


def _check_untied(state: Mapping[str, Tensor], layers: Sequence[str]) -> None:
    """Raise where two layers have one weight, which cannot lose units of the one alone."""
    first = first_names({layer: state[f"{layer}.weight"] for layer in layers})
    for layer, other in first.items():
        if layer != other:
            raise ValueError(f"{other} and {layer} have one weight: untie them to remove units")


def _numbers(layer: str, chosen: Tensor) -> Tensor:
    """The numbers of units, int64: a tensor of bool or uint8 would be taken for a mask."""
    chosen = torch.as_tensor(chosen)
    check_whole(chosen, f"the units of {layer}")
    if chosen.dim() != 1:
        raise ValueError(f"the units of {layer} are on one axis, not {tuple(chosen.shape)}")
    return chosen.long()


def _weight(state: Mapping[str, Tensor], layer: str) -> Tensor:
    weight = state[f"{layer}.weight"]
    check_plain(f"{layer}.weight", weight)
    if weight.dim() < 2:
        raise ValueError(f"{layer}.weight must be (out, in, …), not {tuple(weight.shape)}")
    return weight


def _by_input(state: Mapping[str, Tensor], layer: str, units: int) -> Tensor:
    """The weight, (out, in, …), as (out, units, in / units, …)."""
    weight = _weight(state, layer)
    if weight.shape[1] % units:
        raise ValueError(
            f"{layer} has {weight.shape[1]} inputs, which {units} units before it do not divide"
        )
    return weight.unflatten(1, (units, -1))
