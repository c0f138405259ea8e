"""Networks of few bits, prepared: what rounding after training costs, and training gives back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from shrink.chapters.few_bits.folding import PREPARED as FOLDED
from shrink.chapters.few_bits.folding import folded_afterwards
from shrink.chapters.few_bits.latents import WATCHED_WAYS, trails, without_latents
from shrink.chapters.few_bits.networks import (
    AFTER,
    AWARE,
    CONTROL,
    LENET,
    RECIPES,
    SECONDS,
    WAYS,
    count_steps,
    folded,
    integers,
    made_of,
    moved,
    options,
    take_steps,
    without_rounding,
)
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import Progress, new_bar
from shrink.classroom.training import accuracy
from shrink.quantization import aware
from shrink.quantization.binary import signs

__all__ = ["AFTER", "AWARE", "CONTROL", "LENET", "RECIPES", "WAYS"]

SEEDS = (0, 1, 2)
BITS = (4, 3, 2, 1)
PREPARED = {  # (model, whether each channel has a scale) → ways and their bits
    (LENET, False): dict.fromkeys(WAYS, BITS),
    (LENET, True): dict.fromkeys((*AFTER, "learned"), BITS),
    ("lenet-5", False): dict.fromkeys(AFTER[:2], BITS),
    ("separable", False): dict.fromkeys(AFTER, BITS) | {"learned": (4, 3)},
    ("separable", True): dict.fromkeys(AFTER, BITS) | {"learned": (4, 3)},
}
CALIBRATED = 500  # training images, the first ones, that tell ranges of activations


class Signs(nn.Module):
    """The signs of a weight as numbers, without a scale."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()

    def forward(self, weight: Tensor) -> Tensor:
        return signs(weight)


TWO_BITS = {"weight_bits": 2, "activation_bits": 2}
OTHERS = {  # of LeNet-300-100: what `aware.prepare` is told, and whether it takes the steps
    "signs without a scale, after training": ({"weights": Signs}, False),
    "ternary, after training": ({"weights": aware.TernaryWeights}, False),
    "ternary": ({"weights": aware.TernaryWeights}, True),
    "trained ternary": ({"weights": aware.TrainedTernaryWeights}, True),
    "activations too, after training": (TWO_BITS | {"range": "learned"}, False),
    "activations too, learned": (TWO_BITS | {"range": "learned"}, True),
    "activations too, clipped": (TWO_BITS | {"range": "clipped"}, True),
}


@dataclass(frozen=True)
class Outcome:
    """What comes of a network of few bits, in fractions.

    `error` is what it gets wrong of the validation images, and `floats` what the floats behind it
    do: those that were rounded at the end, or the latent ones. `moved` is the share of its weights
    that the steps took to another integer.
    """

    error: float
    floats: float
    moved: float


def error(
    dataset: Dataset,
    way: str,
    bits: int,
    seed: int,
    model: str = LENET,
    per_channel: bool = False,
) -> float:
    """The fraction of validation images that a network of few bits gets wrong, as `outcome`."""
    return outcome(dataset, way, bits, seed, model, per_channel).error


def outcome(
    dataset: Dataset,
    way: str,
    bits: int,
    seed: int,
    model: str = LENET,
    per_channel: bool = False,
) -> Outcome:
    """What comes of a network whose weights have few bits, in one of `WAYS`; kept.

    Raises `ValueError` for what is not `PREPARED`.
    """
    all_bits = PREPARED.get((model, per_channel), {}).get(way, ())
    if bits not in all_bits:
        per = "channel" if per_channel else "layer"
        what = f"{model!r} with one scale per {per}, {way!r}"
        raise ValueError(f"{what}: prepared are {all_bits or 'none'}, not {bits!r} bits")
    return outcomes(dataset, way, seed, model, per_channel)[bits]


def outcomes(
    dataset: Dataset, way: str, seed: int, model: str = LENET, per_channel: bool = False
) -> dict[int, Outcome]:
    """What `outcome` gives for each number of bits that is prepared, in a fraction of the time."""
    all_bits = PREPARED[model, per_channel][way]
    plans = [(options(way, b, per_channel), way in AWARE) for b in all_bits]
    return dict(zip(all_bits, _kept(dataset, way, plans, seed, model), strict=True))


def other(dataset: Dataset, name: str, seed: int) -> Outcome:
    """What comes of LeNet-300-100 as one of `OTHERS`; kept."""
    if name not in OTHERS:
        raise ValueError(f"no network {name!r}; there are {', '.join(OTHERS)}")
    return _kept(dataset, name, [OTHERS[name]], seed, LENET)[0]


Plan = tuple[Mapping[str, object], bool]  # as in `OTHERS`


def _kept(dataset: Dataset, way: str, plans: list[Plan], seed: int, model: str) -> list[Outcome]:
    trained = sum(train for _, train in plans) + (way == CONTROL)

    def make() -> dict[str, Tensor]:
        total = trained * count_steps(dataset, model) if trained else len(plans)
        seconds = SECONDS[model] * total if trained else len(plans)
        title = f"seed {seed}, {model}, {way}"
        with new_bar(title, seconds=seconds, total=total, unit="step") as bar:
            return {
                "outcomes": _outcomes(dataset, way, plans, seed, model, lambda *_: bar.update())
            }

    parts = (*made_of(dataset, seed, model), _outcomes, way == CONTROL, plans)
    found = kept("few-bits/outcomes", make, *parts)["outcomes"]
    return [Outcome(*row) for row in found.tolist()]


def _outcomes(
    dataset: Dataset, way: str, plans: list[Plan], seed: int, model: str, progress: Progress
) -> Tensor:
    """A row for each plan: error, error of the floats, share moved."""
    start = folded(dataset, seed, model)
    if way == CONTROL:
        take_steps(start, dataset, seed, model, progress)
    seen = {"calibration_data": dataset.train.images[:CALIBRATED]}
    rows = []
    for how, train in plans:
        net = aware.prepare(start, **how, **(seen if "activation_bits" in how else {})).eval()
        before = integers(net)
        if train:
            take_steps(net, dataset, seed, model, progress)
        after = integers(net)
        wrong = 1 - accuracy(net, dataset.validation)
        behind = 1 - accuracy(without_rounding(net), dataset.validation)
        rows.append([wrong, behind, moved(before, after)])
    return torch.tensor(rows, dtype=torch.float64)


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        for (model, per_channel), ways in PREPARED.items():
            for way, all_bits in ways.items():
                yield partial(outcome, dataset, way, all_bits[0], seed, model, per_channel)
        for name in OTHERS:
            yield partial(other, dataset, name, seed)
        for bits, per_channel in FOLDED:
            yield partial(folded_afterwards, dataset, bits, per_channel, seed)
        yield partial(without_latents, dataset, seed)
    for bits in WATCHED_WAYS:
        yield partial(trails, dataset, bits)
