"""A student's own network in few bits, for the class experiment."""

from torch import nn

from shrink.chapters.few_bits.networks import (
    CONTROL,
    LENET,
    count_steps,
    few_images,
    options,
    take_steps,
)
from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.quantization import aware

BITS = (4, 3, 2, 1)
SERIES = ("after training", "trained aware")
FIRST = Recipe(epochs=8)  # of the same few images that the further steps are taken on


def in_few_bits(dataset: Dataset, number: int) -> dict[str, dict[int, float]]:
    """Accuracy on validation images in %, of `SERIES` by bits; nothing is kept.

    LeNet-300-100 learns from the seed `number`. Then its floats take further steps and are rounded
    by least squares; or it takes as many with rounded weights and learned scales, for each number
    of bits anew.
    """
    few = few_images(dataset)
    first, further = FIRST.epochs * -(-len(few) // FIRST.batch_size), count_steps(dataset)
    total = first + (1 + len(BITS)) * further
    net = models.build(LENET, number).to(few.images.device)
    with new_bar("your network", total=total, unit="step") as bar:

        def step(*_: int) -> None:
            bar.update()

        train(net, few, FIRST, seed=number, progress=step)
        nets = [aware.prepare(net, **options("learned", bits)) for bits in BITS]
        for one in (net, *nets):
            take_steps(one, dataset, number, progress=step)
    rounded = [aware.prepare(net, **options(CONTROL, bits)).eval() for bits in BITS]

    def by_bits(nets: list[nn.Module]) -> dict[int, float]:
        right = (100 * accuracy(one, dataset.validation) for one in nets)
        return dict(zip(BITS, right, strict=True))

    return dict(zip(SERIES, (by_bits(rounded), by_bits(nets)), strict=True))
