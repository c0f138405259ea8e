"""Bias correction, of chapter 11's exercise: how it goes, known mistakes."""

from collections.abc import Callable

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

Outputs = tuple[Tensor, Tensor]  # of the float layer and of the quantized one


def _outputs(weight: Tensor, x: Tensor) -> Tensor:
    """What the layer adds its bias to: (images, outputs, places)."""
    if weight.dim() == 4:
        return torch.conv2d(x, weight).flatten(2)
    return (x @ weight.T)[..., None]


def _both(weight: Tensor, rounded: Tensor, x: Tensor, rounded_x: Tensor) -> Outputs:
    return _outputs(weight, x), _outputs(rounded, rounded_x)


def _correcting(
    average: Callable[[Tensor], Tensor] = lambda error: error.mean((0, 2)),
    given: Callable[[Tensor, Tensor], Tensor] = lambda bias, shift: bias + shift,
    outputs: Callable[..., Outputs] = _both,
) -> Callable[..., Tensor]:
    """How to correct a bias, right except for what is passed."""

    def correct(
        bias: Tensor, weight: Tensor, rounded: Tensor, x: Tensor, rounded_x: Tensor
    ) -> Tensor:
        y, rounded_y = outputs(weight, rounded, x, rounded_x)
        return given(bias, average(y - rounded_y))

    return correct


_right = _correcting()


def corrected(
    bias: Tensor, weight: Tensor, rounded: Tensor, x: Tensor, rounded_x: Tensor
) -> Tensor:
    """The bias with which the quantized layer's mean outputs are those of the float layer.

    b + mean(W x - Ŵ x̂), over images and, of a convolution without padding and with stride 1, over
    places. x is what goes into the layer in the float network, and x̂ in the quantized one.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> rounded_x = torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    >>> weight, rounded = torch.tensor([[0.6, -0.3]]), torch.tensor([[0.5, -0.5]])
    >>> corrected(torch.tensor([1.0]), weight, rounded, x, rounded_x)
    tensor([1.1500])
    """
    return _right(bias, weight, rounded, x, rounded_x)


MISTAKES = (
    Mistake(
        "wrong sign",
        _correcting(given=lambda bias, shift: bias - shift),
        "the bias moved the wrong way, and the outputs are off by twice as much as before: an "
        "output that rounding made too small needs a larger bias",
    ),
    Mistake(
        "one shift for all outputs",
        _correcting(given=lambda bias, shift: bias + shift.mean()),
        "all outputs were shifted by the same number. Rounding moves each output by its own "
        "amount: keep the axis of the outputs out of the mean",
    ),
    Mistake(
        "inputs of the float network",
        _correcting(
            outputs=lambda weight, rounded, x, rounded_x: (
                _outputs(weight, x),
                _outputs(rounded, x),
            )
        ),
        "both outputs were computed from x. In the quantized network the layers before have "
        "changed the inputs as well: the rounded weight meets rounded_x",
    ),
    Mistake(
        "inputs of the quantized network",
        _correcting(
            outputs=lambda weight, rounded, x, rounded_x: (
                _outputs(weight, rounded_x),
                _outputs(rounded, rounded_x),
            )
        ),
        "both outputs were computed from rounded_x. What the layer should give is what the float "
        "network gives, and there its inputs are x",
    ),
    Mistake(
        "applied twice",
        _correcting(given=lambda bias, shift: bias + 2 * shift),
        "the shift was added twice: once restores the mean, and the second time moves it as far to "
        "the other side",
    ),
    Mistake(
        "sum for mean",
        _correcting(average=lambda error: error.sum((0, 2))),
        "the errors of all images were added up and not divided by their number, so that more "
        "calibration images would give a larger bias",
    ),
    Mistake(
        "summed over the places",
        _correcting(average=lambda error: error.sum(2).mean(0)),
        "right for a linear layer. A convolution uses its bias at each place, so the mean is over "
        "the places, too",
    ),
    Mistake(
        "the first image alone",
        _correcting(average=lambda error: error[0].mean(1)),
        "the shift is that of the first image, and others err otherwise: take the mean over all "
        "images",
    ),
    Mistake(
        "bias forgotten",
        _correcting(given=lambda bias, shift: shift),
        "this is only the change of the bias: add it to the bias that the layer had",
    ),
)

# Their hints come where the rest of an answer may be wrong as well.
OF_PARTS = (
    Mistake(
        "bias counted twice",
        _correcting(given=lambda bias, shift: 2 * bias + shift),
        "the old bias counts twice: if the float outputs have it and the quantized ones do not, it "
        "is in their difference already",
    ),
)
