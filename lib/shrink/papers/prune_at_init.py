"""Frankle et al. 2021: what do SNIP, GraSP and SynFlow know, when they prune before training?

"Pruning Neural Networks at Initialization: Why Are We Missing the Mark?" says that accuracy is
preserved or improved when the weights that SNIP, GraSP, SynFlow or magnitude prune are shuffled
within each layer, or when new initial values are drawn: then only the number of weights per layer
counts. Tanaka et al. 2020 say that SynFlow competes with the others or beats them. Here each method
prunes LeNet-300-100 before training, to several sparsities, beside random pruning, and every
network learns MNIST alike.

Differs: they train deep networks on CIFAR-10 and on ImageNet to the end, by SGD; we a perceptron
on MNIST, for one epoch, by Adam at a rate that does not change. An epoch is far from the end: what
makes a network learn faster shows here as well.

The recipe was chosen on the validation images of seed 10, which is not reported, and committed with
the rules of the verdicts before a test error was read. Of the rates 0.004, 0.008 and 0.016 the
second stands here: of SNIP and SynFlow, chosen and shuffled, at 90 and 99 % pruned, it has the best
mean accuracy.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from shrink.chapters.saliency import arms
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.masked_training import train_masked
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import predict
from shrink.papers.prune_at_init_result import METHODS, RULES, Result, controls_of

__all__ = ["RECIPE", "Result", "run"]


@dataclass(frozen=True)
class Plan:
    """How masks are made and networks trained.

    SNIP and GraSP take gradients on `scored` training images; SynFlow prunes in so many `steps`.
    `margin` is in points of accuracy.
    """

    sparsities: tuple[float, ...]
    scored: int
    steps: int
    epochs: int
    learning_rate: float
    batch_size: int
    margin: float


PLAN = Plan(
    sparsities=(0.9, 0.95, 0.98, 0.99),
    scored=1000,
    steps=100,
    epochs=1,
    learning_rate=8e-3,
    batch_size=128,
    margin=0.5,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """Train the arms of one seed.

    The errors of each method at each sparsity are kept in `folder`; after a kill the same call goes
    on from there.

    Returns:
        "dense": the errors of the network that is not pruned. "images": how many are asked. For
        each sparsity, as text: method → `errors` of each control, and `weights` left by layer.
    """
    found: dict[str, dict] = {
        "dense": _kept(folder / "dense", partial(_dense, dataset, seed))["errors"],
        "images": len(dataset.test),
    }
    for sparsity in PLAN.sparsities:
        found[str(sparsity)] = {
            method: _of_method(dataset, method, sparsity, seed, folder) for method in METHODS
        }
    return found


def _of_method(
    dataset: Dataset, method: str, sparsity: float, seed: int, folder: Path
) -> dict[str, dict]:
    def make() -> dict[str, Tensor]:
        train = arms.scored(dataset.train, seed, PLAN.scored)
        net = arms.initial(seed).to(train.images.device)
        steps = PLAN.steps if method == "SynFlow" else 1
        masks = arms.masks_by(
            method, net, train.images, train.labels, sparsity, seed=seed, steps=steps
        )
        errors = {
            control: _errors(
                dataset,
                f"{method}, {sparsity}, {control}",
                *arms.controlled(control, masks, seed),
                seed,
            )
            for control in controls_of(method)
        }
        weights = {name: mask.sum() for name, mask in masks.items()}
        return {f"errors/{name}": torch.tensor(n) for name, n in errors.items()} | {
            f"weights/{name}": count for name, count in weights.items()
        }

    return _kept(folder / f"{method}-{sparsity}", make)


def _dense(dataset: Dataset, seed: int) -> dict[str, Tensor]:
    return {"errors": torch.tensor(_errors(dataset, "dense", arms.initial(seed), {}, seed))}


def _errors(
    dataset: Dataset, title: str, net: nn.Module, masks: dict[str, Tensor], seed: int
) -> int:
    """Of the test images, once the network is trained under the masks."""
    net = net.to(dataset.train.images.device)
    with new_bar(f"seed {seed}, {title}", unit="step") as bar:
        train_masked(
            net,
            masks,
            dataset.train,
            epochs=PLAN.epochs,
            learning_rate=PLAN.learning_rate,
            batch_size=PLAN.batch_size,
            seed=seed,
            progress=bar_progress(bar),
        )
    return int((predict(net, dataset.test.images) != dataset.test.labels).sum())


def _kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict:
    """The whole numbers that `make()` returns, or that an earlier call left; a/b becomes [a][b]."""
    found: dict = {}
    for name, number in cached_tensors(path.with_name(f"{path.name}.safetensors"), make).items():
        part, _, rest = name.partition("/")
        if rest:
            found.setdefault(part, {})[rest] = int(number)
        else:
            found[part] = int(number)
    return found
