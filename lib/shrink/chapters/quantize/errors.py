"""The squared errors of quantizing, those of clipping apart from those of rounding."""

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize.network import Setting, in_parts, spans
from shrink.chapters.quantize.ordered import Ordered
from shrink.chapters.quantize.view import CLIPS
from shrink.quantization import QParams, choose_qparams

CHUNK = 2**15  # numbers at a time: they stay in the cache
FEW = 20_000  # levels of all parts


def by_rows(x: Tensor, by: str) -> Tensor:
    """As `in_parts`, except where one range is for all: its rows are rows still."""
    return in_parts(x, by if by == "group" else "channel")


def squared_errors(x: Tensor, p: QParams, left: Tensor | None = None) -> tuple[float, float]:
    """The squared errors of clipping and of rounding, each summed over all numbers.

    What is more than half a step beyond the levels of `p` counts as clipped.

    Args:
        x: (rows, parts, numbers), looked at some rows at a time, which is much faster.
        p: of shape (rows, parts, 1), or of one range.
        left: what is left of x, by default what `p` leaves.
    """
    sums = np.zeros(2)
    some = max(CHUNK // x[0].numel(), 1)
    columns = (p.scale, *((q - p.zero_point) * p.scale for q in (p.q_min, p.q_max)))
    columns = (column.expand(len(x), -1, 1).split(some) for column in columns)
    lefts = left.split(some) if left is not None else itertools.repeat(None)
    for rows, scale, low, high, kept in zip(x.split(some), *columns, lefts, strict=False):
        inside = rows.clamp(low - scale / 2, high + scale / 2)
        beyond = inside != rows
        if kept is None:
            kept = inside.clamp_(low, high).mul_(1 / scale).round_().mul_(scale)
        errors = (kept - rows).square_()
        clipping = errors.where(beyond, 0).sum().item()
        sums += clipping, errors.masked_fill_(beyond, 0).sum().item()
    return float(sums[0]), float(sums[1])


def over_clips(x: Tensor, ordered: Ordered, setting: Setting, bits: int) -> np.ndarray:
    """The errors of clipping and of rounding (2, clips) where each range is cut to a part.

    Where there are few levels in all, x in order tells all errors at once; else x is quantized for
    each clip.
    """
    low, high = spans(in_parts(x, setting.by))
    edge = torch.maximum(-low, high)
    clips = torch.from_numpy(CLIPS).to(edge).view(-1, 1, 1, 1)
    p = choose_qparams(
        low.maximum(-clips * edge), high.minimum(clips * edge), bits, setting.symmetric
    )
    if low.numel() * 2**bits <= FEW:
        return ordered.errors(p)
    rows = by_rows(x, setting.by)
    each = zip(p.scale, p.zero_point, strict=True)
    every = [replace(p, scale=scale, zero_point=zero) for scale, zero in each]
    return np.array([squared_errors(rows, one) for one in every]).T
