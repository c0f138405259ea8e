"""What rounds the weights and the inputs of a layer while it trains: modules with their scales."""

import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.quantization.affine import QParams, qparams_of, quantize
from shrink.quantization.arguments import check_floats
from shrink.quantization.binary import binarize, binary_scale, signs
from shrink.quantization.calibration import Calibrator
from shrink.quantization.learned_clip import fake_quantize_pact
from shrink.quantization.learned_step import (
    binarize_lsq,
    fake_quantize_lsq,
    integers_lsq,
    least_squares_step,
)
from shrink.quantization.straight_through import fake_quantize_ste
from shrink.quantization.ternary import ternarize, ternarize_trained, ternary_signs

SCALES = ("follows", "fixed", "learned")  # of weights
RANGES = ("fixed", "learned", "clipped")  # of activations: calibrated, LSQ, PACT
LEAST = 0.1  # of where it began, to which a learned step or alpha may fall


class UniformWeights(nn.Module):
    """Weights on multiples of a scale: symmetric, without the lowest integer; of one bit, signs.

    Args:
        weight: as it is before training.
        num_bits: 1 to 8.
        per_channel: one scale for each output.
        scale: "follows" the largest magnitude at each step (of one bit the mean); "fixed" at the
            least squared error before training; "learned", starting there, and held above a tenth
            of that.

    Raises:
        TypeError: the weight is not floating point, or num_bits is not whole.
        ValueError: num_bits is not 1 to 8, or there is no such scale.

    >>> weights = UniformWeights(torch.tensor([[0.1, -0.9, 1.1]]), num_bits=2)
    >>> weights.integers(torch.tensor([[0.4, -0.6, 2.0]]))
    (tensor([[ 0, -1,  1]], dtype=torch.int8), tensor(1.))
    """

    def __init__(
        self, weight: Tensor, num_bits: int, per_channel: bool = False, scale: str = "learned"
    ) -> None:
        super().__init__()
        check_floats(weight, "the weight")
        if scale not in SCALES:
            raise ValueError(f"no scale {scale!r}; there are {', '.join(SCALES)}")
        self.num_bits = whole_number("weight_bits", num_bits, 1, 8)
        self.axis, self.scale = 0 if per_channel else None, scale
        self.q_max = max(2 ** (self.num_bits - 1) - 1, 1)
        if scale == "follows":
            return
        if self.num_bits == 1:
            least = torch.finfo(torch.float32).tiny  # of signs that should all be 0
            step = binary_scale(weight, self.axis).clamp(min=least)
        else:
            step = least_squares_step(weight, -self.q_max, self.q_max, self.axis)
        if scale == "learned":
            self.step = nn.Parameter(step)
            self.register_buffer("least", step * LEAST)
        else:
            self.register_buffer("step", step)

    def forward(self, weight: Tensor) -> Tensor:
        if self.num_bits == 1:
            learned = self.scale == "learned"
            return (binarize_lsq if learned else binarize)(weight, self.scales(weight))
        if self.scale == "learned":
            return fake_quantize_lsq(weight, self.scales(weight), -self.q_max, self.q_max)
        return fake_quantize_ste(weight, self._qparams(weight))

    def scales(self, weight: Tensor) -> Tensor:
        """What the integers of this weight are multiplied by: () or one that broadcasts."""
        if self.scale == "learned":
            return _held(self.step, self.least)
        if self.scale == "fixed":
            return self.step
        if self.num_bits == 1:
            return binary_scale(weight, self.axis)
        return self._qparams(weight).scale

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight as int8 and its scales: what `forward` multiplies."""
        weight, scales = weight.detach(), self.scales(weight).detach()
        if self.num_bits == 1:
            return signs(weight).to(torch.int8), scales
        if self.scale == "learned":
            return integers_lsq(weight, scales, -self.q_max, self.q_max), scales
        return quantize(weight, self._qparams(weight)), scales

    def _qparams(self, weight: Tensor) -> QParams:
        if self.scale == "follows":
            options = {"symmetric": True, "narrow": True, "axis": self.axis}
            return qparams_of(weight.detach(), self.num_bits, **options)
        step = self.step.float()
        return QParams(step, torch.zeros_like(step, dtype=torch.int32), self.num_bits, narrow=True)


def _held(learned: nn.Parameter, least: Tensor) -> nn.Parameter:
    """The step or alpha, in place no less than the least: a step of training may go below 0.

    It is left alone where nothing is below, since a gradient may wait for it. NaN stays.
    """
    with torch.no_grad():
        if (learned < least).any():
            learned.copy_(torch.where(learned < least, least, learned))
    return learned


class TernaryWeights(nn.Module):
    """-1, 0 or 1 times the mean magnitude of those that are not 0, as `ternary.ternarize`."""

    def __init__(self, weight: Tensor, per_channel: bool = False) -> None:
        super().__init__()
        self.axis = 0 if per_channel else None

    def forward(self, weight: Tensor) -> Tensor:
        return ternarize(weight, self.axis)

    def scales(self, weight: Tensor) -> Tensor:
        """What -1, 0 and 1 are multiplied by: () or one for each output."""
        return self.integers(weight)[1]

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight as int8 and its scales."""
        t, scale = ternary_signs(weight, self.axis)
        return t.to(torch.int8), _above_zero(scale)


class TrainedTernaryWeights(nn.Module):
    """Two learned values and 0, as `ternary.ternarize_trained`; they have no one scale."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scale = ternary_signs(weight)[1]
        self.positive, self.negative = (nn.Parameter(scale.clone()) for _ in range(2))

    def forward(self, weight: Tensor) -> Tensor:
        return ternarize_trained(weight, self.positive, self.negative)


class InputQuantizer(nn.Module):
    """What goes into a layer, in a range that is calibrated, learned by its step or by its end.

    Args:
        seen: has looked at the layer's inputs, and has the number of bits, 2 to 8.
        range: one of `RANGES`. A learned one is of numbers from 0 on if no input was negative, and
            else has no zero point. A learned step or end is held above a tenth of its start.
    """

    def __init__(self, seen: Calibrator, range: str) -> None:
        super().__init__()
        self.num_bits, self.range = whole_number("activation_bits", seen.num_bits, 2, 8), range
        self.unsigned = seen.histogram.low >= 0
        self.q_min, self.q_max = 0, 2**self.num_bits - 1
        if not self.unsigned:
            self.q_min, self.q_max = -(2 ** (self.num_bits - 1)), 2 ** (self.num_bits - 1) - 1
        if range == "learned":
            seen.symmetric = not self.unsigned
            self.step = nn.Parameter(seen.qparams().scale)
            self.register_buffer("least", self.step.detach() * LEAST)
        elif range == "clipped":
            if not self.unsigned:
                raise ValueError(
                    "PACT clips at 0 and alpha, so inputs must not be negative, as "
                    f'{seen.histogram.low:g} is: put a ReLU before, or take range="learned"'
                )
            self.alpha = nn.Parameter(_above_zero(torch.tensor(seen.range()[1])))
            self.register_buffer("least", self.alpha.detach() * LEAST)
        else:
            p = seen.qparams()
            self.register_buffer("scale", p.scale)
            self.register_buffer("zero_point", p.zero_point)

    def qparams(self) -> QParams:
        """The parameters on integers, signed: from 0 on are those from the lowest integer on."""
        if self.range == "fixed":
            return QParams(self.scale.float(), self.zero_point, self.num_bits)
        learned = self._learned()
        scale = learned if self.range == "learned" else learned.float() / self.q_max
        zero_point = -(2 ** (self.num_bits - 1)) if self.unsigned else 0
        zero = torch.full_like(scale, zero_point, dtype=torch.int32)
        return QParams(scale.detach().float(), zero, self.num_bits)

    def forward(self, x: Tensor) -> Tensor:
        if self.range == "learned":
            numbers = x[:1].numel()  # of one image
            return fake_quantize_lsq(x, self._learned(), self.q_min, self.q_max, numbers)
        if self.range == "clipped":
            return fake_quantize_pact(x, self._learned(), self.num_bits)
        return fake_quantize_ste(x, self.qparams())

    def _learned(self) -> nn.Parameter:
        """The step, or alpha."""
        return _held(self.step if self.range == "learned" else self.alpha, self.least)


def _above_zero(scale: Tensor) -> Tensor:
    """Scales, with 1 where all that they are for is 0."""
    return torch.where(scale > 0, scale, 1)
