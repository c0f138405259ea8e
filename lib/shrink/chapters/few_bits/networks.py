"""Networks of few bits, made and trained: what the chapter's prepared trainings are made of.

Every network begins as the trained one of its seed, with its batch norms folded. Those that train
take the same number of steps on the same images in the same order.
"""

import threading

from torch import Tensor, nn

from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import Progress
from shrink.classroom.training import Recipe, Training, train
from shrink.quantization import aware

LENET = "lenet-300-100"
SCALES = {  # how weights come to few bits, and what `aware.prepare` has as their scale
    "after training, min-max": "follows",  # of one bit the mean magnitude
    "after training": "fixed",  # least squares
    "trained on, then rounded": "fixed",  # the control: the floats take the steps
    "follows": "follows",
    "fixed": "fixed",
    "learned": "learned",
}
WAYS = tuple(SCALES)
AFTER, AWARE = WAYS[:3], WAYS[3:]  # rounded at the end, rounded at each step
CONTROL = AFTER[2]

TRAINED = 12_000  # training images, the first ones
RECIPES = {  # the rates were chosen on validation images of seed 10
    LENET: Recipe(epochs=4, learning_rate=0.05, weight_decay=0),
    "separable": Recipe(epochs=2, learning_rate=0.005, weight_decay=0),
}
SECONDS = {LENET: 0.005, "lenet-5": 0.03, "separable": 0.02}  # a step, on one core


def few_images(dataset: Dataset) -> Split:
    """The training images of the steps."""
    return Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])


def count_steps(dataset: Dataset, model: str = LENET) -> int:
    """How many steps every network that trains takes."""
    recipe = RECIPES[model]
    return recipe.epochs * -(-len(few_images(dataset)) // recipe.batch_size)


def take_steps(
    net: nn.Module,
    dataset: Dataset,
    seed: int,
    model: str = LENET,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Training:
    """Train the network in place, of floats or prepared to round its weights at each step.

    Args:
        seed: of the order of the images.
        model: whose recipe it is.
        stop: when set, training ends after the step under way.
    """
    few, recipe = few_images(dataset), RECIPES[model]
    done = train(net, few, recipe, seed=seed, progress=progress, stop=stop)
    net.eval()
    return done


def options(way: str, bits: int, per_channel: bool = False) -> dict[str, object]:
    """What `aware.prepare` is told for one of `WAYS`.

    >>> options("learned", bits=2)
    {'weight_bits': 2, 'scale': 'learned', 'per_channel': False}
    """
    if way not in SCALES:
        raise ValueError(f"no way {way!r} to few bits; there are {', '.join(WAYS)}")
    return {"weight_bits": bits, "scale": SCALES[way], "per_channel": per_channel}


def folded(dataset: Dataset, seed: int, model: str = LENET) -> nn.Module:
    """The trained network of the seed, with its batch norms part of the layers before them."""
    net = aware.prepare(baseline(model, dataset, seed=seed), weights=nn.Identity)
    return aware.as_plain(net).eval()


def without_rounding(net: nn.Module) -> nn.Module:
    """A prepared network, changed in place to the plain one of its latent floats."""
    for name, part in aware.aware_layers(net).items():
        net.set_submodule(name, part.layer)
    return net.eval()


def integers(net: nn.Module) -> list[Tensor]:
    """The integers on which the weights of a prepared network stand; signs where it has none."""
    found = []
    for part in aware.aware_layers(net).values():
        weight, quantizer = part.layer.weight, part.weight_quantizer
        known = hasattr(quantizer, "integers")
        found.append(quantizer.integers(weight)[0] if known else quantizer(weight).sign().int())
    return found


def moved(before: list[Tensor], after: list[Tensor]) -> float:
    """The fraction of weights that stand on another integer than before."""
    pairs = list(zip(before, after, strict=True))
    return sum(int((a != b).sum()) for a, b in pairs) / sum(a.numel() for a in before)


def made_of(dataset: Dataset, seed: int, model: str = LENET) -> tuple[object, ...]:
    """What goes into the networks of a seed, for `kept`; the starting one need not be at hand."""
    *network, _ = baseline_made_of(model, dataset, seed)
    return *network, key_once(dataset.train), key_once(dataset.validation), RECIPES.get(model)
