"""LeCun's recursion: second derivatives carried back through a network, as gradients are.

For one image, each activation a has its gradient g = ∂E/∂a and its curvature h = ∂²E/∂a²:

    logits z, p = softmax(z)    g_z = p - onehot    h_z = p·(1 - p)
    y = W x + b                 g_x = Wᵀ g_y        h_x = (W²)ᵀ h_y, h_W = h_y·x², h_b = h_y
    y = f(a)                    g_a = f'(a)·g_y     h_a = f'(a)²·h_y + f''(a)·g_y

At the logits h is exact, and a function of one activation alone keeps it so. Where an activation
reaches several, as in (W²)ᵀ h_y, their mixed second derivatives are left out: this is all that the
recursion neglects.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrink.pruning.marks import plain_name
from shrink.pruning.passing import PASSING
from shrink.pruning.rules import given
from shrink.pruning.tape import Tape, back_through

BATCH = 1000  # images on the tape at once


def backpropagated(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The diagonal for each parameter, averaged over images; the model is in use."""
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch, targets in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        tape, logits = _played(model, parameters, batch)
        p, g = softmax_and_gradient(logits, targets)
        _carry_back(tape, logits, g, p * one_minus(p))
        for name, total in tape.totals.items():
            sums[name] += total
    return {name: total / len(images) for name, total in sums.items()}


def squared_gradients(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    at_logits: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Of what `at_logits` gives, (n, rows, classes): carried back, squared, averaged over images.

    Where a layer runs once for an image its gradient is one product, g_y·x, and its square is
    g_y²·x²: the layer learns from g² as it does from h. Raises `NoRule` for any other model.
    """
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch, targets in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        tape, logits = _played(model, parameters, batch)
        if not tape.once:
            tape.refuse("multiplies by a parameter more than once for an image")
        for g in at_logits(logits, targets).unbind(1):
            _carry_back(tape, logits, g, torch.zeros_like(g), learned=lambda g, h: g.square())
        for name, total in tape.totals.items():
            sums[name] += total
    return {name: total / len(images) for name, total in sums.items()}


def _played(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor
) -> tuple[Tape, Tensor]:
    tape = Tape(parameters, RULES)
    with tape:
        logits = functional_call(model, parameters, (images,))
    return tape, logits


def _carry_back(
    tape: Tape,
    logits: Tensor,
    g: Tensor,
    h: Tensor,
    learned: Callable[[Tensor, Tensor], Tensor] = lambda g, h: h,
) -> None:
    """From the last step to the first; what several steps read is given back by each, and added."""
    if (last := tape.step_of(logits)) is None:
        raise ValueError("the logits are computed with no parameter of the model")
    carried = {last: (g, h)}
    for number in range(last, -1, -1):
        if number not in carried:
            continue  # the logits do not depend on it
        g, h = carried.pop(number)
        step = tape.steps[number]
        if step.learn:
            step.learn(learned(g, h))
        for before, way in step.ways:
            g_before, h_before = way(g, h)
            if before in carried:
                g_before, h_before = g_before + carried[before][0], h_before + carried[before][1]
            carried[before] = g_before, h_before


def softmax_and_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities p, and each image's gradient at the logits, p - onehot; both (…, classes)."""
    p = logits.softmax(-1)
    wanted = torch.arange(p.shape[-1], device=p.device) == labels[..., None]
    return p, torch.where(wanted, -one_minus(p), p)


def one_minus(p: Tensor) -> Tensor:
    """1 - p as the sum of the others: an image that is all but certain keeps its digits.

    >>> p = torch.tensor([40.0, 0.0]).softmax(0)
    >>> 1 - p, one_minus(p)
    (tensor([0., 1.]), tensor([4.2484e-18, 1.0000e+00]))
    """
    return p @ (1 - torch.eye(p.shape[-1], dtype=p.dtype, device=p.device))


def linear(tape: Tape, function, result, args, kwargs) -> None:
    """h_W = h_y·x² is summed over images, and over places where the layer runs at each."""
    x, weight, bias = given(args, kwargs, "input", "weight", "bias")
    _check_layer(tape, x, weight, bias)
    squares = x.square().reshape(-1, x.shape[-1])

    def learn(h: Tensor) -> None:
        h = h.reshape(-1, h.shape[-1])
        tape.add(weight, h.T @ squares)
        tape.add(bias, h.sum(0))

    def back(g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return g @ weight, h @ weight.square()

    tape.note(result, [(x, back)], learn, once=x.dim() == 2)


def convolution(tape: Tape, function, result, args, kwargs) -> None:
    """A linear layer at each place: back through the same convolution, of squares where h is."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, bias, *others = given(args, kwargs, *names)
    _check_layer(tape, x, weight, bias)
    if x.dim() != weight.dim():
        tape.refuse("convolves one image that is in no batch")
    how = {name: o for name, o in zip(names[3:], others, strict=True) if o is not None}
    squares = x.square()

    def before(upstream: Tensor, kernels: Tensor) -> Tensor:
        return back_through(lambda x: function(x, kernels, **how), x)(upstream)

    def learn(h: Tensor) -> None:
        tape.add(weight, back_through(lambda w: function(squares, w, **how), weight)(h))
        tape.add(bias, h.transpose(0, 1).flatten(1).sum(1))

    def back(g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return before(g, weight), before(h, weight.square())

    tape.note(result, [(x, back)], learn, once=False)


def activation(tape: Tape, function, result, args, kwargs) -> None:
    """The squared slope carries h back, and the bend, f'', does so with g."""
    (x,) = given(args, kwargs, "input")
    slope, bend = SLOPE_AND_BEND[plain_name(function)](result)
    tape.note(result, [(x, lambda g, h: (slope * g, slope.square() * h + bend * g))])


# f' and f'' of y = f(a), as functions of y.
SLOPE_AND_BEND: dict[str, Callable[[Tensor], tuple[Tensor, Tensor | float]]] = {
    "relu": lambda y: ((y > 0).to(y.dtype), 0.0),
    "tanh": lambda y: (1 - y**2, -2 * y * (1 - y**2)),
    "sigmoid": lambda y: (y * (1 - y), y * (1 - y) * (1 - 2 * y)),
}


def _check_layer(tape: Tape, x: object, weight: object, bias: object) -> None:
    if tape.parameter(x) or any(map(tape.is_activation, (weight, bias))):
        tape.refuse("multiplies two activations, or a parameter that is its input")


RULES: dict[str, Callable] = PASSING | {
    "linear": linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(SLOPE_AND_BEND, activation),
}
