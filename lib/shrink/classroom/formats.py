"""A model's weights in a sparse format: the named arrays that go into its file, and back."""

from collections.abc import Mapping

from torch import Tensor

from shrink import sparse


def pack(state: Mapping[str, Tensor], format: str, gap_bits: int = 5) -> dict[str, Tensor]:
    """The tensors of a model with its weights in `format`, biases as they are.

    A weight, which is a tensor of two or more axes, becomes the arrays of `sparse.encode`, under
    the names `<weight>/<array>`; "dense" changes nothing. On the CPU.

    >>> import torch
    >>> list(pack({"fc.weight": torch.eye(2), "fc.bias": torch.ones(2)}, "bitmap"))
    ['fc.weight/shape', 'fc.weight/bitmap', 'fc.weight/values', 'fc.bias']

    Args:
        state: a model's `state_dict()`; not changed.
        format: one of `sparse.FORMATS`.
        gap_bits: 1 to 8, for "relative" alone.
    """
    arrays = {}
    for name, tensor in state.items():
        if tensor.dim() < 2 or format == "dense":
            arrays[name] = tensor.detach().cpu()
        else:
            parts = sparse.encode(tensor.detach(), format, gap_bits)
            arrays |= {f"{name}/{part}": array for part, array in parts.items()}
    return arrays


def unpack(arrays: Mapping[str, Tensor], format: str) -> dict[str, Tensor]:
    """The tensors that `pack` was given, for `load_state_dict`.

    >>> import torch
    >>> unpack(pack({"fc.weight": torch.eye(2)}, "relative"), "relative")
    {'fc.weight': tensor([[1., 0.],
            [0., 1.]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        weight, _, part = name.partition("/")
        if part:
            parts.setdefault(weight, {})[part] = array
        else:
            state[name] = array
    return state | {name: sparse.decode(found, format) for name, found in parts.items()}
