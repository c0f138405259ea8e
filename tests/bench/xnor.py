"""Products of signs, beside the same products of floats and of int8."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from shrink.quantization import integer, xnor
from tests.bench.rows import Row, faster, in_turns

GOALS = {1024: 3, 4096: 8}  # times as fast as float32, for one input
MANY = 256  # inputs
ROW = 10  # single inputs, one after the other, of which the weights may stay in the cache


def products() -> Iterator[Row]:
    """A layer of 1024 and of 4096 units: for one input, and for many, where it loses.

    Weights and inputs are packed before, as a layer of signs leaves them to the next.
    """
    for size, fast in GOALS.items():
        weight = _signs(size, size)
        yield _beside(_signs(1, size), weight, fast)
        yield _beside(_signs(MANY, size), weight)


def _signs(n: int, k: int) -> Tensor:
    generator = torch.Generator().manual_seed(n + k)
    return torch.randint(2, (n, k), generator=generator).float() * 2 - 1


def _beside(x: Tensor, weight: Tensor, fast: int | None = None) -> Row:
    k = weight.shape[1]
    signs, packed, short = xnor.pack_signs(x), xnor.pack_signs(weight), weight.to(torch.int8)

    def ours() -> Tensor:
        return xnor.matmul(signs, packed, k)

    def theirs() -> Tensor:
        return x @ weight.T

    def of_bytes() -> Tensor:
        return integer.matmul(x.to(torch.int8), short)

    times, runs = (ROW, 40) if len(x) == 1 else (1, 5)
    bits, floats = (
        t / times for t in in_turns(_so_often(ours, times), _so_often(theirs, times), runs=runs)
    )
    packing, whole = in_turns(lambda: xnor.pack_signs(x), of_bytes, runs=runs // 5)
    same = torch.equal(ours(), theirs().int()) and torch.equal(ours(), of_bytes())
    verdict = [faster(bits, floats), "same sums" if same else "OTHER SUMS"]
    if fast:
        verdict.append(f"goal {fast}x: {'met' if floats / bits >= fast else 'not met'}")
    return Row(
        f"XNOR and popcount in numpy, {len(x)} by {k} signs times {k} by {k}",
        f"{bits:.3f} ms, and {packing:.3f} ms to pack the inputs",
        f"float32 {floats:.3f} ms, our int8 product {whole:.3f} ms",
        "; ".join(verdict),
    )


def _so_often(product: Callable, times: int) -> Callable:
    """The product some times in a row, as for one input after the other."""

    def repeated() -> None:
        for _ in range(times):
            product()

    return repeated
