"""Which of the two integers beside it a weight becomes, so that the layer's output errs least.

The mean squared error of an output is Δᵀ G Δ, with Δ the error of its weights and G = E[xxᵀ] of its
inputs (`moments`). Rounding to nearest makes each Δᵢ least; what counts is how they add up.
"""

import torch
from torch import Tensor

from shrink.arguments import whole_number, whole_seed
from shrink.quantization.affine import QParams, fitted, quantize
from shrink.quantization.arguments import check_floats, refuse_nonfinite
from shrink.quantization.moments import by_group

MOST = 16  # inputs of a kernel of which all roundings are tried: 65 536
CHUNK = 2**20  # of them at a time


def floors(weight: Tensor, qparams: QParams) -> tuple[Tensor, Tensor]:
    """The integer below each weight, and the next, within the range: float64, of its shape.

    At the end of the range both are the last integer, so that no rounding goes past it.

    Raises:
        TypeError: the weight is not floating point.
        ValueError: it has NaN or infinities, the zero point is not 0, or shapes do not fit.

    >>> p = QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), num_bits=2, narrow=True)
    >>> floors(torch.tensor([-0.2, 0.2, 0.5]), p)
    (tensor([-1.,  0.,  1.], dtype=torch.float64), tensor([0., 1., 1.], dtype=torch.float64))
    """
    check_floats(weight, "the weight")
    refuse_nonfinite(weight, "the weight")
    scale, zero_point = fitted(qparams, weight)
    if zero_point.any():
        raise ValueError(
            f"weights are rounded with zero point 0, not {zero_point.unique().tolist()}"
        )
    low = (weight.detach().double() / scale.double()).floor()
    bounds = qparams.q_min, qparams.q_max
    return low.clamp(*bounds), (low + 1).clamp(*bounds)


def round_exactly(weight: Tensor, qparams: QParams, products: Tensor) -> Tensor:
    """The rounding of the least output error there is: all 2ⁿ of each kernel are tried.

    Args:
        weight: float (outputs, ...), with at most 16 inputs to an output.
        qparams: symmetric, one scale, or one for each output.
        products: E[xxᵀ] of the inputs, (groups, inputs, inputs), as `moments.Moments` has it.

    Returns:
        Integers of the weight's shape, as `quantize` gives them, each the one below or above.
        Where roundings are equal it is nearest, as for inputs that are always 0.

    Raises:
        TypeError: the weight is not floating point.
        ValueError: there are more inputs, the zero point is not 0, the weight or the products have
            NaN or infinities, or shapes do not fit.

    >>> p = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    >>> g = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])  # large together
    >>> round_exactly(torch.tensor([[0.4, 0.3]]), p, g)  # 0.6 - 0.3 is nearer 0 than -0.4 - 0.3
    tensor([[1, 0]], dtype=torch.int8)
    """
    check_floats(weight, "the weight")
    inputs = weight.shape[1:].numel()
    if inputs > MOST:
        raise ValueError(f"all roundings are tried of at most {MOST} inputs, not of {inputs}")
    found = _Nearest(weight, qparams, products)
    change, slope = found.change.flatten(0, 1), found.slope.flatten(0, 1)
    rows, outputs = len(change), found.change.shape[1]
    half = inputs // 2
    parts = [slice(0, half), slice(half, inputs)]
    choices = [_choices(part.stop - part.start).to(change) for part in parts]
    best = []
    for first in range(0, rows, size := max(CHUNK >> inputs, 1)):
        some = slice(first, first + size)
        g = found.products[torch.arange(first, min(first + size, rows)) // outputs]
        steps = [
            choice * change[some, None, part] for choice, part in zip(choices, parts, strict=True)
        ]
        # of the first half's choices as rows and the second's as columns
        own = [
            ((2 * slope[some, None, part] + step @ g[:, part, part]) * step).sum(-1)
            for step, part in zip(steps, parts, strict=True)
        ]
        errors = own[0][:, :, None] + own[1][:, None, :]
        errors += 2 * (steps[0] @ g[:, parts[0], parts[1]]) @ steps[1].mT
        which = errors.flatten(1).argmin(1)
        row, column = which // len(choices[1]), which % len(choices[1])
        best.append(torch.cat([choices[0][row], choices[1][column]], 1))
    return found.changed(torch.cat(best) > 0)


def _choices(inputs: int) -> Tensor:
    """All 2ⁿ ways to take some of n: (2ⁿ, n) of 0 and 1, the first of zeros."""
    return (torch.arange(2**inputs)[:, None] >> torch.arange(inputs)) & 1


def round_by_descent(weight: Tensor, qparams: QParams, products: Tensor) -> Tensor:
    """From the nearest integers on, the one weight of each output whose change helps most, again.

    Where no change of one weight helps, each is tried once together with the other weight that
    fits it best, and then single ones again. No better than the optimum, never worse than nearest;
    at the end no change of one weight helps. Arguments, result and errors are those of
    `round_exactly`, with any number of inputs: 300 x 784 weights take some seconds.

    >>> p = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    >>> g = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
    >>> round_by_descent(torch.tensor([[0.4, 0.3]]), p, g)
    tensor([[1, 0]], dtype=torch.int8)
    """
    found = _Nearest(weight, qparams, products)
    nearest = found.change.clone()
    found.change_singles()
    found.change_pairs()
    found.change_singles()
    return found.changed(found.change * nearest < 0)


def round_at_random(weight: Tensor, qparams: QParams, count: int, seed: int) -> Tensor:
    """The weight rounded by chance, each time anew: up with the probability of its fraction.

    So the mean of many roundings is the weight itself (stochastic rounding).

    Args:
        weight: float, of any shape.
        qparams: symmetric, one scale, or one for each output.
        count: how many roundings.
        seed: of the chance, which is drawn on the CPU and so the same on every device.

    Returns:
        (count, *weight.shape) integers, each the one below or above.

    Raises:
        TypeError: the weight is not floating point, or count or seed is no whole number.
        ValueError: count is below 1, torch has no such seed, the zero point is not 0, the weight
            has NaN or infinities, or shapes do not fit.

    >>> p = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    >>> round_at_random(torch.tensor([0.0, 0.9, 2.0]), p, count=3, seed=0)
    tensor([[0, 1, 2],
            [0, 1, 2],
            [0, 1, 2]], dtype=torch.int8)
    """
    count = whole_number("count", count, 1)
    low, high = floors(weight, qparams)
    fraction = (weight.double() / fitted(qparams, weight)[0].double() - low).clamp(0, 1)
    generator = torch.Generator().manual_seed(whole_seed(seed))
    chance = (torch.rand(weight.shape, generator=generator).to(low.device) for _ in range(count))
    return torch.stack([torch.where(one < fraction, high, low).to(qparams.dtype) for one in chance])


class _Nearest:
    """The nearest integers of each output, and what changes to the other ones bring.

    `change` (groups, outputs, inputs): what is added to a weight if it is rounded the other way;
    `slope`, of that shape, Δᵀ G, so that a change d of one weight adds 2 d slope + d² G to the
    error.
    """

    def __init__(self, weight: Tensor, qparams: QParams, products: Tensor) -> None:
        check_floats(products, "the matrix of products")
        refuse_nonfinite(products, "the matrix of products")
        low, high = floors(weight, qparams)
        scale = fitted(qparams, weight)[0].double().expand(weight.shape)
        self.q = quantize(weight, qparams).double().clamp(low, high)
        self.other, self.dtype = low + high - self.q, qparams.dtype
        self.products = products.double()
        self.change = by_group((self.other - self.q) * scale, products)
        self.slope = by_group(self.q * scale - weight.detach().double(), products) @ self.products
        self.diagonal = self.products.diagonal(dim1=1, dim2=2)[:, None]
        self.own = self.change**2 * self.diagonal
        self.least = 1e-12 * self.own.amax(-1, keepdim=True)  # what is less is rounding noise

    def changed(self, mask: Tensor) -> Tensor:
        """The integers, with those of the mask rounded the other way."""
        return torch.where(mask.view(self.q.shape), self.other, self.q).to(self.dtype)

    def change_singles(self) -> None:
        """The weight of each output whose change lowers the error most, until none does."""
        while True:
            cost, which = (2 * self.change * self.slope + self.own).min(-1, keepdim=True)
            helps = cost < -self.least
            if not helps.any():
                return
            self._change(which, helps)

    def change_pairs(self) -> None:
        """Each weight in turn with the other one that lowers the error most beside it, if any."""
        for i in range(self.change.shape[-1]):
            mine = self.change[..., i : i + 1]
            row = self.products[:, None, i]
            cost = 2 * self.change * (self.slope + mine * row) + self.own
            cost += 2 * mine * self.slope[..., i : i + 1] + self.own[..., i : i + 1]
            cost[..., i] = torch.inf
            least, which = cost.min(-1, keepdim=True)
            helps = least < -self.least
            if helps.any():
                self._change(torch.full_like(which, i), helps)
                self._change(which, helps)

    def _change(self, which: Tensor, helps: Tensor) -> None:
        """Round one weight of each output the other way, where it helps."""
        by = self.change.gather(-1, which) * helps
        group = torch.arange(len(which), device=which.device)[:, None]
        self.slope += by * self.products[group, which[..., 0]]
        self.change.scatter_add_(-1, which, -2 * by)
