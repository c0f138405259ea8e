"""Rewinding: a model's state, copied and set back bit for bit, or only the signs of its weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shrink.plain import check_module
from shrink.pruning.arguments import check_masks, check_weights
from shrink.tensors import check_mapping, check_plain, first_names, wide


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers of the model, which training does not change.

    `state_dict()` is no copy: its tensors are the model's own, and change as it is trained.
    """
    named = tensors_of(model)
    first = first_names(named, used=())
    copies = {n: t.detach().clone() for n, t in named.items() if n == first[n]}
    return {name: copies[first[name]] for name in named}


@torch.no_grad()
def rewind(model: nn.Module, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the model in place to a snapshot, bit for bit, with zeros where the masks are False."""
    named = tensors_of(model)
    check_masks(named, masks)
    first = first_names(named, used=masks)
    _check_state(named, first, state)
    for name, tensor in named.items():
        _check_writable(name, tensor)
    for name, tensor in named.items():
        if name == first[name]:
            tensor.copy_(state[name])
    zero_pruned(named, masks)


def signed_constants(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of each weight its sign alone: plus or minus the standard deviation of its layer.

    >>> signed_constants({"w": torch.tensor([3.0, -1.0, -3.0, 1.0])})["w"].sign()
    tensor([ 1., -1., -1.,  1.])
    """
    check_weights(weights)
    first = first_names(weights)
    found = {n: _signed(n, w.detach()) for n, w in weights.items() if n == first[n]}
    return {name: found[first[name]] for name in weights}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, those under several names under each.

    Raises unless it is a module whose tensors are plain and have values.
    """
    check_module(model)
    named: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in named.items():
        _check_there(name, tensor)
    return named


@torch.no_grad()
def zero_pruned(named: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the tensors in place to 0 where the masks are False; the others keep their bits."""
    for name, mask in masks.items():
        named[name].masked_fill_(~mask, 0)


def _signed(name: str, weight: Tensor) -> Tensor:
    deviation = wide(weight).std(correction=0)
    if not 0 < deviation < torch.inf:
        raise ValueError(
            f"{name} has no standard deviation to set its weights to: it is {float(deviation)}"
        )
    return (weight.sign() * deviation).to(weight.dtype)


def _check_state(
    named: Mapping[str, Tensor], first: Mapping[str, str], state: Mapping[str, Tensor]
) -> None:
    """Raise unless the state fits the model's tensors, so that nothing is half set."""
    check_mapping("state", state)
    if missing := [name for name in named if name not in state]:
        raise ValueError(f"the state is of another model: it has no {', '.join(missing)}")
    if strangers := [str(name) for name in state if name not in named]:
        raise ValueError(f"the state is of another model: this one has no {', '.join(strangers)}")
    for name, tensor in named.items():
        _check_there(f"{name} of the state", state[name])
        if (tensor.shape, tensor.dtype) != (state[name].shape, state[name].dtype):
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}, and in the state "
                f"{tuple(state[name].shape)} {state[name].dtype}"
            )
        if _one_storage(tensor, state[name]):
            raise ValueError(
                f"{name} of the state is the model's own, which training changes, and no copy: "
                "take a snapshot before training"
            )
        if state[name] is not state[first[name]] and not _same_bits(
            state[name], state[first[name]]
        ):
            raise ValueError(
                f"{first[name]} and {name} are one tensor of the model, and differ in the state"
            )


def _check_there(name: str, tensor: Tensor) -> None:
    check_plain(name, tensor)
    if tensor.is_meta:
        raise ValueError(f"{name} has no values: it is on the device meta")


def _check_writable(name: str, tensor: Tensor) -> None:
    if any(
        step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        raise ValueError(f"{name} is expanded, so that many of its numbers are one: clone it first")


def _one_storage(a: Tensor, b: Tensor) -> bool:
    address = a.untyped_storage().data_ptr()
    return a.device == b.device and address == b.untyped_storage().data_ptr() != 0


def _same_bits(a: Tensor, b: Tensor) -> bool:
    flat = [t.detach().cpu().contiguous().flatten().view(torch.uint8) for t in (a, b)]
    return flat[0].equal(flat[1])
