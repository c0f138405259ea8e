"""Liu et al. 2019, MetaPruning: does a generator of weights rank structures as training does?

Perceptrons for MNIST at 14x14 pixels with three hidden layers, all of about as many MACs. Each seed
draws structures of its own and trains every one by itself, several times. Beside the generator's
ranking stand those of one weight for all widths, cropped; of the MACs; of the narrowest layer; of
chance; and of another training of the same structures, which is the most that can be expected.
At last evolution looks for the best structure, by the generator and by the shared weights, and what
it finds is trained as the others were.

All rankings are read on validation images. The recipe was chosen with the structures of seed 100,
which are not reported: learning rates by the validation loss after ten epochs, of three for the
generator and two for the shared weights; for networks alone so many epochs that twice as many
change little. It was committed with the rule of the verdict before these runs, and before a test
error of such a network was read.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom.data import Dataset, Split
from shrink.classroom.training import Recipe
from shrink.modes import in_use
from shrink.papers.metapruning_result import RULE, Result
from shrink.papers.perceptrons import SideBySide, summed_loss
from shrink.papers.stages import Stages
from shrink.pruning.evolution import SearchSpace, Widths

__all__ = ["RECIPE", "Result", "run"]

OUTPUTS = 10
KINDS = {"generator": pruning.WeightGenerator, "shared": pruning.SharedWeights}


@dataclass(frozen=True)
class Plan:
    """What is compared, and how long each learns.

    A seed compares `structures`, of the `narrowest` to the `widest` layers and `macs`, less or more
    by the `margin`; each is trained `times` times by `alone`. `generator` and `shared` train what
    makes the weights of all. Batch norm is computed anew on the first so many training images.
    """

    inputs: int
    narrowest: int
    widest: int
    macs: int
    margin: float
    structures: int
    times: int
    alone: Recipe
    generator: Recipe
    shared: Recipe
    norm_images: int
    population: int
    generations: int


PLAN = Plan(
    inputs=196,
    narrowest=4,
    widest=64,
    macs=6000,
    margin=0.05,
    structures=24,
    times=2,
    alone=Recipe(epochs=20, learning_rate=0.1, weight_decay=0, batch_size=256),
    generator=Recipe(epochs=40, learning_rate=0.3, weight_decay=0, batch_size=256),
    shared=Recipe(epochs=40, learning_rate=0.1, weight_decay=0, batch_size=256),
    norm_images=2000,
    population=50,
    generations=10,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "verdict": RULE}))


def run(dataset: Dataset, seed: int, folder: Path) -> dict:
    """Rank the structures of one seed in every way, and train what evolution finds.

    What is trained is kept in `folder`; after a kill the same call goes on from there.

    Returns:
        "structures": their widths. "generator" and "shared": the validation "loss" in nats and the
        validation "errors" of each, by those weights. "alone": the same of each training, with
        "test" errors besides. "winners": what is found how, with "widths" and "alone" of the
        one structure. "images": how many there are of each part.
    """
    dataset = pooled(dataset)
    space = band()
    rng = random.Random(seed)
    structures = [space.draw(rng) for _ in range(PLAN.structures)]
    found: dict = {"structures": structures}
    winners = {"even": even_widths(space)}
    for kind in KINDS:
        weights = _together(kind, dataset, seed, folder)
        judged = [_judged(weights(widths), dataset, "validation") for widths in structures]
        found[kind] = _columns(judged)
        winners[kind] = _winner(weights, dataset, space, seed)
    found["alone"] = _alone(structures, dataset, seed, folder / "structures")
    trained = _alone([*winners.values()], dataset, seed, folder / "winners")
    found["winners"] = {
        name: {"widths": widths, "alone": [{k: v[i] for k, v in one.items()} for one in trained]}
        for i, (name, widths) in enumerate(winners.items())
    }
    found["images"] = {part: len(getattr(dataset, part)) for part in ("validation", "test")}
    return json.loads(json.dumps(found))


def pooled(dataset: Dataset) -> Dataset:
    """The images at half the height and width: (n, 1, 14, 14), means of 2x2 pixels."""
    parts = (dataset.train, dataset.validation, dataset.test)
    return Dataset(
        dataset.name, *(Split(F.avg_pool2d(part.images, 2), part.labels) for part in parts)
    )


def band() -> SearchSpace:
    """The structures that are compared."""
    share = PLAN.margin * PLAN.macs
    return SearchSpace(
        PLAN.inputs,
        [range(PLAN.narrowest, PLAN.widest + 1)] * 3,
        OUTPUTS,
        least_macs=round(PLAN.macs - share),
        most_macs=round(PLAN.macs + share),
    )


def even_widths(space: SearchSpace) -> Widths:
    """The widest structure of the space with layers of one width: a choice without any data."""
    even = ((width,) * len(space.choices) for width in sorted(space.choices[0], reverse=True))
    return next(widths for widths in even if widths in space)


def _together(kind: str, dataset: Dataset, seed: int, folder: Path) -> nn.Module:
    """The generator or the shared weights, trained at all widths, as in the paper."""
    space = replace(band(), least_macs=0, most_macs=None)
    weights = KINDS[kind](space.inputs, space.largest, space.outputs, seed=seed)
    nets = pruning.RandomWidths(weights, space, seed=seed)
    _train(nets, dataset, getattr(PLAN, kind), seed, folder / kind)
    return weights


def _winner(weights: nn.Module, dataset: Dataset, space: SearchSpace, seed: int) -> Widths:
    """What evolution finds by the validation loss with these weights."""

    def score(widths: Widths) -> float:
        return -_judged(weights(widths), dataset, "validation")["loss"]

    options = {"population": PLAN.population, "generations": PLAN.generations}
    found = pruning.evolve(score, space, seed=seed, **options)
    return max(found, key=found.__getitem__)


def _alone(
    structures: Sequence[Widths], dataset: Dataset, seed: int, folder: Path
) -> list[dict[str, list]]:
    """Each training: loss and errors on validation images of each structure, errors in the test."""
    found = []
    for order in range(PLAN.times * seed, PLAN.times * (seed + 1)):
        initial = [
            pruning.SharedWeights(PLAN.inputs, widths, OUTPUTS, seed=1000 * order + i)(widths)
            for i, widths in enumerate(structures)
        ]
        nets = SideBySide(initial)
        _train(nets, dataset, PLAN.alone, order, folder, summed_loss)
        parts = {
            part: _columns([_judged(weights, dataset, part) for weights in nets.weights()])
            for part in ("validation", "test")
        }
        found.append({**parts["validation"], "test": parts["test"]["errors"]})
    return found


def _train(
    net: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    folder: Path,
    loss: Callable[..., Tensor] | None = None,
) -> None:
    """In place, on the images as they are, or read what an earlier call left in the folder."""
    train = dataset.train
    stages = Stages(dataset, seed, net.to(train.images.device), folder)
    stages.examples = lambda batch, _: (train.images[batch], train.labels[batch])
    stages.loss = loss
    stages.train(f"order-{seed}", recipe)


def _judged(weights: Sequence[Tensor], dataset: Dataset, part: str) -> dict[str, float]:
    """Loss and errors of the network of these weights, batch norm computed anew."""
    net, split = pruning.perceptron(weights), getattr(dataset, part)
    pruning.recompute_norms(net, dataset.train.images[: PLAN.norm_images].split(1000))
    with in_use(net):
        logits = net(split.images)
    wrong = logits.argmax(1) != split.labels
    return {"loss": F.cross_entropy(logits, split.labels).item(), "errors": int(wrong.sum())}


def _columns(rows: Sequence[dict]) -> dict[str, list]:
    """
    >>> _columns([{"loss": 0.5}, {"loss": 0.25}])
    {'loss': [0.5, 0.25]}
    """
    return {name: [row[name] for row in rows] for name in rows[0]}
