"""The oracle of chapter 10's exercise on weights of two and three values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.few_bits.few_values_mistakes import SHARE
from shrink.chapters.few_bits.tensors import TOLERANCE, Close, as_numbers, is_floats


@dataclass(frozen=True)
class Found:
    """What counts of a result, a row for each channel."""

    signs: Any
    scale: Any


def right_signs(weight: Tensor, ternary: bool) -> Close:
    """From the definition; two signs of a weight 0, or of one at the threshold, are right."""
    rows = rows_of(weight)
    signs = torch.where(rows >= 0, 1.0, -1.0).double()
    if not ternary:
        return Close(signs, torch.where(rows == 0, -1, signs))
    magnitudes = rows.abs()
    thresholds = SHARE * magnitudes.mean(1, keepdim=True)
    kept = rows.sign().where(magnitudes > thresholds, 0)
    tied = (magnitudes - thresholds).abs() <= TOLERANCE * thresholds
    return Close(kept, torch.where(tied, rows.sign() - kept, kept))


def projected(weight: Tensor, signs: Tensor) -> Tensor:
    """The scale of each channel with the least squared error for these signs; 0 without any."""
    rows = zip(signs.numpy(), rows_of(weight).numpy(), strict=True)
    found = [np.linalg.lstsq(t[:, None], w, rcond=None)[0][0] for t, w in rows]
    return torch.tensor(found, dtype=torch.float64)


def rows_of(tensor: Tensor) -> Tensor:
    return as_numbers(tensor).flatten(1)


def right_values(weight: Tensor, ternary: bool) -> Found:
    signs = right_signs(weight, ternary)
    return Found(signs, Close(projected(weight, signs.numbers)))


def comparable(result: Any) -> Any:
    """A pair as what compares; anything else as it is."""
    if isinstance(result, Found) or not isinstance(result, tuple | list) or len(result) != 2:
        return result
    signs, scale = result
    if not is_signs(signs) or not is_floats(scale) or not 2 <= signs.dim() == scale.dim():
        return result
    return Found(Close(rows_of(signs)), Close(rows_of(scale)[:, 0]))


def is_signs(given: Any) -> bool:
    """Whether it is a tensor of floats or whole numbers that has values and is not sparse."""
    return (
        isinstance(given, Tensor)
        and given.layout == torch.strided
        and not (given.is_meta or given.is_quantized or given.is_complex())
        and given.dtype != torch.bool
    )
