"""Training in 16 bits: what is computed in which format, and a scale for the loss."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from shrink.quantization.number_formats import BF16, FP16, Format, round_to

CASTS = {FP16: torch.float16, BF16: torch.bfloat16}  # torch's own, with the same bits and faster


def _rounded(x: Tensor, format: Format) -> Tensor:
    if format in CASTS:
        return x.to(CASTS[format]).to(x.dtype)
    return round_to(x, format)


class _InFormat(torch.autograd.Function):
    """Values are rounded forward, and their gradients backward."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, format: Format) -> Tensor:
        ctx.format = format
        return _rounded(x, format)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _rounded(gradient, ctx.format), None


def in_format(x: Tensor, format: Format) -> Tensor:
    """x rounded to the format, and its gradient, too: float32 that holds only such numbers."""
    return _InFormat.apply(x, format)


class LossScaler:
    """A scale for the loss that keeps gradients inside fp16's range, found while training.

    The loss is multiplied by `scale`, and so are all gradients, small ones out of reach of
    underflow. Before the step they are divided again. If some are not finite the step is left out
    and the scale falls; after `interval` steps without that it rises.

    Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2.
    """

    def __init__(
        self,
        scale: float = 2.0**16,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
    ) -> None:
        self.scale, self.growth, self.backoff, self.interval = scale, growth, backoff, interval
        self.steps, self.skipped = 0, 0  # since the scale changed; in all

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are taken."""
        return loss * self.scale

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Divide the gradients by the scale and take the step, if all are finite; tell which."""
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        for gradient in gradients:
            gradient /= self.scale
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.scale *= self.backoff
            self.steps, self.skipped = 0, self.skipped + 1
            return False
        optimizer.step()
        self.steps += 1
        if self.steps == self.interval:
            self.scale, self.steps = self.scale * self.growth, 0
        return True


def underflow(gradients: Iterable[Tensor], format: Format, scale: float = 1.0) -> float:
    """Of all gradients that are not 0, the fraction that the format makes 0."""
    gone = count = 0
    for gradient in gradients:
        some = gradient != 0
        gone += int((some & (_rounded(gradient * scale, format) == 0)).sum())
        count += int(some.sum())
    return gone / max(count, 1)


def swallowed(weight: Tensor, update: Tensor, format: Format) -> float:
    """Of all updates that are not 0, the fraction that leaves its weight in the format as it was."""
    before = _rounded(weight, format)
    some = update != 0
    return int((some & (_rounded(before + update, format) == before)).sum()) / max(
        int(some.sum()), 1
    )


def compute_in(model: nn.Module, format: Format) -> list[torch.utils.hooks.RemovableHandle]:
    """Round what goes into and comes out of each layer, and its gradient; returns the hooks."""
    handles = []
    for layer in model.modules():
        if not list(layer.children()):
            handles.append(
                layer.register_forward_pre_hook(lambda _, x: (in_format(x[0], format), *x[1:]))
            )
            handles.append(layer.register_forward_hook(lambda _, x, y: in_format(y, format)))
    return handles
