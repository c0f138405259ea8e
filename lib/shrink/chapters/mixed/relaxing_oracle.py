"""What AdaRound's relaxed rounding must come to, for the exercise of chapter 11: in numpy."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.mixed.relaxing_mistakes import Relaxed

NAMES = ("start", "relaxed", "regulariser", "rounded")
TOLERANCE = 1e-4


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def share_up(v: Tensor) -> np.ndarray:
    """How far up each weight is rounded, by the definition: float64."""
    return np.minimum(np.maximum(1.2 / (1 + np.exp(-_numbers(v))) - 0.1, 0), 1)


def by_numpy(
    weight: Tensor, scale: float, q_min: int, q_max: int, v: Tensor, beta: float
) -> Relaxed:
    steps, h = _numbers(weight) / scale, share_up(v)
    fraction, low = np.mod(steps, 1), np.floor(steps)
    start = -np.log(1.2 / (fraction + 0.1) - 1)
    relaxed = scale * np.clip(low + h, q_min, q_max)
    regulariser = h.size - np.sum(np.power(np.abs(2 * h - 1), beta))
    rounded = np.clip(np.where(h < 0.5, low, low + 1), q_min, q_max)
    found = (start, relaxed, np.asarray(regulariser), rounded)
    return tuple(torch.from_numpy(each).to(weight) for each in found)


def slopes(
    weight: Tensor, scale: float, q_min: int, q_max: int, v: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """The derivative of each relaxed weight by its v, and that of the regulariser."""
    h, s = share_up(v), 1 / (1 + np.exp(-_numbers(v)))
    by_v = 1.2 * s * (1 - s) * ((h > 0) & (h < 1))
    inside = np.floor(_numbers(weight) / scale) + h <= q_max
    away = 2 * h - 1
    undecided = -2 * beta * np.sign(away) * np.abs(away) ** (beta - 1) * by_v
    return tuple(
        torch.from_numpy(each).to(v.detach()) for each in (scale * by_v * inside, undecided)
    )


@dataclass(frozen=True, eq=False)
class Values:
    """Those of a tensor, whatever its type, equal to others that are near."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Values) or self.tensor.shape != other.tensor.shape:
            return False
        return not differing(self.tensor, other.tensor).any()


def differing(given: Tensor, right: Tensor) -> Tensor:
    """Where they differ; NaN always does."""
    given, right = given.double(), right.double()
    return ~((given == right) | ((given - right).abs() <= TOLERANCE * (1 + right.abs())))


def off_at_start(given: Tensor, fraction: np.ndarray) -> Tensor:
    """Where h is not the fraction; at a fraction of 0 any v will do that has it, if finite."""
    near = np.abs(share_up(given) - fraction) <= TOLERANCE
    return torch.from_numpy(~(near & np.isfinite(_numbers(given))))


def reason(
    name: str,
    at: tuple[int, ...],
    given: Tensor,
    weight: Tensor,
    scale: float,
    q_min: int,
    q_max: int,
    v: Tensor,
    beta: float,
) -> str:
    """Why a number is what it must be, as a student would reckon it."""
    steps = weight[at].item() / scale
    low = int(np.floor(steps))
    if name == "start":
        h = share_up(given)[at]
        fraction = f"the fraction of {steps:.5g} is {steps - low:.4g}"
        return f"{fraction}, and with yours h is {h:.4g}"
    h = share_up(v)[at]
    if name == "regulariser":
        first = f"1 - |2h - 1|^{beta:g} = {1 - abs(2 * h - 1) ** beta:.4g}"
        place = ", ".join(map(str, at))
        return f"h[{place}] is {h:.4g} and gives {first}; all {v.numel()} of these are added up"
    begin = f"the integer below {steps:.5g} is {low} and h is {h:.4g}"
    if name == "relaxed":
        return f"{begin}: {scale:g} clamp({low} + {h:.4g}, {q_min}, {q_max})"
    way = "at least 0.5, so up" if h >= 0.5 else "below 0.5, so down"
    return f"{begin}, {way}{', and no further than q_max' if low + (h >= 0.5) > q_max else ''}"
