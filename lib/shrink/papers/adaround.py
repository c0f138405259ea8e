"""Nagel et al. 2020: is rounding to nearest the best rounding of a layer's weights?

"Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv 2004.10568) rounds the first
layer of ResNet18 to 4 bits at random, up with the probability of the fraction: of 100 such networks
48 are better than the one that is rounded to nearest (section 2, as others quote it; one who tried
it again reports five such networks, all worse). Then it learns which way each weight is rounded,
from the error of the layer's outputs, by gradients through a relaxed rounding, and has ResNet18 and
ResNet50 in 4 bits within 1 % of the floats (abstract).

Here one layer at a time of trained networks on MNIST is rounded, to 4 and 3 bits with one scale;
the rest stays in floats: the first layer of the separable network, its first depthwise one, and the
last layer of LeNet-300-100. We compare the cross entropy on the test images, since errors hardly
differ where one small layer is rounded: of nearest, of AdaRound, in 4 bits of 100 random roundings,
and of the least error of the layer's outputs, which is found by trying all roundings of a kernel of
9 weights, or by coordinate descent.

Differs: the paper finds its scales by the squared error of weights, and ours are the largest
magnitude's. It learns from the layer's inputs image by image, and we from their second moments, of
500 training images, which is the same sum. Where the rest of the network is rounded as well, the
paper learns from the outputs of the rounded network; our layers stand alone.

Nothing was tuned for this record; recipe and rules were committed before a test loss was read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrink.classroom.baselines import baseline
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.modes import in_use
from shrink.papers.adaround_result import BITS, LAYERS, RULES, WAYS, Result
from shrink.papers.jobs import Job
from shrink.quantization.affine import dequantize
from shrink.quantization.mixed_bits import folded, rounded, weight_grid
from shrink.quantization.moments import Moments, input_moments, output_error
from shrink.quantization.rounding import round_at_random

__all__ = ["RECIPE", "Result", "run", "waves"]

ROUNDINGS = {"nearest": "nearest", "AdaRound": "adaround", "least output error": "exact"}
BATCH = 250  # images that are answered at once


@dataclass(frozen=True)
class Plan:
    """The bits, and of one of them the number of random roundings; training images of the moments.

    The random roundings' seed is that of the network and `apart`.
    """

    bits: tuple[int, ...]
    random: int
    random_bits: int
    calibrated: int
    apart: int


PLAN = Plan(bits=(4, 3), random=100, random_bits=BITS, calibrated=500, apart=1000)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "layers": LAYERS, "rules": RULES}))


def run(dataset: Dataset, seed: int, folder: Path) -> dict:
    """Round each of the layers alone, in all ways.

    What is found is kept in `folder`, a file for each layer; after a kill the same call goes on.

    Returns:
        Of the test images how many there are ("images"); for each of `LAYERS` what the "floats"
        have, and for each number of bits what each of `WAYS` has, in 4 bits also the "random"
        roundings, as lists: "loss", "wrong" (images), "output error", "weight error".
    """
    found: dict = {"images": len(dataset.test)}
    for network, layer in LAYERS:
        numbers = one_layer(dataset, seed, folder, network, layer)
        of_layer: dict = {"floats": _named(numbers["floats"])}
        for bits in PLAN.bits:
            rows = numbers[str(bits)]
            of_layer[str(bits)] = {w: _named(row) for w, row in zip(WAYS, rows, strict=False)}
            if bits == PLAN.random_bits:
                of_layer[str(bits)]["random"] = _named(rows[len(WAYS) :].T)
        found[f"{network}, {layer}"] = of_layer
    return found


def waves(seeds: Sequence[int]) -> list[list[Job]]:
    """The trained networks; each layer by itself."""
    networks = sorted({network for network, _ in LAYERS})
    return [
        [Job(_trained, seed, (network,)) for seed in seeds for network in networks],
        [Job(one_layer, seed, layer) for seed in seeds for layer in LAYERS],
    ]


def one_layer(
    dataset: Dataset, seed: int, folder: Path, network: str, layer: str
) -> dict[str, Tensor]:
    """A layer's numbers in floats, and in each number of bits a row for each rounding; kept."""

    def make() -> dict[str, Tensor]:
        total = len(PLAN.bits) * len(WAYS) + PLAN.random + 1
        with new_bar(f"seed {seed}, {network}, {layer}", total=total) as bar:
            net = folded(baseline(network, dataset, seed=seed))
            net = net.to(memory_format=torch.channels_last)  # half the time on a CPU
            weight = net.get_submodule(layer).weight.detach()
            moments = input_moments(net, dataset.train.images[: PLAN.calibrated])[layer]

            def row(form: Tensor) -> Tensor:
                bar.update()
                return _row(net, f"{layer}.weight", weight, form, moments, dataset)

            found = {"floats": row(weight)}
            for bits in PLAN.bits:
                grid = weight_grid(weight, bits)
                chosen = [rounded(weight, grid, ROUNDINGS[way], moments) for way in WAYS]
                forms = [dequantize(q, grid) for q in chosen]
                if bits == PLAN.random_bits:
                    chance = round_at_random(weight, grid, PLAN.random, PLAN.apart + seed)
                    forms += [dequantize(q, grid) for q in chance]
                found[str(bits)] = torch.stack([row(form) for form in forms])
            return found

    return cached_tensors(folder / f"{network}-{layer}.safetensors", make)


def _row(
    net: nn.Module, name: str, weight: Tensor, form: Tensor, moments: Moments, dataset: Dataset
) -> Tensor:
    """The test loss, wrong test images, error of outputs and of weights, with another weight."""
    with in_use(net):
        batches = dataset.test.images.split(BATCH)
        logits = torch.cat([functional_call(net, {name: form}, x) for x in batches])
    labels = dataset.test.labels
    error = form - weight
    return torch.stack(
        [
            F.cross_entropy(logits.double(), labels),
            (logits.argmax(1) != labels).sum().double(),
            output_error(error, moments.products).sum(),
            error.double().square().sum(),
        ]
    ).cpu()


def _named(row: Tensor) -> dict[str, float | list[float]]:
    names = ("loss", "wrong", "output error", "weight error")
    return {name: numbers.tolist() for name, numbers in zip(names, row, strict=True)}


def _trained(dataset: Dataset, seed: int, folder: Path, network: str) -> None:
    """Leave the trained network in the cache."""
    baseline(network, dataset, seed=seed)
