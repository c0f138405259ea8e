"""Dense-sparse-dense beside its controls: the same restarts without zeros, and one schedule."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, Training, accuracy, train
from shrink.modes import seeded
from shrink.pruning.dense_sparse import PHASES

SPARSITIES = (0.3, 0.5, 0.8)
FIRST, NEVER_SPARSE, ONE_SCHEDULE = "first dense training", "never sparse", "one schedule"
SPARSE = tuple(f"{100 * sparsity:g} % sparse" for sparsity in SPARSITIES)
ARMS = (FIRST, *SPARSE, NEVER_SPARSE, ONE_SCHEDULE)
SEEDS = (0, 1, 2)

TRAINED = 12_000  # training images, the first ones
EPOCHS = {"short": (3, 2, 2), "long": (10, 5, 5)}  # of the three phases
LEARNING_RATE = 0.1  # where each phase begins, for seed 10, which is not shown, the best on MNIST
APART = 1000  # from the seed that orders the images of a phase to that of the next
SECONDS = {"short": 6, "long": 16}  # a seed, on two cores


def initial(seed: int) -> nn.Module:
    """LeNet-300-100 as it is before training, on the CPU."""
    with seeded(seed):
        return LeNet300100()


def train_phase(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    phase: str,
    split: Split,
    recipes: Mapping[str, Recipe],
    seed: int,
) -> Training:
    """Train the model in place as its phase says, the masks held; the optimizer is a new one.

    The images come in another order in each phase.
    """
    weights = models.weights(model)
    return train(
        model,
        split,
        recipes[phase],
        seed=seed + APART * PHASES.index(phase),
        hold=lambda optimizer: pruning.hold_masks(weights, masks, optimizer),
    )


def train_at_once(
    model: nn.Module, split: Split, recipes: Mapping[str, Recipe], seed: int
) -> Training:
    """The other control, in place: the epochs of all phases, and one schedule over them.

    It is the first phase's, from its learning rate down to zero.
    """
    first = recipes[PHASES[0]]
    epochs = sum(recipe.epochs for recipe in recipes.values())
    recipe = Recipe(epochs, first.learning_rate, first.weight_decay, first.batch_size)
    return train(model, split, recipe, seed=seed)


def recipes(length: str) -> dict[str, Recipe]:
    """How each phase trains, where the whole is short or long."""
    phases = zip(PHASES, EPOCHS[length], strict=True)
    return {phase: Recipe(epochs, LEARNING_RATE) for phase, epochs in phases}


def errors(dataset: Dataset, length: str, seed: int) -> dict[str, float]:
    """The error of each of `ARMS` on the validation images, in %; all trained once and kept.

    The first dense training is one for all arms that begin with it. `length` is one of `EPOCHS`.
    """

    def make() -> dict[str, Tensor]:
        title = f"dense-sparse-dense and its controls, {length}, seed {seed}"
        with new_bar(title, seconds=SECONDS[length], total=len(ARMS), unit="arm") as bar:
            found = _errors(dataset, recipes(length), seed, bar.update)
            return {arm: torch.tensor(error) for arm, error in found}

    split = key_once(dataset.train), key_once(dataset.validation)
    made_of = (*split, _errors, accuracy, recipes(length), seed)
    found = kept("tickets/dense-sparse", make, *made_of)
    return {arm: float(found[arm]) for arm in ARMS}


def _errors(
    dataset: Dataset, how: Mapping[str, Recipe], seed: int, after: Callable[[], object]
) -> Iterator[tuple[str, float]]:
    few = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    new = initial(seed).to(few.images.device)
    first = copy.deepcopy(new)
    train_phase(first, {}, PHASES[0], few, how, seed)

    def go_on(model: nn.Module, masks: Mapping[str, Tensor], phase: str) -> None:
        if phase != PHASES[0]:  # it is trained already
            train_phase(model, masks, phase, few, how, seed)

    for arm in ARMS:
        net = copy.deepcopy(new if arm == ONE_SCHEDULE else first)
        if arm in SPARSE:
            sparsity = SPARSITIES[SPARSE.index(arm)]
            pruning.dense_sparse_dense(net, go_on, models.weights(net), sparsity)
        elif arm == NEVER_SPARSE:
            pruning.dense_throughout(net, go_on)
        elif arm == ONE_SCHEDULE:
            train_at_once(net, few, how, seed)
        yield arm, 100 * (1 - accuracy(net, dataset.validation))
        after()


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text needs and that takes long, one by one."""
    for length in EPOCHS:
        for seed in SEEDS:
            yield partial(errors, dataset, length, seed)
