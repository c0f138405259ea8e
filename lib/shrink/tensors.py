"""Tensors that a function is given: in enough digits to add up, and which of them are one."""

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedTensorMixin
from torch.optim import Optimizer, SparseAdam

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def wide(numbers: Tensor, what: str = "the numbers") -> Tensor:
    """In float32 at least: narrower numbers have too few digits for sums.

    Raises:
        TypeError: they are no tensor, not floating point, or sparse.
    """
    check_floating(numbers, what)
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def check_floating(numbers: Tensor, what: str = "the numbers") -> None:
    """Raise `TypeError` unless they are a dense tensor of floating point."""
    check_tensor(what, numbers)
    if numbers.dtype not in FLOATING:
        raise TypeError(f"{what} must be floating point of 16, 32 or 64 bits, not {numbers.dtype}")
    check_plain(what, numbers)


def check_whole(numbers: Tensor, what: str) -> None:
    """Raise `TypeError` unless they are a dense tensor of whole numbers, and not of bool."""
    if not isinstance(numbers, Tensor) or numbers.dtype not in WHOLE or not is_plain(numbers):
        got = getattr(numbers, "dtype", type(numbers).__name__)
        raise TypeError(f"{what} must be a dense tensor of whole numbers, not {got}")


def check_mapping(what: str, given: Mapping[str, Tensor]) -> None:
    """Raise `TypeError` unless names are mapped to tensors."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must map names to tensors, not be a {type(given).__name__}")
    for name, tensor in given.items():
        check_tensor(name, tensor)


def check_one_device(a: Tensor, b: Tensor) -> None:
    """Raise `ValueError` where the tensors are on two."""
    if a.device != b.device:
        raise ValueError(f"all must be on one device, not on {a.device} and {b.device}")


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise `TypeError` unless it is an optimizer, and one of dense gradients."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"the optimizer is a {type(optimizer).__name__}, and none of torch.optim's")
    if isinstance(optimizer, SparseAdam):
        raise TypeError("SparseAdam trains by sparse gradients, and they must be dense")


def check_tensor(what: str, tensor: object) -> None:
    """Raise `TypeError` unless it is a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{what} must be a tensor, not a {type(tensor).__name__}")


def check_plain(what: str, tensor: Tensor) -> None:
    """Raise `TypeError` unless it is a tensor whose numbers lie at strided places, and are there.

    One on the device meta is let through.
    """
    check_tensor(what, tensor)
    if isinstance(tensor, UninitializedTensorMixin):
        raise TypeError(f"{what} has no shape yet: call its lazy layer once")
    if odd := _oddity(tensor):
        raise TypeError(f"{what} must be a dense tensor, not {odd}")


def is_plain(tensor: Tensor) -> bool:
    """Whether `check_plain` lets the tensor through."""
    return not isinstance(tensor, UninitializedTensorMixin) and not _oddity(tensor)


def _oddity(tensor: Tensor) -> str:
    """What a tensor is that has no numbers at strided places; of any other ""."""
    if tensor.is_nested:
        return "a nested one"
    if tensor.layout != torch.strided:
        return str(tensor.layout)
    if tensor.is_quantized:
        return "one that torch quantized"
    return "one whose memory is freed" if tensor.numel() and _is_freed(tensor) else ""


def _is_freed(tensor: Tensor) -> bool:
    try:
        return tensor.untyped_storage().nbytes() == 0
    except (RuntimeError, NotImplementedError):  # torch.func's tensors have their numbers elsewhere
        return False


def check_trainable(name: str, weight: Tensor) -> None:
    """Raise unless it is a leaf that takes a gradient, no sparse one as far as is known."""
    if not (weight.is_leaf and weight.requires_grad):
        raise ValueError(f"{name} is not a parameter to train: a leaf that requires a gradient")
    if any(
        step == 0 and size > 1 for step, size in zip(weight.stride(), weight.shape, strict=True)
    ):
        raise ValueError(f"{name} is expanded, so that many of its numbers are one: clone it first")
    if weight.grad is not None:
        check_gradient(name, weight.grad)


def check_gradient(name: str, gradient: Tensor) -> None:
    """Raise `TypeError` for a sparse gradient, as that of an `nn.Embedding(sparse=True)`."""
    if not is_plain(gradient):
        raise TypeError(
            f"the gradient of {name} is sparse, and it must be dense: build the layer with "
            "sparse=False"
        )


def first_names(
    tensors: Mapping[str, Tensor], used: Collection[str] | None = None
) -> dict[str, str]:
    """name → the first name of the same tensor, so that a tensor under several names counts once.

    Two tensors are the same if they are one object, or lie at one place in memory with one type,
    shape and stride, as a parameter and what `detach` gives of it.

    >>> w = torch.zeros(2, 2)
    >>> first_names({"embedding": w, "bias": torch.zeros(2), "head": w})
    {'embedding': 'embedding', 'bias': 'bias', 'head': 'embedding'}

    Args:
        tensors: plain ones; others are the same only as one object.
        used: the names that matter to the caller; without them, all.

    Raises:
        ValueError: one that is used shares memory with another in a different way, as a weight does
            with its transpose or with some of its rows.
    """
    first: dict[str, str] = {}
    found: dict[object, str] = {}
    for name, tensor in tensors.items():
        first[name] = found.setdefault(_place(tensor), name)
    for a, b in _overlapping({name: tensors[name] for name in found.values()}):
        if used is None or any(first[name] in (a, b) for name in used):
            raise ValueError(
                f"{a} and {b} share memory and are not the same tensor: one is a view of the other "
                "or of its part; give one of them"
            )
    return first


def _storage(tensor: Tensor) -> object:
    """What is the same for tensors that may share memory; None where that cannot be told."""
    address = tensor.untyped_storage().data_ptr() if is_plain(tensor) else 0
    return (tensor.device, address) if address and tensor.numel() else None


def _place(tensor: Tensor) -> object:
    if _storage(tensor) is None:
        return id(tensor)
    strides = [
        stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1
    ]
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(strides)


def _overlapping(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """The names of each two that have a number in common."""
    by_storage: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        if (storage := _storage(tensor)) is not None:
            by_storage.setdefault(storage, []).append(name)
    for names in by_storage.values():
        names.sort(key=lambda name: _span(tensors[name]))
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                if _span(tensors[b])[0] >= _span(tensors[a])[1]:
                    break  # nor does any that begins later
                if _overlap(tensors[a], tensors[b]):
                    yield a, b


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors in one storage, whose spans meet, have bytes in common."""
    if a.element_size() != b.element_size():
        return True  # for all that one can tell without looking at each byte
    taken = torch.zeros(a.untyped_storage().nbytes() // a.element_size(), dtype=torch.bool)
    taken.as_strided(a.shape, a.stride(), a.storage_offset()).fill_(True)
    return bool(taken.as_strided(b.shape, b.stride(), b.storage_offset()).any())


def _span(tensor: Tensor) -> tuple[int, int]:
    """The bytes of its storage from its first number to behind its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    size = tensor.element_size()
    return tensor.storage_offset() * size, (last + 1) * size
