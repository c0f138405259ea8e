"""Rounding by output error: all roundings of small kernels, descent in wide layers, AdaRound."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from shrink.quantization import QParams, quantize
from shrink.quantization.adaround import adaround
from shrink.quantization.fixed_weights import weight_grid
from shrink.quantization.moments import output_error
from shrink.quantization.rounding import round_by_descent, round_exactly
from tests.bench.rows import Row, faster, goal, in_turns

BITS = 4
Way = Callable[[Tensor, QParams, Tensor], Tensor]


def roundings() -> Iterator[Row]:
    """Of random weights, with inputs that are large together, as behind a ReLU."""
    weight, products = _layer(16, 9, groups=16)
    grid = weight_grid(weight, BITS)
    took, loop = in_turns(
        lambda: round_exactly(weight, grid, products),
        lambda: _one_kernel_at_a_time(weight, grid, products),
        runs=20,
    )
    same = torch.equal(
        round_exactly(weight, grid, products), _one_kernel_at_a_time(weight, grid, products)
    )
    yield Row(
        "all 512 roundings of 16 kernels of 3 x 3",
        f"{took:.1f} ms",
        f"a kernel at a time {loop:.1f} ms",
        f"{'; '.join(goal(took, 2, 'ms'))}; {faster(took, loop)}; "
        + ("same integers" if same else "OTHER INTEGERS"),
    )
    yield _beside_nearest(
        "all 65,536 roundings of 32 kernels of 16 inputs", round_exactly, (32, 16)
    )
    for shape in ((300, 784), (500, 800)):
        what = f"coordinate descent, {shape[0]} x {shape[1]} weights"
        yield _beside_nearest(what, round_by_descent, shape, runs=1)
    yield _beside_nearest("AdaRound, 32 kernels of 16 inputs", adaround, (32, 16), limit=1000)


def _beside_nearest(
    what: str, way: Way, shape: tuple[int, int], limit: float = 0, runs: int = 3
) -> Row:
    weight, products = _layer(*shape)
    grid = weight_grid(weight, BITS)
    took, nearest = in_turns(
        lambda: way(weight, grid, products), lambda: quantize(weight, grid), runs=runs, warm_up=1
    )
    errors = [
        float(output_error(q * grid.scale - weight, products).sum())
        for q in (way(weight, grid, products), quantize(weight, grid))
    ]
    verdict = f"{errors[0] / errors[1]:.2f} times the error of nearest"
    if limit:
        verdict = f"{'; '.join(goal(took, limit, 'ms'))}; {verdict}"
    return Row(what, f"{took:.0f} ms", f"nearest {nearest:.2f} ms", verdict)


def _layer(outputs: int, inputs: int, groups: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.rand(groups, 1000, inputs, generator=generator, dtype=torch.float64)
    x += torch.rand(groups, 1000, 1, generator=generator, dtype=torch.float64)
    return weight, x.mT @ x / 1000


def _one_kernel_at_a_time(weight: Tensor, grid: QParams, products: Tensor) -> Tensor:
    """Plain matrix products: Δᵀ G Δ of every rounding of one kernel, and the next."""
    inputs = weight.shape[1]
    up = (torch.arange(2**inputs)[:, None] >> torch.arange(inputs)) & 1
    found = []
    for w, g in zip(weight.double(), products, strict=True):
        low = (w / grid.scale.double()).floor()
        q = (low + up).clamp(grid.q_min, grid.q_max)
        error = q * grid.scale.double() - w
        found.append(q[((error @ g) * error).sum(1).argmin()])
    return torch.stack(found).to(torch.int8)
