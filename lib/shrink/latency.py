"""Times, measured on the machine at hand: of calls and of layers, and what the machine can do.

Every figure from here is a measurement, and another run gives another. Each says how it was taken.
`shrink.cost` has all that follows from shapes alone.
"""

import itertools
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.modes import in_use
from shrink.plain import check_module, parts_with_parameters
from shrink.tensors import check_tensor


@dataclass(frozen=True)
class Latency:
    """The time of one call, in seconds: the median of `runs` calls, and the quartiles around it."""

    low: float
    median: float
    high: float
    runs: int
    batch: int
    threads: int
    device: str

    def __str__(self) -> str:
        low, median, high = (_three_digits(1000 * t) for t in (self.low, self.median, self.high))
        times = f"{median} ms ({low} to {high}, {self.runs} runs)"
        return f"{times}, batch {self.batch}, {self.conditions}"

    @property
    def conditions(self) -> str:
        """On what it was measured."""
        return f"{self.threads} thread{'s' * (self.threads != 1)}, {self.device}"


def _three_digits(number: float) -> str:
    return f"{float(f'{number:.3g}'):g}"


def time_call(
    function: Callable[[], object],
    warm_up: int = 10,
    runs: int = 100,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """The quartiles of a function's time: a quarter of the calls took less, half, three quarters.

    The first calls are slower (memory is asked for, caches are cold), so `warm_up` calls are made
    first and not timed. A few calls in which the machine was busy elsewhere do not move the median;
    they do move a mean.

    Args:
        clock: returns the time in seconds; read before and after each of the `runs` calls.

    Raises:
        TypeError: `runs` or `warm_up` is not whole.
        ValueError: `runs` is below 1, or `warm_up` below 0.

    >>> ticks = iter([0, 9, 10, 11, 20, 23])  # three calls that take 9, 1 and 3
    >>> time_call(lambda: None, warm_up=0, runs=3, clock=lambda: next(ticks))
    (2.0, 3.0, 6.0)
    """
    warm_up, runs = whole_number("warm_up", warm_up, 0), whole_number("runs", runs, 1)
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(runs):
        began = clock()
        function()
        times.append(clock() - began)
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75]).tolist()
    return low, median, high


def latency(model: nn.Module, images: Tensor, warm_up: int = 10, runs: int = 100) -> Latency:
    """The time that the model takes for a batch of images, on their device, in `eval` mode.

    On a GPU each call waits until the work is done, and convolutions compute in float32 proper.
    The model is left as it was. Raises `TypeError` when the images are not a tensor or the model is
    not a module, and `ValueError` on meta, where nothing is computed.
    """
    _check_images(images)
    check_module(model)
    threads = torch.get_num_threads()
    with in_use(model), _float32(images.device):
        times = time_call(_and_wait(lambda: model(images), images.device), warm_up, runs)
    return Latency(*times, runs, len(images), threads, str(images.device))


def layer_latencies(
    model: nn.Module, images: Tensor, warm_up: int = 3, runs: int = 20
) -> dict[str, Latency]:
    """The time of each layer with parameters, by name: each alone, on its input in the model.

    A layer that runs twice is timed on its last input. Computing a weight at each call, as a
    parametrization does, is part of its layer's time.

    Raises `ValueError` when a layer takes more than one tensor, and as `latency`.
    """
    _check_images(images)
    seen: dict[str, tuple[nn.Module, Tensor]] = {}
    hooks = []
    for name, module in parts_with_parameters(model):

        def see(module, args, kwargs, name=name) -> None:
            taken = [*args, *kwargs.values()]
            if len(taken) != 1:
                raise ValueError(f"{name or 'the model'} takes {len(taken)} tensors, not one")
            seen[name or type(module).__name__] = (module, taken[0])

        hooks.append(module.register_forward_pre_hook(see, with_kwargs=True))
    try:
        with in_use(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: latency(module, x, warm_up, runs) for name, (module, x) in seen.items()}


def _check_images(images: Tensor) -> None:
    check_tensor("the images", images)
    if images.is_meta:
        raise ValueError("the images are on meta, where nothing is computed and no time passes")


def _and_wait(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The function, which on a GPU returns when its work is done and not when it is queued."""
    if device.type == "cpu":
        return function

    def call() -> None:
        function()
        torch.accelerator.synchronize(device)

    return call


def _float32(device: torch.device) -> AbstractContextManager:
    """Inside, convolutions on CUDA compute in float32, and not, as they may, in TF32."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    )


@dataclass(frozen=True)
class Roofs:
    """What a machine was seen to do at best.

    `flops` are operations a second, of which a multiply-accumulate is two; `memory` and `cache`
    are bytes a second, read from an array of 256 MB, too large for most caches, and from one that
    was just read: 4 MB, or 32 MB on a GPU.
    """

    flops: float
    memory: float
    cache: float
    threads: int
    device: str

    def at(self, intensity: float) -> float:
        """The most operations a second at so many operations per byte, the bytes from memory.

        Source: Williams et al. 2009, "Roofline".

        >>> Roofs(flops=100e9, memory=10e9, cache=50e9, threads=1, device="cpu").at(0.5)
        5000000000.0
        """
        return min(self.flops, self.memory * intensity)


@torch.no_grad()
def measure_roofs(device: torch.device | str = "cpu", rounds: int = 20) -> Roofs:
    """Measure what the machine can do: products, a large sum, a small sum read once more.

    A roof is the best that was reached, so each figure is that of its fastest run. The runs take
    turns, so that a moment in which the machine is busy spoils only a few of each. On a CPU one of
    two products is small enough for the cache: beside other programs the large one waits for
    memory.
    """
    device = torch.device(device)
    cpu = device.type == "cpu"
    sizes, few = ((256, 1024), 2**20) if cpu else ((4096,), 2**23)  # a GPU is slow to start
    squares = {n: torch.ones(n, n, device=device) for n in sizes}
    large = torch.ones(64 * 2**20, device=device)  # 256 MB
    small = torch.ones(few, device=device)  # of less, starting the threads would be the most
    work: dict[str | int, Callable[[], Tensor]] = {"memory": large.sum, "cache": small.sum}
    work |= {n: partial(torch.matmul, square, square) for n, square in squares.items()}
    best = dict.fromkeys(work, math.inf)
    for _, (name, function) in itertools.product(range(rounds), work.items()):
        _, took, _ = time_call(_and_wait(function, device), warm_up=1, runs=1)
        best[name] = min(best[name], took)
    return Roofs(
        flops=max(2 * n**3 / best[n] for n in sizes),
        memory=large.nbytes / best["memory"],
        cache=small.nbytes / best["cache"],
        threads=torch.get_num_threads(),
        device=str(large.device),
    )
