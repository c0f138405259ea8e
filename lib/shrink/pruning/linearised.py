"""A model as a linear network: the paths from its input to its output, each a product of weights.

Activations let through what they are given, and biases are left out. What is no such network, as
one with a softmax inside, is refused by the name of the function that it calls.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from shrink.arguments import whole_number
from shrink.modes import in_use
from shrink.plain import check_module, computed, described, refuse_computed
from shrink.pruning.linear_rules import Linearised


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of two axes or more, by their first name.

    Raises:
        TypeError: the model is no module.
        ValueError: it has none; or one has no values yet, or is computed at each call.
    """
    check_module(model)
    for name, module in model.named_modules():
        if computed(module):
            refuse_computed(module, described(name, module))
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{name or 'the model'} is scripted: give the model it was made of")
        if isinstance(module, nn.DataParallel):
            raise ValueError(f"{name or 'the model'} is in DataParallel: give its module")
    weights = {}
    for name, p in model.named_parameters():
        if is_lazy(p) or p.is_meta:
            raise ValueError(f"{name} has no values yet: run the model once, on an input")
        if p.dim() > 1:
            weights[name] = p
    if not weights:
        raise ValueError("the model has no weight: no parameter of two axes or more")
    return weights


def in_place_of(
    model: nn.Module,
    make: Callable[[str, Tensor], Tensor],
    tensors: Callable[..., Iterable[tuple[str, Tensor]]] = nn.Module.named_parameters,
) -> dict[str, Tensor]:
    """What `make` gives for each parameter and its first name, under each place that it has.

    A module under several names is one place; with two, `functional_call` would put back what it
    had put in. `tensors` may be `nn.Module.named_buffers`.
    """
    made: dict[int, Tensor] = {}
    places = {}
    for path, module in model.named_modules():
        for own, tensor in tensors(module, recurse=False, remove_duplicate=False):
            name = f"{path}.{own}" if path else own
            if id(tensor) not in made:
                made[id(tensor)] = make(name, tensor)
            places[name] = made[id(tensor)]
    return places


def flow(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    shape: Sequence[int],
    *,
    counting: bool = False,
    within: tuple[float, float] = (0.0, torch.inf),
) -> Tensor:
    """The summed output of the linear network on one image of ones: a single number.

    Args:
        model: in eval mode while it runs; its own tensors are not read, except the variances of
            batch norm.
        tensors: for each place of a parameter, as from `in_place_of`: floating point of one type,
            nothing negative.
        shape: of an image, without the batch.
        counting: count the paths. Then pooling adds up what it is given, where otherwise it takes
            the largest or the mean, and scales count as 1, those of batch norm too.
        within: what the largest number that a layer gives must lie between, unless it is 0.

    Raises:
        TypeError: a number of the shape is not whole.
        ValueError: the model calls a function that has no rule here.
        OverflowError: a layer gives what does not lie within.
    """
    sizes = [whole_number(f"shape[{axis}]", size, 1) for axis, size in enumerate(shape)]
    like = next(iter(tensors.values()))
    ones = torch.ones(1, *sizes, dtype=like.dtype, device=like.device)
    mode = Linearised(tensors, ones, counting, within)
    # cuDNN may convolve by Fourier transforms, which give about 0 where no path leads
    exact = torch.backends.cudnn.flags(enabled=False) if counting else nullcontext()
    with in_use(model), torch.enable_grad(), exact, mode:
        output = functional_call(model, dict(tensors), (ones,), tie_weights=False)
    if not isinstance(output, Tensor) or not mode.is_activation(output):
        raise ValueError(f"the model gives a {type(output).__name__} that cannot be followed")
    return output.sum()
