"""LeNet-300-100 quantized layer by layer, as chapter 03's explorer shows it."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.quantization import choose_qparams, fake_quantize
from shrink.quantization.calibration import METHODS, Calibrator

NAME = "lenet-300-100"
DYNAMIC = "dynamic"  # each batch by its own range
IMAGES = 1000  # validation images that are asked whenever a setting is new
SEEN, BATCH = 500, 100  # training images for calibration
FAULTY = 2  # the calibration batch in which the outlier is
GROUP = 64
GRANULARITIES = ("tensor", "channel", "group")
ON_SHOW = {"weights": 0, "activations": 1}  # fc1's weights, and the inputs of fc2

Ranges = list[tuple[float, float]]  # of each layer's inputs


@dataclass(frozen=True)
class Setting:
    """What decides how the network is quantized, but for the bits."""

    what: str  # "weights" or "activations"
    symmetric: bool
    by: str  # of weights one of GRANULARITIES, of activations one of METHODS or DYNAMIC
    outlier: float = 1.0
    percentile: float = 100.0
    mine: bool = False


UNDISTURBED = tuple(
    Setting(what, symmetric, by)
    for what, ways in (("weights", GRANULARITIES), ("activations", (*METHODS, DYNAMIC)))
    for symmetric in (False, True)
    for by in ways
)


class Network:
    """LeNet-300-100 layer by layer, and what its layers get on the calibration images."""

    def __init__(self, net: nn.Module, dataset: Dataset) -> None:
        self.state = net.state_dict()
        self.weights = [w.detach() for w in models.weights(net).values()]
        self.biases = [b.detach() for b in net.parameters() if b.dim() == 1]
        self.images = dataset.validation.images[:IMAGES].flatten(1)
        self.inputs = [dataset.train.images[:SEEN].flatten(1)]
        for weight, bias in zip(self.weights[:-1], self.biases, strict=False):
            self.inputs.append(F.linear(self.inputs[-1], weight, bias).relu())

    def answers(
        self, weights: Sequence[Tensor], change: Callable[[int, Tensor], Tensor] | None = None
    ) -> np.ndarray:
        """The answers with these weights, and each layer's inputs changed, batch by batch."""
        answers = []
        for x in self.images.split(BATCH if change else IMAGES):
            for layer, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
                x = x.relu() if layer else x
                x = F.linear(change(layer, x) if change else x, weight, bias)
            answers.append(x.argmax(1))
        return torch.cat(answers).to(torch.uint8).cpu().numpy()


def in_parts(x: Tensor, by: str, fill: float = 0.0) -> Tensor:
    """A matrix as (rows, parts of a row, numbers of a part), a part for each range.

    A row's last group is filled up.
    """
    if by == "group":
        return F.pad(x, (0, -x.shape[1] % GROUP), value=fill).unflatten(1, (-1, GROUP))
    return x.unsqueeze(1) if by in ("channel", DYNAMIC) else x.reshape(1, 1, -1)


def spans(parts: Tensor, clip: Tensor | float = math.inf) -> tuple[Tensor, Tensor]:
    """From where to where the parts reach, zero between them, but not beyond the clip."""
    low, high = parts.amin(-1, keepdim=True), parts.amax(-1, keepdim=True)
    clip = torch.as_tensor(clip, dtype=low.dtype, device=low.device)
    return low.clamp(max=0).maximum(-clip), high.clamp(min=0).minimum(clip)


def find_outlier(x: Tensor, what: str) -> tuple[int, int]:
    """Row and column of the number in a matrix that the slider makes larger."""
    row = min(FAULTY, len(x) - 1)
    if what == "weights":
        row = int(x.abs().amax(1).argmax())
    return row, int(x[row].abs().argmax())


def disturbed(net: Network, setting: Setting) -> list[Tensor]:
    """What is looked at, layer by layer: weights, or calibration images, a batch a row.

    The weights' outlier is in fc1; the activations' are in one batch, in each layer.
    """
    if setting.what == "weights":
        layers = [net.weights[0].clone(), *net.weights[1:]]
        layers[0][find_outlier(layers[0], setting.what)] *= setting.outlier
        return layers
    layers = [x.reshape(-1, min(BATCH, len(x)) * x.shape[1]).clone() for x in net.inputs]
    for x in layers:
        x[find_outlier(x, setting.what)] *= setting.outlier
    return layers


def see(net: Network, setting: Setting) -> list[Calibrator]:
    """What calibrators of the layers' inputs have seen."""
    seen = [Calibrator() for _ in net.inputs]
    for calibrator, x in zip(seen, disturbed(net, setting), strict=True):
        for batch in x:
            calibrator.see(batch)
    return seen


def ranges_of(seen: Sequence[Calibrator], setting: Setting, bits: int) -> Ranges:
    """The range (low, high) of each layer's inputs."""
    ranges = []
    for calibrator in seen:
        one = copy.copy(calibrator)
        one.method, one.num_bits, one.symmetric = setting.by, bits, setting.symmetric
        one.percentile = setting.percentile
        ranges.append(one.range())
    return ranges


def magnitudes(net: Network, setting: Setting) -> list[Tensor]:
    """Of each layer's weights, by parts and in order; what fills a last group up is NaN, last."""
    parts = (in_parts(w, setting.by, fill=math.nan).abs() for w in disturbed(net, setting))
    return [torch.from_numpy(np.sort(x.cpu().numpy())).to(x.device) for x in parts]


def weight_spans(
    net: Network, setting: Setting, sizes: Sequence[Tensor] | None = None
) -> list[tuple[Tensor, Tensor]]:
    """The ranges of each layer's weights, clipped at the percentile: low and high.

    `sizes` are the layers' `magnitudes`, of which the clip is a quantile; without them nothing is
    clipped.
    """
    layers = disturbed(net, setting)
    clips = [_quantile(x, setting.percentile / 100) for x in sizes] if sizes else [math.inf] * 3
    return [spans(in_parts(w, setting.by), clip) for w, clip in zip(layers, clips, strict=True)]


def _quantile(x: Tensor, fraction: float) -> Tensor:
    """Of sorted numbers along the last axis, which stays; NaNs at its end do not count."""
    place = fraction * ((~x.isnan()).sum(-1, keepdim=True) - 1)
    below = place.floor().long()
    above = place.ceil().long()
    return x.gather(-1, below).lerp(x.gather(-1, above), (place - below).to(x.dtype))


def left(setting: Setting, bits: int, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """What quantizing leaves of x; a matrix if there is more than one range."""
    if low.numel() == 1:
        ends = low.view(()), high.view(())
        return fake_quantize(x, choose_qparams(*ends, bits, setting.symmetric))
    p = choose_qparams(low, high, bits, setting.symmetric)
    return fake_quantize(in_parts(x, setting.by), p).view(len(x), -1)[:, : x.shape[1]]


def answers(
    net: Network,
    setting: Setting,
    bits: int,
    ranges: Sequence[tuple] | None,
    leave: Callable[..., Tensor] = left,
) -> np.ndarray:
    """The quantized network's answers, uint8 (images,).

    Args:
        ranges: of each layer's weights, as `weight_spans` gives them, or of its inputs, if static.
        leave: what quantizes, as `left` does.
    """
    if setting.what == "weights":
        layers = zip(disturbed(net, setting), ranges, strict=True)
        return net.answers([leave(setting, bits, w, *ends) for w, ends in layers])

    def change(layer: int, x: Tensor) -> Tensor:
        ends = map(x.new_tensor, ranges[layer]) if ranges else spans(x.flatten())
        return leave(setting, bits, x, *ends)

    return net.answers(net.weights, change)
