"""Numbers in order: the errors of any quantizer of them follow from a few sums."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.chapters.quantize.network import in_parts
from shrink.quantization import QParams


@dataclass(frozen=True)
class Ordered:
    """The numbers of each part, float32 (parts, n) in order, and how they and their squares add up.

    `sums` and `squares`, float64 (parts, n + 1), are of the first 0, 1, ... n of them. On the CPU.
    """

    numbers: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor, by: str) -> "Ordered":
        """Of a matrix with a range for each of the parts by `by`."""
        parts = in_parts(x, by).flatten(0, 1).cpu()
        numbers = torch.from_numpy(np.sort(parts.numpy()))
        doubles = numbers.double()
        added = (F.pad(d.cumsum(-1), (1, 0)) for d in (doubles, doubles.square()))
        return cls(numbers, *added)

    def errors(self, p: QParams) -> np.ndarray:
        """The squared errors of clipping and of rounding (2, clips), for p of (clips, ..., 1).

        All numbers between two boundaries become the level l there: together their error is the sum
        of their squares - 2 l · their sum + l² · how many they are.
        """
        scale, zero_point = (
            t.reshape(len(t), -1).T.unsqueeze(-1).cpu() for t in (p.scale.double(), p.zero_point)
        )
        levels = scale * (torch.arange(p.q_min, p.q_max + 1) - zero_point)  # (parts, clips, levels)
        first, last = levels[..., :1], levels[..., -1:]
        between = torch.cat([levels - scale / 2, last + scale / 2], -1)
        ends = F.pad(self._places(between), (1, 1))
        ends[..., -1] = self.numbers.shape[-1]
        levels = torch.cat([first, levels, last], -1)  # what is clipped becomes the last one too
        errors = (
            self._between(ends, self.squares)
            - 2 * levels * self._between(ends, self.sums)
            + levels.square() * ends.diff(dim=-1)
        ).clamp_(min=0)
        errors = errors.sum(0)
        clipping, rounding = errors[:, [0, -1]].sum(-1), errors[:, 1:-1].sum(-1)
        return torch.stack([clipping, rounding]).numpy()

    def _places(self, boundaries: Tensor) -> Tensor:
        """How many numbers of each part lie below the boundaries (parts, ...)."""
        flat = boundaries.flatten(1).float()
        return torch.searchsorted(self.numbers, flat).view(boundaries.shape)

    def _between(self, ends: Tensor, added: Tensor) -> Tensor:
        return added.gather(-1, ends.flatten(1)).view(ends.shape).diff(dim=-1)
