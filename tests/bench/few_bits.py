"""Training of few bits: fake quantization, forward and backward, beside torch's own."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from shrink.quantization import QParams
from shrink.quantization.learned_step import fake_quantize_lsq
from shrink.quantization.straight_through import fake_quantize_ste
from tests.bench.rows import Row, faster, in_turns

SIZES = (300, 784), (1024, 1024), (128, 28, 28, 16)  # of weights, and of a batch of activations
ENDS, SCALE = (-7, 7), 0.3
FASTER, LEARNED_FASTER = 2.5, 1.5  # than torch's, at least


def fake_quantization() -> Iterator[Row]:
    """Four bits, one scale: fixed, and learned, in one thread and in two."""
    for threads in (1, 2):
        with _threads(threads):
            for size in SIZES:
                yield from _beside_torch(size, "1 thread" if threads == 1 else f"{threads} threads")


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _beside_torch(size: tuple[int, ...], threads: str) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(size, generator=generator) for _ in range(2))
    x.requires_grad_()
    ours, theirs = (torch.tensor(SCALE).view(shape).requires_grad_() for shape in ((), (1,)))
    p = QParams(torch.tensor(SCALE), torch.tensor(0, dtype=torch.int32), num_bits=4, narrow=True)
    zero_point, factor = torch.zeros(1), (x.numel() * ENDS[1]) ** -0.5
    learnable = torch._fake_quantize_learnable_per_tensor_affine
    ways = {
        "fake quantization": (
            lambda: fake_quantize_ste(x, p),
            lambda: torch.fake_quantize_per_tensor_affine(x, SCALE, 0, *ENDS),
            "fake_quantize_per_tensor_affine",
            FASTER,
        ),
        "with a learned step": (
            lambda: fake_quantize_lsq(x, ours, *ENDS),
            lambda: learnable(x, theirs, zero_point, *ENDS, factor),
            "_fake_quantize_learnable_per_tensor_affine",
            LEARNED_FASTER,
        ),
    }
    for what, (mine, torchs, name, least) in ways.items():
        off = int((mine() != torchs()).sum())
        took, other = in_turns(
            _there_and_back(mine, x, gradient), _there_and_back(torchs, x, gradient)
        )
        met = "met" if other / took >= least else "not met"
        yield Row(
            f"{what}, forward and backward, {' x '.join(map(str, size))}, {threads}",
            f"{took:.2f} ms",
            f"torch.{name} {other:.2f} ms",
            f"{faster(took, other)}; goal {least:g}x: {met}; "
            + ("same numbers" if not off else f"{off:,} NUMBERS DIFFER"),
        )


def _there_and_back(
    quantized: Callable[[], Tensor], x: Tensor, gradient: Tensor
) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        quantized().backward(gradient)

    return run
