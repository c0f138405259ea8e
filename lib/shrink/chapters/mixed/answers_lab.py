"""The separable network with rounded weights, answered live: a few hundred images in some ms."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.quantization.sensitivity import kl_divergence


@dataclass(frozen=True)
class Answers:
    """What a network of rounded weights answers."""

    error: float  # in % of the images
    divergence: float  # mean KL of its answers from those of the floats, in nats


class Answering:
    """A network of floats, its batch norms folded, whose weights others take the place of.

    It goes through `SeparableNet`'s layers itself: with the pool as three maxima an answer takes
    half of the time that the network takes.

    Args:
        net: the network of floats.
        images, labels: what is asked.
        calibration: images on which biases are corrected.
    """

    def __init__(self, net: nn.Module, images: Tensor, labels: Tensor, calibration: Tensor) -> None:
        weighted = (nn.Conv2d, nn.Linear)
        self._layers = {n: m for n, m in net.named_modules() if isinstance(m, weighted)}
        self._labels, self._calibrating = labels, len(calibration)
        self.asked = len(labels)
        self._images = torch.cat([calibration, images])
        self._means: dict[str, Tensor] = {}  # of the outputs of floats, without their biases
        floats = {name: layer.weight.detach() for name, layer in self._layers.items()}
        self._logits = self._run(floats, correct=False, means=self._means)
        self.whole = self._error(self._logits)

    def of(self, weights: Mapping[str, Tensor], correct: bool) -> Answers:
        """What comes of these weights, by layer.

        Args:
            correct: whether each bias is shifted so that, on the calibration images, the mean of
                each output is that of the floats, as `bias_correction` does.
        """
        logits = self._run(weights, correct)
        divergence = float(kl_divergence(logits, of=self._logits).mean())
        return Answers(self._error(logits), divergence)

    def _error(self, logits: Tensor) -> float:
        return 100 * float((logits.argmax(1) != self._labels).double().mean())

    @torch.inference_mode()
    def _run(
        self,
        weights: Mapping[str, Tensor],
        correct: bool,
        means: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The logits of the images; `means` is filled where it is given."""
        x = self._images if correct or means is not None else self._images[self._calibrating :]
        for name, layer in self._layers.items():
            if isinstance(layer, nn.Linear):
                x = F.linear(_pooled(x).flatten(1), weights[name])
                places, shape = (0,), (-1,)
            else:
                how = layer.stride, layer.padding, layer.dilation, layer.groups
                x = F.conv2d(x, weights[name], None, *how)
                places, shape = (0, 2, 3), (-1, 1, 1)
            mean = x[: self._calibrating].mean(places) if len(x) > self.asked else None
            if means is not None:
                means[name] = mean
            bias = layer.bias + (self._means[name] - mean) if correct else layer.bias
            x += bias.view(shape)
            if isinstance(layer, nn.Conv2d):
                x.relu_()
        return x[-self.asked :]


def _pooled(x: Tensor) -> Tensor:
    """The largest of 2x2 each, as `max_pool2d`."""
    high, wide = (2 * (size // 2) for size in x.shape[2:])
    x = x[:, :, :high, :wide]
    rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])
