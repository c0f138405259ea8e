"""Bits per layer and learned rounding: are the curves of the Model Compression Toolkit ours too?

The toolkit's README has a graph of MobileNetV2's accuracy on ImageNet over the mean bits of its
weights: with one precision for all layers, with mixed precision, and with mixed precision and
rounding learned by gradients. One precision is said to fall first, and learned rounding to hold
longest. We have no numbers of it, and try the order alone, on the separable network of the course
and MNIST.

The budget is what the weights take at 6, 5, 4 or 3 bits each, packed, with a float32 scale for each
layer. The bits of each layer are the best within it, if the costs of single layers add up: the KL
divergence of the answers on 2,000 validation images, from those of the floats, when one layer alone
is rounded as it will be. Learned rounding is the least squared error of each layer's outputs on 500
training images: the optimum of all roundings where a kernel has at most 16 inputs, and coordinate
descent above; and biases are corrected with it. The control is learned rounding with one width for
all. Then all of it once more, with a scale for each output of a layer.

Differs: the toolkit learns its rounding by gradients and by the answers, and ours needs none; its
network is another, as are its data.

Whether the bits for learned rounding come from costs measured with learned rounding or with nearest
was chosen on the validation images of seed 10, which is not reported: at 3 bits the former had
fewer errors, and above about as many. Recipe and rules of the verdict were committed before a test
error was read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from shrink.classroom.baselines import baseline
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.classroom.training import predict
from shrink.papers.jobs import Job
from shrink.papers.three_curves_result import ARMS, PARTS, RULES, Result
from shrink.quantization.affine import dequantize
from shrink.quantization.allocation import best_allocation, weight_bytes
from shrink.quantization.forms import WEIGHTED
from shrink.quantization.mixed_bits import folded, quantize_mixed, rounded, weight_grid
from shrink.quantization.moments import input_moments
from shrink.quantization.sensitivity import answer_sensitivity

__all__ = ["RECIPE", "Result", "run", "waves"]

LEARNED = "rounding learned"  # in the names of arms


@dataclass(frozen=True)
class Plan:
    """The network, the budgets in bits per weight, and what allocation and rounding look at.

    `calibrated` training images and `judged` validation images, the first ones.
    """

    network: str
    budgets: tuple[int, ...]
    widths: tuple[int, ...]
    calibrated: int
    judged: int


PLAN = Plan(
    network="separable",
    budgets=(6, 5, 4, 3),
    widths=(2, 3, 4, 5, 6, 7, 8),
    calibrated=500,
    judged=2_000,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))

Allocation = dict[str, int]


def run(dataset: Dataset, seed: int, folder: Path) -> dict:
    """Round one seed's trained network in all arms, at all budgets.

    What is found is kept in `folder`, a file for each part; after a kill the same call goes on.

    Returns:
        Of the test images how many there are ("images"), and how many the "floats" get wrong; the
        names of the "layers"; and of each part of the table, for each arm and budget, how many are
        wrong, and the bits of the layers.
    """
    net = _network(dataset, seed)
    found = {
        "images": len(dataset.test),
        "floats": _errors(net, dataset),
        "layers": list(_layers(net)),
    }
    for part in PARTS:
        wrong, bits = rounded_nets(dataset, seed, folder, part)
        found[part] = {
            arm: {
                str(b): {"wrong": int(wrong[i, j]), "bits": bits[i, j].tolist()}
                for j, b in enumerate(PLAN.budgets)
            }
            for i, arm in enumerate(ARMS)
        }
    return found


def waves(seeds: Sequence[int]) -> list[list[Job]]:
    """The trained networks; each part by itself."""
    return [
        [Job(_trained, seed) for seed in seeds],
        [Job(rounded_nets, seed, (part,)) for seed in seeds for part in PARTS],
    ]


def rounded_nets(dataset: Dataset, seed: int, folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """For each arm and budget how many test images are wrong, and the layers' bits; kept."""

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, {part}"
        with new_bar(title, total=len(ARMS) * len(PLAN.budgets)) as bar:
            wrong, bits = [], []
            for arm in ARMS:
                for allocation in allocations(dataset, seed, part, arm).values():
                    net = quantized(dataset, seed, part, arm, allocation)
                    wrong.append(_errors(net, dataset))
                    bits.append([*allocation.values()])
                    bar.update()
        shape = len(ARMS), len(PLAN.budgets)
        return {
            "wrong": torch.tensor(wrong).view(shape),
            "bits": torch.tensor(bits).view(*shape, -1),
        }

    found = cached_tensors(folder / f"{part.replace(' ', '-')}.safetensors", make)
    return found["wrong"], found["bits"]


def allocations(dataset: Dataset, seed: int, part: str, arm: str) -> dict[int, Allocation]:
    """budget in bits → the bits of each layer."""
    net = folded(_network(dataset, seed))
    layers = _layers(net)
    if arm.startswith("single"):
        return {b: dict.fromkeys(layers, b) for b in PLAN.budgets}
    costs = sensitivities(dataset, net, part, arm)
    sizes = {
        name: {
            b: weight_bytes(w.numel(), b, len(w) if part == PARTS[1] else 1) for b in PLAN.widths
        }
        for name, w in layers.items()
    }
    return {
        b: best_allocation(costs, sizes, sum(of_layer[b] for of_layer in sizes.values()))
        for b in PLAN.budgets
    }


def sensitivities(
    dataset: Dataset, net: nn.Module, part: str, arm: str
) -> dict[str, dict[int, float]]:
    """layer → width → KL divergence of the answers, the layer alone rounded as the arm rounds."""
    moments = input_moments(net, dataset.train.images[: PLAN.calibrated])
    forms: dict[str, dict[int, Tensor]] = {}
    for name, weight in _layers(net).items():
        forms[f"{name}.weight"] = {}
        for b in PLAN.widths:
            grid = weight_grid(weight, b, per_channel=part == PARTS[1])
            q = rounded(weight, grid, _rounding(arm), moments[name])
            forms[f"{name}.weight"][b] = dequantize(q, grid)
    images = dataset.validation.images[: PLAN.judged]
    found = answer_sensitivity(net, images, forms)
    return {name.removesuffix(".weight"): by_width for name, by_width in found.items()}


def quantized(
    dataset: Dataset, seed: int, part: str, arm: str, allocation: Allocation
) -> nn.Module:
    """The network of an arm, in the bits of an allocation."""
    return quantize_mixed(
        _network(dataset, seed),
        allocation,
        dataset.train.images[: PLAN.calibrated],
        rounding=_rounding(arm),
        per_channel=part == PARTS[1],
        correct_bias=LEARNED in arm,
    )


def _rounding(arm: str) -> str:
    return "exact" if LEARNED in arm else "nearest"


def _trained(dataset: Dataset, seed: int, folder: Path) -> None:
    """Leave the trained network in the cache."""
    _network(dataset, seed)


def _network(dataset: Dataset, seed: int) -> nn.Module:
    return baseline(PLAN.network, dataset, seed=seed)


def _layers(net: nn.Module) -> dict[str, Tensor]:
    """The weights of the layers, by the layers' names."""
    return {
        n: part.weight.detach() for n, part in net.named_modules() if isinstance(part, WEIGHTED)
    }


def _errors(net: nn.Module, dataset: Dataset) -> int:
    return int((predict(net, dataset.test.images) != dataset.test.labels).sum())
