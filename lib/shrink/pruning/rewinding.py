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

    >>> model = nn.Linear(1, 1)
    >>> nn.init.constant_(model.weight, 2.0).tolist()
    [[2.0]]
    >>> reference, copy = model.state_dict(), snapshot(model)
    >>> nn.init.constant_(model.weight, 5.0).tolist()
    [[5.0]]
    >>> reference["weight"].item(), copy["weight"].item()
    (5.0, 2.0)

    Args:
        model: not changed. Its tensors may be of any type and on any device.

    Returns:
        name → new tensor of the same shape, type and device, bit for bit: of each parameter, frozen
        ones too, and of each buffer, as the mean, the variance and the number of batches that a
        batch norm keeps; also of buffers that `state_dict()` leaves out (`persistent=False`). A
        tensor under several names, as tied weights are, is one tensor under each of them.

    Raises:
        TypeError: the model is no module, or a tensor is sparse, quantized or has no shape yet.
        ValueError: a tensor has no values, as on the device meta.
    """
    named = tensors_of(model)
    first = first_names(named, used=())
    copies = {n: t.detach().clone() for n, t in named.items() if n == first[n]}
    return {name: copies[first[name]] for name in named}


@torch.no_grad()
def rewind(model: nn.Module, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the model in place to a snapshot, bit for bit, with zeros where the masks are False.

    >>> model = nn.Linear(2, 1)
    >>> state = {"weight": torch.tensor([[3.0, -1.0]]), "bias": torch.tensor([0.5])}
    >>> rewind(model, state, {"weight": torch.tensor([[True, False]])})
    >>> model.weight.tolist(), model.bias.tolist()
    ([[3.0, 0.0]], [0.5])

    Everything goes back, biases and the statistics of norms included. What has a mask is then +0.0
    where that is False, whatever the snapshot has there. The parameters stay the same objects, so
    that an optimizer made before still trains them. It keeps what it remembers of the old weights,
    so make a new one. Modes, `requires_grad` and gradients stay as they are: `zero_grad` comes
    before the next step, as in any training.

    Args:
        model: changed in place.
        state: name → tensor for each parameter and buffer, of its shape and type, as `snapshot`
            gives it; it may lie on another device. It is not changed.
        masks: name → bool tensor of the shape and device of the parameter or buffer of that name.
            What has none is set as a whole. Tied weights may have theirs under any of their names.

    Raises:
        TypeError: the model is no module, `state` is no mapping of dense tensors, or `masks` is
            none of bool tensors.
        ValueError: the state has too few or too many names, another shape or type, no values (on
            the device meta), two values for tied weights, or is the model's own, uncopied; a tensor
            of the model has no values, is expanded, or has a mask and shares memory with another; a
            mask does not fit. Nothing is changed then.

    Source: Frankle and Carbin 2019, "The Lottery Ticket Hypothesis", section 1 (step 4: reset the
        remaining parameters to their values in θ₀); Frankle et al. 2020, "Linear Mode Connectivity
        and the Lottery Ticket Hypothesis", section 4 (rewinding to step k).
    """
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

    >>> signed_constants({"w": torch.tensor([7.0, -1.0, -7.0, 1.0])})
    {'w': tensor([ 5., -5., -5.,  5.])}

    Args:
        weights: name → tensor of any shape, floating point, all on one device: the initial ones,
            whole, before any mask. They are not changed.

    Returns:
        name → new tensor of that weight's shape and type; 0 where the weight is 0. The standard
        deviation is that of the layer's n numbers about their mean (the sum divided by n). For a
        tensor under several names it is one under each.

    Raises:
        TypeError: `weights` is no mapping of dense floating-point tensors.
        ValueError: there is no weight, one is empty or holds NaN, they lie on different devices,
            one is a view of another, or a layer has no standard deviation above 0, as where all of
            its numbers are equal, or an infinite one.

    Source: Zhou et al. 2019, "Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask", on
        mask-1 actions ("constant", with the sign kept).
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
