"""What chapter 11's explorer computes of one kernel: all its roundings, live."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from shrink.chapters.mixed import networks
from shrink.chapters.mixed.kernel_view import BY_RANK, KernelView
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.explorers.memory import Memory
from shrink.quantization.affine import quantize
from shrink.quantization.mixed_bits import weight_grid
from shrink.quantization.moments import input_moments
from shrink.quantization.rounding import floors

LAYERS = ("depthwise1", "stem")
KERNELS = 16  # of either, 3x3 of one channel
BITS = 4  # at first
COUNT = 2**9  # roundings of a kernel
LEARNED = "adaround"  # what `networks.integers` calls AdaRound
SHOWN = ("nearest", "optimum", "AdaRound", BY_RANK)
CHOICES = (np.arange(COUNT)[:, None] >> np.arange(9)) & 1  # (512, 9): up or down


@dataclass(frozen=True)
class _Layer:
    """A layer of 3x3 kernels in one width: a kernel in each row."""

    scale: float
    weights: np.ndarray  # (16, 9)
    low: np.ndarray  # (16, 9) the integers below
    high: np.ndarray
    nearest: np.ndarray


@dataclass(frozen=True)
class _Roundings:
    """All roundings of a kernel."""

    integers: np.ndarray  # (512, 9)
    weight_errors: np.ndarray  # (512,)
    output_errors: np.ndarray  # (512,)

    def place(self, rounding: np.ndarray) -> int:
        """That of a rounding (9,) among them."""
        return int((self.integers == rounding).all(1).argmax())


def products(dataset: Dataset, seed: int) -> dict[str, Tensor]:
    """E[xxᵀ] of what goes into each of `LAYERS`, (groups, 9, 9) float64; kept."""

    def make() -> dict[str, Tensor]:
        found = input_moments(networks.floats(dataset, seed), networks.calibration(dataset))
        return {name: found[name].products for name in LAYERS}

    parts = (*networks.made_of(dataset, seed, networks.SEPARABLE), input_moments)
    return kept("mixed/products", make, *parts, networks.CALIBRATED, LAYERS)


class KernelLab:
    """The kernels of the separable network of a seed."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.data, self.seed = dataset, seed
        self._products = {name: g.numpy() for name, g in products(dataset, seed).items()}
        self._net = networks.floats(dataset, seed).cpu()
        self._known = Memory(50)

    @property
    def first(self) -> int:
        """The kernel of `LAYERS[0]` that nearest serves worst, in `BITS` bits."""
        of, better = self._layer(LAYERS[0], BITS), []
        for kernel, nearest in enumerate(of.nearest):
            found = self._roundings(LAYERS[0], kernel, BITS)
            errors = found.output_errors
            better.append((errors < errors[found.place(nearest)]).sum())
        return int(np.argmax(better))

    def view(self, layer: str, kernel: int, width: int, shown: str, rank: int) -> KernelView:
        """Everything the figure shows of a setting of the controls."""
        of, found = self._layer(layer, width), self._roundings(layer, kernel, width)
        order = found.output_errors.argsort(kind="stable")
        places = {
            "nearest": found.place(of.nearest[kernel]),
            "optimum": int(order[0]),
            "AdaRound": found.place(self._learned(layer, width)[kernel]),
        }
        return KernelView(
            layer=layer,
            kernel=kernel,
            width=width,
            scale=of.scale,
            weight=of.weights[kernel],
            products=self._of_kernel(layer, kernel),
            integers=found.integers,
            weight_errors=found.weight_errors,
            output_errors=found.output_errors,
            places=places,
            chosen=f"rank {rank}" if shown == BY_RANK else shown,
            place=int(order[rank - 1]) if shown == BY_RANK else places[shown],
        )

    def _roundings(self, layer: str, kernel: int, width: int) -> _Roundings:
        of, g = self._layer(layer, width), self._of_kernel(layer, kernel)
        integers = np.where(CHOICES, of.high[kernel], of.low[kernel])
        error = integers * of.scale - of.weights[kernel]
        return _Roundings(integers, (error**2).sum(1), ((error @ g) * error).sum(1))

    def _of_kernel(self, layer: str, kernel: int) -> np.ndarray:
        """G of a kernel, (9, 9): each has its own channel, or all have the one there is."""
        every = self._products[layer]
        return every[kernel if len(every) > 1 else 0]

    def _layer(self, layer: str, width: int) -> _Layer:
        def make() -> _Layer:
            weight = self._net.get_parameter(f"{layer}.weight").detach()
            grid = weight_grid(weight, width)
            integers = map(_whole_rows, (*floors(weight, grid), quantize(weight, grid)))
            return _Layer(float(grid.scale), weight.flatten(1).double().numpy(), *integers)

        return self._known.once((layer, width), make)

    def _learned(self, layer: str, width: int) -> np.ndarray:
        """AdaRound's integers, a kernel in each row."""
        every = self._known.once(
            LEARNED, lambda: networks.integers(self.data, self.seed, rounding=LEARNED)
        )
        return _whole_rows(every[layer][width][0])


def _whole_rows(integers: Tensor) -> np.ndarray:
    """A kernel in each row, int64."""
    return integers.cpu().flatten(1).long().numpy()


def prepared(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes all that takes long, one by one."""
    yield partial(products, dataset, networks.SEEDS[0])
    yield partial(networks.integers, dataset, networks.SEEDS[0], rounding=LEARNED)
