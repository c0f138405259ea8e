"""LeCun, Denker and Solla 1990, Optimal Brain Damage, on MNIST at 7x7: five small tanh networks.

Networks that differ in their seed are trained out, without weight decay. Their weights are deleted
at once, in the order of OBD's saliency and of three controls, and the rise of the training loss is
measured beside the prediction. What the prediction leaves out is measured part by part: first
order, as the loss is at no exact minimum; the rest of the second order; what lies beyond it. Single
deletions say how well each order ranks weights. After some deletions the network is retrained.

Differs: the paper's network has 2578 parameters, shared in convolutions, and a squared error; ours
has 1770, and cross entropy. The paper deletes parameters, and we weights alone.

The rules of the verdicts were written when the training loss of seed 0 was known, and committed
before a test error along the curves was read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from scipy import stats
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.saliency import deletions
from shrink.classroom import models
from shrink.classroom.baselines import RECIPES
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.training import Recipe, predict, train
from shrink.papers.obd_result import Result

__all__ = ["RECIPE", "Result", "run"]

NAME = "tiny-tanh"


@dataclass(frozen=True)
class Plan:
    """How the networks are trained, what is deleted, and on how many training images it is asked.

    `images` are those of the curves, `few` and `singles` those of the single deletions and their
    number. `fractions` are of the weights, `retrained` those of them after which it learns again.
    """

    training: Recipe
    less: Recipe
    retraining: Recipe
    images: int
    few: int
    singles: int
    fractions: tuple[float, ...]
    retrained: tuple[float, ...]


PLAN = Plan(
    training=RECIPES[NAME, "mnist"],
    less=deletions.LESS,
    retraining=Recipe(epochs=1, learning_rate=0.05, weight_decay=0),
    images=10_000,
    few=1000,
    singles=200,
    fractions=tuple(n / 20 for n in range(1, 20)),
    retrained=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
)
RULES = {
    "order": (
        "the rise of the training loss in OBD's order against magnitude's, at 30, 40, 50 and 60 % "
        "deleted: reproduced if it is lower at each of them in every seed, partly if it is in the "
        "mean over seeds, else not reproduced"
    ),
    "prediction": (
        "predicted and actual rise of the training loss in OBD's order: reproduced if, in the mean "
        "over seeds, they differ by at most a factor of two at each of 5, 10, ... 30 % deleted, "
        "partly if the loss itself, as the paper's figure shows it, is predicted to 10 % there in "
        "every seed, else not reproduced"
    ),
}
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """What deletions do to the networks of one seed.

    What each training makes is kept, so that after a kill the same call goes on from there.

    Returns:
        `loss` and `slope`, the training loss and the norm of its gradient on all training images;
        `curves`: order → `rise` and test `errors` of `images` test images at each of the plan's
        fractions, and for OBD what is predicted and the parts of the rise; `less`: the same of the
        network that is trained for one epoch; `ranks`: order → rank correlation with the true rises
        of single deletions; `retrained`: order → test errors.
    """
    net = deletions.trained(NAME, dataset, seed)
    less = deletions.trained(NAME, dataset, seed, out=False)
    loss, slope = _loss_and_slope(net, dataset)
    return {
        "loss": loss,
        "slope": slope,
        "images": len(dataset.test),
        "curves": {by: _curve(net, dataset, by, seed) for by in deletions.ORDERS},
        "less": _curve(less, dataset, "OBD", seed),
        "ranks": _ranks(net, dataset, seed),
        "retrained": {
            by: [_retrained(net, dataset, by, share, seed, folder) for share in PLAN.retrained]
            for by in ("magnitude", "OBD")
        },
    }


def _loss_and_slope(net: nn.Module, dataset: Dataset) -> tuple[float, float]:
    batches = zip(dataset.train.images.split(5000), dataset.train.labels.split(5000), strict=True)
    total, n = 0.0, len(dataset.train)
    net.zero_grad()
    for images, labels in batches:
        loss = nn.functional.cross_entropy(net(images), labels, reduction="sum") / n
        loss.backward()
        total += loss.item()
    slope = sum(p.grad.square().sum().item() for p in net.parameters()) ** 0.5
    net.zero_grad()
    return _short(total), _short(slope)


def _curve(net: nn.Module, dataset: Dataset, by: str, seed: int) -> dict[str, list[float]]:
    """Rise and test errors in this order; in OBD's also the prediction, and the rise's parts."""
    split = deletions.asked(dataset, PLAN.images)
    scores = deletions.order_of(net, split, by, seed=100 + seed)
    masks = [pruning.masks_from_scores(scores, share) for share in PLAN.fractions]
    rise, _ = deletions.rise_along(net, split, scores, PLAN.fractions)
    found = {"rise": rise.tolist(), "errors": [_errors(net, mask, dataset) for mask in masks]}
    if by == "OBD":
        diagonal = pruning.hessian_diagonal(net, split.images, split.labels)
        parts = [deletions.parts_of(net, split, mask, diagonal) for mask in masks]
        for name in ("gradient", "diagonal", "mixed", "beyond"):
            found[name] = [getattr(part, name) for part in parts]
    return {name: [_short(x) for x in numbers] for name, numbers in found.items()}


def _ranks(net: nn.Module, dataset: Dataset, seed: int) -> dict[str, float]:
    split = deletions.asked(dataset, PLAN.few)
    where = deletions.places(net, PLAN.singles, seed)
    true = deletions.true_rises(net, split, where)
    scores = {by: deletions.order_of(net, split, by) for by in ("magnitude", "gradient")}
    for by in pruning.DIAGONALS:
        scores[f"OBD, {by}"] = deletions.order_of(net, split, "OBD", diagonal=by)
    return {
        name: _short(stats.spearmanr(deletions.at(score, where).cpu(), true.cpu()).statistic)
        for name, score in scores.items()
    }


def _retrained(
    net: nn.Module, dataset: Dataset, by: str, share: float, seed: int, folder: Path
) -> int:
    """Test errors of the network that has lost this share of its weights, and learned again."""
    scores = deletions.order_of(net, deletions.asked(dataset, PLAN.images), by)
    masks = pruning.masks_from_scores(scores, share)

    def make() -> dict[str, Tensor]:
        again = _pruned(net, masks)
        hold = partial(pruning.hold_masks, models.weights(again), masks)
        train(again, dataset.train, PLAN.retraining, seed=100 + seed, hold=hold)
        return again.state_dict()

    again = _pruned(net, masks)
    again.load_state_dict(cached_tensors(folder / f"{by}-{share}.safetensors", make))
    return int((predict(again, dataset.test.images) != dataset.test.labels).sum())


def _errors(net: nn.Module, masks: Mapping[str, Tensor], dataset: Dataset) -> int:
    test = dataset.test
    return int((predict(_pruned(net, masks), test.images) != test.labels).sum())


def _pruned(net: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    pruned = models.build(NAME, 0).to(net.fc1.weight.device)
    pruned.load_state_dict(
        {**net.state_dict(), **pruning.apply_masks(deletions.weights_of(net), masks)}
    )
    return pruned.eval()


def _short(number: float) -> float:
    """With six digits: the rest is rounding that differs between machines."""
    return float(f"{float(number):.6g}")
