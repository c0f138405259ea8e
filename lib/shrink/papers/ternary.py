"""Li, Zhang and Liu 2016: do weights of three values lose less than weights of two?

"Ternary Weight Networks" (arXiv 1605.04711) trains LeNet-5 on MNIST from scratch with weights -1, 0
or 1 times one scale per layer, and reaches 99.35 % accuracy; binary weights 99.05 %, floats 99.41 %
(all quoted from memory). We train the three alike: from the same initial values, for as many steps,
on the same images in the same order, at the same rate. Ternary weights have the paper's threshold,
0.7 of the mean magnitude; binary ones, as there, the mean magnitude as scale.

Differs: the paper's LeNet-5 has 32 and 64 channels, 512 units and batch norm, and ours 20, 50, 500
and none; its loss is the squared hinge, ours cross entropy; its rate falls in steps, ours along a
cosine; it takes many more epochs.

Of the rates 0.02 and 0.05 the second is better for each arm, after an epoch, on the validation
images of seed 10, which is not reported. Recipe and rules of the verdict were committed before a
test error was read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from shrink.classroom import models
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, predict, train
from shrink.papers.jobs import Job
from shrink.papers.ternary_result import ARMS, BINARY, FLOAT, RULES, TERNARY, Result
from shrink.quantization import aware

__all__ = ["RECIPE", "Result", "run", "waves"]

QUANTIZERS = {
    TERNARY: aware.TernaryWeights,
    BINARY: partial(aware.UniformWeights, num_bits=1, scale="follows"),
}


@dataclass(frozen=True)
class Plan:
    """How each arm is trained; `margin` is in points of accuracy."""

    arms: dict[str, Recipe]
    margin: float


PLAN = Plan(
    arms={arm: Recipe(epochs=4, learning_rate=0.05, weight_decay=1e-4) for arm in ARMS},
    margin=0.15,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))


def initial(seed: int, arm: str) -> nn.Module:
    """The network of an arm before training; the seed's initial values are the same for all."""
    net = models.build("lenet-5", seed)
    if arm == FLOAT:
        return net
    return aware.prepare(net, weights=QUANTIZERS[arm], in_place=True)


def run(dataset: Dataset, seed: int, folder: Path) -> dict:
    """Train all arms of one seed.

    Each training is kept in `folder`, a file per arm; after a kill the same call goes on from
    there.

    Returns:
        "images": how many of the test set are asked. Of each arm how many it gets wrong, and of the
        ternary arm also "zeros": the fraction of its weights that are 0.
    """
    found: dict = {"images": len(dataset.test)}
    for arm in ARMS:
        made = train_arm(dataset, seed, folder, arm)
        found[arm] = {"errors": int(made["errors"])}
        if arm == TERNARY:
            found[arm]["zeros"] = round(float(made["zeros"]), 4)
    return found


def train_arm(dataset: Dataset, seed: int, folder: Path, arm: str) -> dict[str, Tensor]:
    """The errors of an arm's network on test images, and of its weights how many are 0; kept."""

    def make() -> dict[str, Tensor]:
        net = initial(seed, arm).to(dataset.train.images.device)
        with new_bar(f"seed {seed}, {arm}", unit="step") as bar:
            train(net, dataset.train, PLAN.arms[arm], seed=seed, progress=bar_progress(bar))
        return {"errors": wrong(net, dataset.test), "zeros": zeros(net)}

    return cached_tensors(folder / f"{arm}.safetensors", make)


def waves(seeds: Sequence[int]) -> list[list[Job]]:
    """Each arm of each seed by itself."""
    return [[Job(train_arm, seed, (arm,)) for seed in seeds for arm in ARMS]]


def wrong(net: nn.Module, split: Split) -> Tensor:
    return (predict(net, split.images) != split.labels).sum()


def zeros(net: nn.Module) -> Tensor:
    """The fraction of 0 among the weights that the network multiplies by."""
    layers = [m for m in net.modules() if isinstance(m, aware.AwareLayer)]
    used = [m.weight_quantizer(m.layer.weight).detach() for m in layers]
    used = used or list(models.weights(net).values())
    return sum((w == 0).sum() for w in used) / sum(w.numel() for w in used)
