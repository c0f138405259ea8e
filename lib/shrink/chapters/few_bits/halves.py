"""Trainings in 16 and 8 bit floats, prepared: what each format costs, and which loss scales work.

LeNet-300-100 learns from new initial weights, on few images. In each comparison networks of one
seed have the same initial weights and see the same images in the same order.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.mixed_training import train_in
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy
from shrink.modes import seeded
from shrink.quantization.mixed_precision import LossScaler, in_format, swallowed
from shrink.quantization.number_formats import BF16, E4M3, E5M2, FP16, Format


@dataclass(frozen=True)
class Way:
    """What is computed in which format; `scaled` by a loss scale that is found while training."""

    format: Format | None = None
    gradients: Format | None = None
    master: bool = True
    scaled: bool = False


WAYS = {
    "float32": Way(),
    "fp16": Way(FP16, master=False),
    "bf16": Way(BF16, master=False),
    "bf16, master weights": Way(BF16),
    "fp8, master weights": Way(E4M3, E5M2, scaled=True),  # e4m3 forward, gradients in e5m2
}
RATES = (0.005, 0.1)  # learning rates: a small one, and the usual one of the course
SEEDS = (0, 1, 2)
LAYERS = ("fc1", "fc2", "fc3")

TRAINED = 12_000  # training images, the first ones
BATCH = 128
EPOCHS = 4
WATCHED = (1, 47, 94, 141, 188, 235, 282, 329, 376)  # steps at which updates are looked at

EXPONENTS = tuple(range(-20, 25, 4))  # of the loss scales, powers of two
SCALED_EPOCHS, SCALED_RATE = 2, 0.1
SCALED_STEPS = SCALED_EPOCHS * -(-TRAINED // BATCH)
DYNAMIC = {"scale": 2.0**24, "interval": 20}  # it starts too high, and rises again after 20 steps

KINDS = ("weights", "activations", "gradients of activations", "gradients of weights")
MOMENTS = (0, 47, 188, 376)  # steps of training in float32, at the usual rate
OCTAVES = (-64, 16)  # powers of two from the smallest magnitude that is counted to the largest
PARTS = 8  # bins for each octave
BINS = PARTS * (OCTAVES[1] - OCTAVES[0])
EDGES = 2.0 ** (OCTAVES[0] + np.arange(BINS + 1) / PARTS)  # of the bins
MIDDLES = EDGES[:-1] * 2.0 ** (0.5 / PARTS)  # counts * MIDDLES: about the sum of all in each bin

SECONDS = {None: 2, E4M3: 5, FP16: 3, BF16: 3}  # a training of four epochs, on two cores


@dataclass(frozen=True)
class Run:
    """What a training ends at, and how many of its updates changed nothing.

    A row for each of `WATCHED` steps, a column for each of `LAYERS`; both arrays have no rows where
    there are master weights, which float32 moves.
    """

    error: float  # fraction of the validation images
    swallowed: np.ndarray  # of the weights that float32 would move, the fraction that stay
    swallowed_amount: np.ndarray  # of the sum of all updates' magnitudes, the fraction that is lost


@dataclass(frozen=True)
class ScaledRun:
    """What a training in fp16 with float32 master weights ends at, and its scale at each step."""

    error: float  # fraction of the validation images
    skipped: int  # steps
    scales: np.ndarray  # (steps,)


def ways(rate: float) -> tuple[str, ...]:
    """The `WAYS` that are prepared at one of `RATES`: fp8, the slowest, at the usual one only."""
    return tuple(way for way, how in WAYS.items() if how.format != E4M3 or rate == RATES[1])


def initial(seed: int) -> nn.Module:
    """LeNet-300-100 as it is before training, on the CPU."""
    with seeded(seed):
        return LeNet300100()


def train_way(
    net: nn.Module,
    dataset: Dataset,
    way: str,
    rate: float,
    seed: int,
    watch: Callable[[int, Mapping[str, tuple[Tensor, Tensor]]], None] | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Train the network in place as one of `WAYS` has it. Raises `ValueError` for another."""
    if way not in WAYS:
        raise ValueError(f"no way named {way!r}; there are {', '.join(WAYS)}")
    how = WAYS[way]
    train_in(
        net,
        _few(dataset),
        Recipe(EPOCHS, rate, 0, BATCH),
        format=how.format,
        gradients=how.gradients,
        master=how.master,
        scaler=LossScaler() if how.scaled else None,
        seed=seed,
        watch=watch,
        progress=progress,
        stop=stop,
    )


def _few(dataset: Dataset) -> Split:
    return Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])


def run(dataset: Dataset, way: str, rate: float, seed: int) -> Run:
    """One of `WAYS` at one of `RATES`, trained once and kept."""

    def make() -> dict[str, Tensor]:
        seconds = SECONDS[WAYS[way].format]
        with new_bar(f"seed {seed}, {way}, rate {rate}", seconds=seconds, unit="step") as bar:
            return _run(dataset, way, rate, seed, bar_progress(bar))

    found = kept("few-bits/formats", make, *_splits(dataset), _run, way, rate, seed)
    stayed = found["swallowed"].numpy()
    return Run(float(found["error"]), stayed[..., 0], stayed[..., 1])


def _run(
    dataset: Dataset, way: str, rate: float, seed: int, progress: Progress
) -> dict[str, Tensor]:
    net = initial(seed).to(dataset.train.images.device)
    rows: list[list[tuple[float, float]]] = []
    how = WAYS[way]

    def watch(step: int, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        if step in WATCHED:
            weights = [pairs[f"{layer}.weight"] for layer in LAYERS]
            rows.append([_stayed(before, after, how.format) for before, after in weights])

    train_way(net, dataset, way, rate, seed, None if how.master else watch, progress)
    return {
        "error": torch.tensor(1 - accuracy(net, dataset.validation), dtype=torch.float64),
        "swallowed": torch.tensor(rows).reshape(-1, len(LAYERS), 2),
    }


def _stayed(before: Tensor, after: Tensor, format: Format) -> tuple[float, float]:
    """Of weights the fraction that stay, and of the sum of updates the fraction that is lost."""
    update = after - before
    same = in_format(after, format) == before
    amount = update.abs().double()
    return swallowed(before, update, format), float(amount[same].sum() / amount.sum())


def _splits(dataset: Dataset) -> tuple[object, ...]:
    """What stands for the data in a key."""
    return key_once(dataset.train), key_once(dataset.validation)


def at_scale(dataset: Dataset, exponent: int | str | None, seed: int) -> ScaledRun:
    """Training in fp16 with float32 master weights at the loss scale 2^exponent; kept.

    None: the scale is found while training, as `DYNAMIC` has it. "float32": the same training all
    in float32, without a loss scale, to compare with.
    """

    def make() -> dict[str, Tensor]:
        scale = {None: "found while training", "float32": "none, all float32"}
        title = f"seed {seed}, loss scale {scale.get(exponent, f'2^{exponent}')}"
        with new_bar(title, seconds=SECONDS[FP16] / 2, unit="step") as bar:
            if exponent == "float32":
                return _unscaled(dataset, seed, bar_progress(bar))
            return _at_scale(dataset, exponent, seed, bar_progress(bar))

    making = (_unscaled,) if exponent == "float32" else (_at_scale, exponent)
    found = kept("few-bits/loss-scales", make, *_splits(dataset), *making, seed)
    return ScaledRun(float(found["error"]), int(found["skipped"]), found["scales"].numpy())


def _unscaled(dataset: Dataset, seed: int, progress: Progress) -> dict[str, Tensor]:
    net = initial(seed).to(dataset.train.images.device)
    recipe = Recipe(SCALED_EPOCHS, SCALED_RATE, 0, BATCH)
    done = train_in(net, _few(dataset), recipe, seed=seed, progress=progress)
    return {
        "error": torch.tensor(1 - accuracy(net, dataset.validation), dtype=torch.float64),
        "skipped": torch.tensor(0),
        "scales": torch.ones(done.steps),
    }


def scaler_of(exponent: int | None) -> LossScaler:
    """A fixed scale of 2^exponent, or for None the one that `DYNAMIC` says."""
    if exponent is None:
        return LossScaler(**DYNAMIC)
    return LossScaler(2.0**exponent, growth=1, backoff=1)


def _at_scale(
    dataset: Dataset, exponent: int | None, seed: int, progress: Progress
) -> dict[str, Tensor]:
    net = initial(seed).to(dataset.train.images.device)
    scaler = scaler_of(exponent)
    scales = [scaler.scale]

    def after_step(done: int, planned: int) -> None:
        scales.append(scaler.scale)
        progress(done, planned)

    recipe = Recipe(SCALED_EPOCHS, SCALED_RATE, 0, BATCH)
    train_in(
        net,
        _few(dataset),
        recipe,
        format=FP16,
        scaler=scaler,
        seed=seed,
        progress=after_step,
    )
    return {
        "error": torch.tensor(1 - accuracy(net, dataset.validation), dtype=torch.float64),
        "skipped": torch.tensor(scaler.skipped),
        "scales": torch.tensor(scales[:-1]),
    }


@dataclass(frozen=True)
class Magnitudes:
    """How large numbers are in a training in float32, on a batch of images.

    `counts` int32 (moments, kinds, layers, bins): how many lie between two `EDGES`, those below
    and above in the first and the last bin. `zeros` int32, without bins, are in none of them.
    """

    counts: np.ndarray
    zeros: np.ndarray

    def of(self, step: int, kind: str, layer: str | None = None) -> np.ndarray:
        """The counts, (bins,), after a step of `MOMENTS`; of one of `LAYERS`, or all together.

        Raises `ValueError` for another step, kind or layer.
        """
        for what, value, known in (
            ("step", step, MOMENTS),
            ("kind", kind, KINDS),
            ("layer", layer, (*LAYERS, None)),
        ):
            if value not in known:
                raise ValueError(f"no {what} {value!r}; there are {', '.join(map(str, known))}")
        counts = self.counts[MOMENTS.index(step), KINDS.index(kind)]
        return counts.sum(0) if layer is None else counts[LAYERS.index(layer)]


def lost(counts: np.ndarray, format: Format, exponent: int = 0) -> tuple[float, float]:
    """Of the numbers counted in bins, the fractions that become 0, and that are too large.

    Args:
        counts: (bins,), as `Magnitudes.of` gives; of their sum, not their number, if they are
            multiplied by `MIDDLES`.
        exponent: the numbers are multiplied by 2^exponent first, as by a loss scale.

    The end of a format's range is taken to be that of a bin: for those too large it may be off by
    an eighth of an octave at most.
    """
    low, high = (_bin_of(end, exponent) for end in ends(format))
    total = float(counts.sum()) or 1.0
    return float(counts[:low].sum()) / total, float(counts[high:].sum()) / total


def ends(format: Format) -> tuple[float, float]:
    """Up to where numbers are rounded to 0, and from where they are too large.

    >>> ends(FP16) == (2**-25, 65520)
    True
    """
    step = 2.0 ** (np.floor(np.log2(format.largest)) - format.mantissa_bits)
    return format.least / 2, float(format.largest + step / 2)


def _bin_of(magnitude: float, exponent: int) -> int:
    place = round(PARTS * (np.log2(magnitude) - exponent - OCTAVES[0]))
    return min(max(place, 0), BINS)


def counted(x: Tensor) -> Tensor:
    """How many magnitudes lie in each bin: int32 (bins,), on the CPU. Zeros are in none."""
    x = x.detach().abs().flatten()
    mantissa, octave = torch.frexp(x[x > 0])  # mantissa from 1/2 to 1
    part = (PARTS * (2 * mantissa.double()).log2()).floor().clamp(0, PARTS - 1)
    place = PARTS * (octave - 1 - OCTAVES[0]) + part.long()
    return torch.bincount(place.clamp(0, BINS - 1).cpu(), minlength=BINS).int()


def magnitudes(dataset: Dataset, seed: int = 0) -> Magnitudes:
    """How large weights, activations and gradients are in a training at the usual rate; kept."""

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, how large gradients are"
        with new_bar(title, seconds=SECONDS[None], unit="step") as bar:
            return _magnitudes(dataset, seed, bar_progress(bar))

    found = kept("few-bits/magnitudes", make, *_splits(dataset), _magnitudes, seed)
    return Magnitudes(found["counts"].numpy(), found["zeros"].numpy())


def _magnitudes(dataset: Dataset, seed: int, progress: Progress) -> dict[str, Tensor]:
    net = initial(seed).to(dataset.train.images.device)
    batch = Split(dataset.train.images[:BATCH], dataset.train.labels[:BATCH])
    counts, zeros = [], []

    def look() -> None:
        by_kind = numbers_of(net, batch)
        each = [by_kind[kind][layer] for kind in KINDS for layer in LAYERS]
        counts.append(torch.stack([counted(x) for x in each]))
        zeros.append(torch.tensor([int((x == 0).sum()) for x in each], dtype=torch.int32))

    def after_step(done: int, planned: int) -> None:
        if done in MOMENTS:
            look()
        progress(done, planned)

    look()
    train_way(net, dataset, "float32", RATES[1], seed, progress=after_step)
    shape = (len(MOMENTS), len(KINDS), len(LAYERS))
    return {"counts": torch.stack(counts).view(*shape, -1), "zeros": torch.stack(zeros).view(shape)}


def numbers_of(net: nn.Module, batch: Split) -> dict[str, dict[str, Tensor]]:
    """kind → layer → the numbers, for a batch of images whose mean loss is taken, in float32.

    Activations are what comes out of a layer, before a ReLU.
    """
    outputs: dict[str, Tensor] = {}
    layers = {layer: net.get_submodule(layer) for layer in LAYERS}
    hooks = [
        layer.register_forward_hook(lambda _, x, y, name=name: outputs.update({name: y}))
        for name, layer in layers.items()
    ]
    loss = F.cross_entropy(net(batch.images), batch.labels)
    for hook in hooks:
        hook.remove()
    weights = {name: layer.weight for name, layer in layers.items()}
    asked_for = [outputs[name] for name in LAYERS] + [weights[name] for name in LAYERS]
    gradients = torch.autograd.grad(loss, asked_for)
    of_activations, of_weights = gradients[: len(LAYERS)], gradients[len(LAYERS) :]
    found = (
        weights,
        outputs,
        dict(zip(LAYERS, of_activations, strict=True)),
        dict(zip(LAYERS, of_weights, strict=True)),
    )
    return dict(zip(KINDS, found, strict=True))


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    yield partial(magnitudes, dataset)
    for seed in SEEDS:
        for exponent in (*EXPONENTS, None, "float32"):
            yield partial(at_scale, dataset, exponent, seed)
        for rate in RATES:
            for way in ways(rate):
                yield partial(run, dataset, way, rate, seed)
