"""Training for the length of a file: what integers cost in bits, and a gradient that makes it less.

Which integers a tensor has decides how short an adaptive code makes it. Each costs -log2 of its
share, so that zeros among many zeros cost little and everything else more. The cost beside the
loss, times a price, is rate and distortion in one: the network pays for bits where they are worth
it, and pruning, the number of values and the bits of each layer all come out of one number.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.quantization.arguments import check_floats, refuse_nonfinite

LARGEST = 127  # magnitude
BELIEF = 2.0  # numbers that stand for what is known before any is seen


@dataclass(frozen=True)
class Costs:
    """Bits of each integer of a tensor (rows, ...), by `costs_of`.

    `zero` and `other` are those of being 0 or not, of each column, (columns,); `magnitude` those of
    1 to 127 beside, (127,), the sign included.
    """

    zero: Tensor
    other: Tensor
    magnitude: Tensor


def costs_of(q: Tensor) -> Costs:
    """What the integers of a tensor cost by how often they are in it, as an adaptive code has it.

    Whether a number is 0 costs by the share in its column, where few numbers are drawn towards the
    share in all; a sign costs 1; a magnitude costs by its share among those that are not 0, drawn
    towards halves: 1/2, 1/4, 1/8 and so on.

    Args:
        q: integers from -127 to 127 of any type, (rows, ...): a column is what all further axes
            have in one place. With one axis or none all are one column.

    Returns:
        float32, on q's device.

    Source: Wiedemann, Marban, Müller, Samek 2019, "Entropy-constrained training of deep neural
        networks", for weights that learn under their own entropy.
    Differs: theirs is of order 0 and of a continuous relaxation; ours has a share for each column,
        as `coding.arithmetic` has, and integers.

    Raises:
        ValueError: q is empty, or an integer is beyond 127.

    >>> costs = costs_of(torch.tensor([[0, 1], [0, -1], [0, 0], [0, 2]]))
    >>> costs.zero  # a column of zeros, and one with a zero in four
    tensor([0.2003, 1.4330])
    >>> costs.other, costs.magnitude[:3]
    (tensor([2.9475, 0.6674]), tensor([1.7370, 2.7370, 5.3219]))
    """
    if not q.numel():
        raise ValueError(f"a tensor of shape {tuple(q.shape)} has no integers to count")
    magnitudes = q.abs().long()
    if (largest := int(magnitudes.max())) > LARGEST:
        raise ValueError(f"a magnitude is at most {LARGEST}, not {largest}")
    columns = (magnitudes.flatten(1) if q.dim() > 1 else magnitudes.reshape(-1, 1)) != 0
    others, rows = columns.sum(0).double(), len(columns)
    share = (others.sum() + 0.5) / (columns.numel() + 1)
    shares = (others + BELIEF * share) / (rows + BELIEF)
    counts = torch.bincount(magnitudes.flatten(), minlength=LARGEST + 1)[1:].double()
    halves = 0.5 ** torch.arange(1, LARGEST + 1, dtype=torch.float64, device=q.device)
    of_magnitudes = (counts + BELIEF * halves) / (counts.sum() + BELIEF)
    return Costs(
        zero=-torch.log2(1 - shares).float(),
        other=-torch.log2(shares).float(),
        magnitude=(1 - torch.log2(of_magnitudes)).float(),
    )


class _CodeLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, place: Tensor, costs: Costs) -> Tensor:
        ctx.save_for_backward(place)
        ctx.costs = costs
        q = _rows(place).abs().round().clamp_(max=LARGEST).long()
        magnitude = F.pad(costs.magnitude, (1, 0))  # 0 has none
        return (torch.where(q > 0, costs.other, costs.zero) + magnitude[q]).sum().to(place.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (place,), costs = ctx.saved_tensors, ctx.costs
        below = _rows(place).abs().clamp_(max=LARGEST - 1).long()  # the integer before
        first = costs.other + costs.magnitude[0] - costs.zero
        further = F.pad(costs.magnitude.diff(), (1, 0))
        slope = torch.where(below > 0, further[below], first).clamp_(min=0).view(place.shape)
        return slope.to(place.dtype).mul_(place.sign()).mul_(gradient), None


def _rows(x: Tensor) -> Tensor:
    return x.flatten(1) if x.dim() > 1 else x.reshape(-1, 1)


def code_length(place: Tensor, costs: Costs) -> Tensor:
    """The bits that a tensor takes once it is rounded, with a gradient towards fewer.

    The gradient is the slope of the line between the costs of the two integers beside a number,
    towards 0, and 0 where the one further out is the cheaper: like a penalty on magnitudes that is
    steep up to 1 and then flat, and steepest in a column of zeros. The costs count as given: take
    them anew once in a while.

    Args:
        place: float, the numbers in steps: a weight divided by its step, which may be learned.
        costs: of such integers, by `costs_of`.

    Returns:
        (), of place's type.

    Raises:
        TypeError: place is not floating point.
        ValueError: it has NaN or infinities, or other columns than the costs.

    >>> place = torch.tensor([[0.2, 1.4], [0.0, -0.9], [0.1, 0.3], [0.0, 2.0]], requires_grad=True)
    >>> bits = code_length(place, costs_of(place.detach().round()))
    >>> bits.backward()
    >>> round(bits.item(), 4), place.grad[:2]  # 4.4842 = 2.9475 + 1.7370 - 0.2003
    (10.4473, tensor([[ 4.4842,  1.0000],
            [ 0.0000, -0.9714]]))
    """
    check_floats(place, "the numbers in steps")
    refuse_nonfinite(place.detach(), "the numbers in steps")
    columns = math.prod(place.shape[1:]) if place.dim() > 1 else 1
    if columns != len(costs.zero):
        raise ValueError(f"{columns} columns, and costs of {len(costs.zero)}")
    return _CodeLength.apply(place, costs)
