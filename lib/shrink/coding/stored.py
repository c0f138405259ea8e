"""What a file can hold: numbers of plain tensors, under names that are text, each tensor once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@contextmanager
def named(name: str) -> Iterator[None]:
    """What is refused in here is refused with the tensor's name before it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None


def checked_name(name: object) -> str:
    """The name, if it is a text that UTF-8 can write; else `TypeError` or `ValueError`."""
    if not isinstance(name, str):
        raise TypeError(f"a tensor's name is a text, not {name!r}")
    if any("\ud800" <= c <= "\udfff" for c in name):
        raise ValueError(f"the name {name!r} is no text in Unicode: it has half of a character")
    return name


def plain(tensor: object) -> Tensor:
    """The tensor's numbers, strided and on the CPU, without a gradient; it may share their memory.

    Raises `TypeError` as `check_plain` does.
    """
    check_plain(tensor)
    return tensor.detach().cpu().resolve_conj().resolve_neg()


def check_plain(tensor: object) -> None:
    """Raise `TypeError` unless it is a tensor whose numbers are simply there.

    Sparse and nested ones are refused, those that torch quantized, those on the device `meta`, and
    those of a class of its own; the message says what to store instead.
    """
    kind = type(tensor)
    if kind not in (Tensor, nn.Parameter):
        raise TypeError(f"must be a plain tensor, not a {kind.__name__}")
    if tensor.is_nested:
        raise TypeError("a nested tensor has no form in a file: store its tensors one by one")
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        raise TypeError(f"a tensor of layout {layout} has no form in a file: store its to_dense()")
    if tensor.is_quantized:
        raise TypeError("a tensor that torch quantized has no form in a file: store its int_repr()")
    if tensor.is_meta:
        raise TypeError("a tensor on the device meta has no numbers to store")
    if tensor.numel() and not _has_memory(tensor):
        raise TypeError("a tensor whose memory is freed, or inside vmap, has no numbers to store")


def _has_memory(tensor: Tensor) -> bool:
    try:
        return tensor.untyped_storage().nbytes() > 0
    except (RuntimeError, NotImplementedError):  # torch.func's tensors have no storage
        return False


def identity(tensor: Tensor) -> tuple:
    """What two names of one tensor have in common, as long as it lives: the same numbers in memory.

    A tensor that only overlaps with another, as `w[:2]` or `w.T` do with `w`, is another one. An
    empty one is none but itself. Raises `TypeError` as `check_plain` does.

    >>> w = torch.zeros(2, 3)
    >>> identity(w) == identity(w.detach()), identity(w) == identity(w.T)
    (True, False)
    """
    check_plain(tensor)
    if not tensor.numel():
        return (id(tensor),)
    place = (tensor.device, tensor.data_ptr(), tensor.is_neg(), tensor.is_conj())
    return (*place, tensor.dtype, tuple(tensor.shape), tensor.stride())
