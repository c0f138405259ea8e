"""Eight networks under masks of their own, trained side by side and one by one."""

from collections.abc import Iterator

from torch import Tensor

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.masked_training import train_masked
from shrink.classroom.models import LeNet300100
from shrink.classroom.side_by_side import train_side_by_side
from shrink.modes import seeded
from shrink.papers.jobs import one_thread
from tests.bench.rows import Row, faster, in_turns

NETWORKS, STEPS, SPARSITY = 8, 25, 0.79
HIDDEN = {
    "two layers of 30 units": (30, 30),
    "two layers of 100 units": (100, 100),
    "LeNet-300-100": (300, 100),
}


def trainings() -> Iterator[Row]:
    """At three widths and two sizes of batch, in one thread."""
    train = data.load("glyphs", announce=False).train
    with one_thread():
        for name, hidden in HIDDEN.items():
            for batch in (60, 128):
                images = Split(train.images[: STEPS * batch], train.labels[: STEPS * batch])
                yield _row(name, hidden, batch, images)


def _row(name: str, hidden: tuple[int, int], batch: int, split: Split) -> Row:
    recipe = {"epochs": 1, "learning_rate": 1.2e-3, "batch_size": batch}

    def prepare() -> tuple[list[LeNet300100], list[dict[str, Tensor]]]:
        networks = []
        for seed in range(NETWORKS):
            with seeded(seed):
                networks.append(LeNet300100(hidden=hidden))
        masks = [
            {n: pruning.magnitude_mask(w, SPARSITY) for n, w in models.weights(network).items()}
            for network in networks
        ]
        return networks, masks

    def together(networks: list[LeNet300100], masks: list[dict[str, Tensor]]) -> None:
        train_side_by_side(networks, masks, split, **recipe)

    def alone(networks: list[LeNet300100], masks: list[dict[str, Tensor]]) -> None:
        for network, own in zip(networks, masks, strict=True):
            train_masked(network, own, split, **recipe)

    ours, theirs = in_turns(together, alone, prepare, runs=7, warm_up=1)
    return Row(
        f"a step of {NETWORKS} networks side by side, each under masks of its own: {name}, "
        f"batches of {batch}, one thread",
        f"{ours / STEPS:.1f} ms",
        f"one by one {theirs / STEPS:.1f} ms",
        faster(ours, theirs),
    )
