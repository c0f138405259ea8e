"""Training in 16 or 8 bits: what is computed in which format, and a scale for the loss.

What is rounded: the weights that a layer computes with, what goes into it and comes out, and the
gradients of all these. What is not: the sums inside a product, which matrix units of GPUs keep in
float32 too, the loss, and the weights that the optimizer changes (*master weights*), unless
`round_stored` rounds them after each step.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.optim import Optimizer

from shrink.arguments import check_real, whole_number
from shrink.quantization.aware import AwareLayer
from shrink.quantization.number_formats import BF16, E4M3, E5M2, FP16, Format, round_to
from shrink.tensors import check_gradient, check_optimizer

# torch's own types, whose casts from float32 give the same numbers and take a tenth of the time
CASTS = {
    FP16: torch.float16,
    BF16: torch.bfloat16,
    E4M3: torch.float8_e4m3fn,
    E5M2: torch.float8_e5m2,
}
READS_OTHERS = (AwareLayer, nn.MultiheadAttention)  # weights that are not their own
SATURATES = E4M3, 464.0  # torch's cast gives the largest number for what rounds to more


def _rounded(x: Tensor, format: Format) -> Tensor:
    """What `round_to` gives, in x's dtype."""
    if format not in CASTS or x.dtype != torch.float32:
        return round_to(x, format).to(x.dtype)
    rounded = x.detach().to(CASTS[format]).float()
    if format == SATURATES[0]:
        rounded.masked_fill_(x.detach().abs() > SATURATES[1], torch.nan)
    return rounded


class _InFormat(torch.autograd.Function):
    """Values are rounded forward, and their gradients backward."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, format: Format, gradients: Format) -> Tensor:
        ctx.gradients = gradients
        return _rounded(x, format)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _rounded(gradient, ctx.gradients), None, None


def in_format(x: Tensor, format: Format, gradients: Format | None = None) -> Tensor:
    """x rounded to the format, and its gradient on the way back: float32 that holds such numbers.

    Args:
        x: float32, any shape.
        gradients: the format of the gradient, if it is another.

    >>> w = torch.tensor(0.1, requires_grad=True)
    >>> (in_format(w, BF16) * (1 + 1 / 1024)).backward()
    >>> in_format(w, BF16).item(), w.grad  # bf16 has 0.10009765625, and then 1, not 1 + 1/1024
    (0.10009765625, tensor(1.))
    """
    return _InFormat.apply(x, format, gradients or format)


@contextmanager
def compute_in(model: nn.Module, format: Format, gradients: Format | None = None) -> Iterator[None]:
    """Inside, the model computes in the format; its parameters stay the float32 that they are.

    Each layer rounds its parameters, its input and its output as it is called, and their gradients
    as these come back. So an optimizer trains master weights, and the network sees their roundings.
    A weight that something else reads than its own layer would stay float32: attention and the
    layers of `aware.prepare` are refused.

    Args:
        format: of weights and activations.
        gradients: of all gradients, if it is another one, as e5m2 beside e4m3.

    Raises:
        TypeError: a format is no `Format`.
        ValueError: the model has such a layer (with its name).

    Source: Micikevicius et al. 2018, "Mixed precision training", section 3.1.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, 1.001)
    >>> with compute_in(layer, BF16):
    ...     layer(torch.tensor([3.0])).item()
    3.0
    >>> round(layer.weight.item(), 3)
    1.001
    """

    for one in (format, gradients or format):
        if not isinstance(one, Format):
            raise TypeError(f"a format is a Format, such as BF16, and not {one!r}")
    for name, layer in model.named_modules():
        if isinstance(layer, READS_OTHERS):
            kind = type(layer).__name__
            raise ValueError(f"{name or 'the model'} is a {kind}, whose weights stay float32 here")

    def rounded(x: Any) -> Any:
        floats = isinstance(x, Tensor) and x.is_floating_point()
        return in_format(x, format, gradients) if floats else x

    def before(layer: nn.Module, inputs: tuple) -> tuple:
        for name, parameter in layer.named_parameters(recurse=False):
            layer.__dict__[name] = rounded(parameter)  # found before the parameter
        return tuple(rounded(x) for x in inputs)

    def after(layer: nn.Module, inputs: tuple, output: Any) -> Any:
        for name, _ in layer.named_parameters(recurse=False):
            layer.__dict__.pop(name, None)
        return rounded(output)

    with ExitStack() as hooks:
        for layer in model.modules():
            if not any(layer.children()) or any(True for _ in layer.parameters(recurse=False)):
                hooks.enter_context(layer.register_forward_pre_hook(before))
                hooks.enter_context(layer.register_forward_hook(after, always_call=True))
        yield


@torch.no_grad()
def round_stored(optimizer: Optimizer, format: Format) -> None:
    """Round the weights in place, and what the optimizer keeps of each: no master weights.

    After each step it is as if all were stored in the format, and each update added in it.

    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> sgd = torch.optim.SGD([w], lr=1 / 512)
    >>> w.grad = torch.tensor([-1.0])
    >>> for _ in range(1000):  # in float32 1000/512 would be added
    ...     sgd.step()
    ...     round_stored(sgd, BF16)
    >>> w
    tensor([1.], requires_grad=True)
    """
    for weight in _parameters(optimizer):
        weight.copy_(_rounded(weight, format))
        for kept in optimizer.state.get(weight, {}).values():
            if isinstance(kept, Tensor) and kept.is_floating_point() and kept.dim():
                kept.copy_(_rounded(kept, format))


def _parameters(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


class LossScaler:
    """A scale for the loss that keeps gradients inside a format's range, found while training.

    The loss is multiplied by `scale`, and with it every gradient, so that small ones do not become
    0. Before the step the gradients are divided again. If some are not finite the step is skipped
    and the scale falls; after `interval` steps in a row that were taken it rises. With growth and
    backoff 1 the scale is fixed.

        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scaled(loss).backward()
        scaler.unscale_(optimizer)  # only where something is to be done with the gradients:
        clip_grad_norm_(model.parameters(), 1)
        scaler.step(optimizer)

    Args:
        scale: the first one, above 0; a power of two loses no bit.
        growth, backoff: what the scale is multiplied by; at least 1, and at most 1.
        interval: steps, at least 1.
        least, most: between them the scale stays.

    Source: Micikevicius et al. 2018, section 3.2; the rule, and its numbers, as in
    `torch.amp.GradScaler`.
    Differs: GradScaler's scale may fall without end where a loss is NaN; here `step` raises. One
    call, `step`, also changes the scale, so there is one optimizer to a scaler.

    >>> scaler = LossScaler(scale=8.0, interval=2)
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> sgd = torch.optim.SGD([w], lr=0.5)
    >>> for gradient in (8.0, float("inf"), 4.0, 4.0):  # of the scaled loss
    ...     w.grad = torch.tensor([gradient])
    ...     print(scaler.step(sgd), w.tolist(), scaler.scale)
    True [0.5] 8.0
    False [0.5] 4.0
    True [0.0] 4.0
    True [-0.5] 8.0
    """

    def __init__(
        self,
        scale: float = 2.0**16,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        least: float = 2.0**-24,
        most: float = 2.0**24,
    ) -> None:
        for name, number, low, high in (
            ("least", least, 0, math.inf),
            ("most", most, least, math.inf),
            ("scale", scale, least, most),
            ("growth", growth, 1, math.inf),
            ("backoff", backoff, 0, 1),
        ):
            check_real(name, number)
            if not (low <= number <= high and 0 < number < math.inf):
                raise ValueError(f"{name} must be {_between(low, high)}, not {number}")
        self.scale, self.growth, self.backoff = float(scale), float(growth), float(backoff)
        self.interval = whole_number("interval", interval, 1)
        self.least, self.most = float(least), float(most)
        self.good = 0  # steps taken since the scale changed or one was skipped
        self.skipped = 0  # in all
        self._finite: bool | None = None  # whether the gradients are; None: they are still scaled

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are taken."""
        return loss * self.scale

    @torch.no_grad()
    def unscale_(self, optimizer: Optimizer) -> bool:
        """Divide the gradients by the scale, in place; whether all are finite.

        To clip gradients is to compare them with a number, so it comes after this and before
        `step`, which does it by itself where nothing lies between.

        Raises:
            RuntimeError: it was called already since the last step, or no weight has a gradient.
            TypeError: a gradient is of 16 bits, in which dividing would lose what the scale saved,
                or sparse.
        """
        check_optimizer(optimizer)
        if self._finite is not None:
            raise RuntimeError("the gradients are divided by the scale already: step comes next")
        gradients = [p.grad for p in _parameters(optimizer) if p.grad is not None]
        if not gradients:
            raise RuntimeError("no weight has a gradient: scaled(loss).backward() comes first")
        for gradient in gradients:
            check_gradient("a weight", gradient)
            if gradient.dtype not in (torch.float32, torch.float64):
                raise TypeError(f"gradients must be float32 or float64, not {gradient.dtype}")
        for gradient in gradients:
            gradient.mul_(1 / self.scale)
        self._finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        return self._finite

    def step(self, optimizer: Optimizer) -> bool:
        """Take the step if all gradients are finite, and change the scale; whether it was taken.

        A step that is skipped touches neither weights nor what the optimizer keeps.

        Raises:
            FloatingPointError: gradients are not finite at the least scale: no scale can help.
            RuntimeError, TypeError: as `unscale_`.
        """
        finite = self._finite if self._finite is not None else self.unscale_(optimizer)
        self._finite = None
        if finite:
            optimizer.step()
            self.good += 1
            if self.good == self.interval:
                self.scale, self.good = min(self.scale * self.growth, self.most), 0
            return True
        self.good, self.skipped = 0, self.skipped + 1
        if self.scale == self.least and self.backoff < 1:
            raise FloatingPointError(
                f"gradients are not finite at the least scale, {self.scale:g}: the loss itself is "
                "not, or the learning rate is too high"
            )
        self.scale = max(self.scale * self.backoff, self.least)
        return False

    def state_dict(self) -> dict[str, float]:
        """What is needed to go on: the scale, the steps taken since it changed, and those skipped.

        To be asked for between two steps, not between `unscale_` and `step`.
        """
        return {"scale": self.scale, "good": self.good, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there. Raises `ValueError` where the state is not one of a scaler."""
        if set(state) != set(self.state_dict()):
            raise ValueError(f"the state must have {list(self.state_dict())}, not {list(state)}")
        if not self.least <= state["scale"] <= self.most:
            allowed = f"{self.least:g} to {self.most:g}"
            raise ValueError(f"the scale of this scaler is {allowed}, not {state['scale']}")
        self.scale, self._finite = float(state["scale"]), None
        self.good, self.skipped = int(state["good"]), int(state["skipped"])


def _between(low: float, high: float) -> str:
    above = "above 0" if low == 0 else f"at least {low:g}"
    return f"{above} and finite" if high == math.inf else f"{above} and at most {high:g}"


def underflow(gradients: Tensor | Iterable[Tensor], format: Format, scale: float = 1.0) -> float:
    """Of all gradients that are not 0, the fraction that are 0 in the format, at this loss scale.

    >>> g = torch.tensor([0.0, 1e-9, 1e-8, 1e-3])
    >>> round(underflow(g, FP16), 3), underflow(g, FP16, scale=2.0**16)  # below 3e-8, and none
    (0.667, 0.0)
    """
    return _share(gradients, scale, lambda g: _rounded(g, format) == 0)


def overflow(gradients: Tensor | Iterable[Tensor], format: Format, scale: float = 1.0) -> float:
    """Of all gradients that are not 0, the fraction that are not finite in the format.

    >>> overflow(torch.tensor([0.0, 0.5, 2.0]), FP16, scale=2.0**16)  # 131,072 is too large
    0.5
    """
    return _share(gradients, scale, lambda g: ~_rounded(g, format).isfinite())


def _share(gradients: Tensor | Iterable[Tensor], scale: float, lost: Any) -> float:
    tensors = [gradients] if isinstance(gradients, Tensor) else gradients
    count = total = 0
    for gradient in tensors:
        nonzero = gradient != 0
        count += int((nonzero & lost(gradient * scale)).sum())
        total += int(nonzero.sum())
    return count / max(total, 1)


def swallowed(weight: Tensor, update: Tensor, format: Format) -> float:
    """Of all weights that an update moves in float32, the fraction that it does not in the format.

    bf16's numbers between 1 and 2 lie 1/128 apart: what adds less than half of that adds nothing.

    Args:
        weight: float32, rounded to the format before.
        update: what is added to it.

    >>> swallowed(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0.003, 0.005, 0.0]), BF16)
    0.5
    """
    before = _rounded(weight, format)
    after = before + update
    moved = after != before
    same = moved & (_rounded(after, format) == before)
    return int(same.sum()) / max(int(moved.sum()), 1)
