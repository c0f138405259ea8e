"""The trained dense networks that every chapter starts from: shipped, cached, or trained now."""

import itertools
import json
import platform
from dataclasses import astuple
from functools import partial
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn
from tqdm.auto import tqdm

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import cache_dir, cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.files import write_atomically

SHIPPED = ("glyphs", "mnist")
RECIPES = {
    ("lenet-300-100", "digits"): Recipe(epochs=20),
    ("lenet-300-100", "glyphs"): Recipe(epochs=20),
    ("lenet-300-100", "mnist"): Recipe(epochs=20),
    ("lenet-5", "digits"): Recipe(epochs=20, learning_rate=0.05),
    ("lenet-5", "glyphs"): Recipe(epochs=12, learning_rate=0.05),
    ("lenet-5", "mnist"): Recipe(epochs=12, learning_rate=0.05),
    ("separable", "digits"): Recipe(epochs=20, learning_rate=0.05),
    ("separable", "glyphs"): Recipe(epochs=10, learning_rate=0.05),
    ("separable", "mnist"): Recipe(epochs=6, learning_rate=0.05),
}

PRUNING = (0.8, 0.92)  # the sparsity after each round, over all layers
TUNING = Recipe(epochs=4, weight_decay=1e-4)  # of each round


def baseline(name: str, dataset: Dataset, *, seed: int = 0) -> nn.Module:
    """The trained dense network `name`, with the initial weights and image order of `seed`.

    Seed 0 is shipped for `glyphs` and `mnist`; the rest comes from the cache or is trained now,
    with a progress bar, and a training that is killed goes on where it was. The model comes on
    the device of the data, in evaluation mode.

    Raises:
        ValueError: there is no model of that name, or no recipe for it on this data.
    """
    model = models.build(name, seed).to(dataset.train.images.device).eval()
    if (name, dataset.name) not in RECIPES:
        raise ValueError(f"no recipe for {name!r} on {dataset.name!r}")
    shipped = resources.files("shrink.classroom") / "shipped" / _file(name, dataset.name, seed)
    if shipped.is_file():
        model.load_state_dict(load_bytes(shipped.read_bytes()))
        return model
    recipe = RECIPES[name, dataset.name]
    path = cache_dir() / "baselines" / _plan(recipe) / _file(name, dataset.name, seed)

    def make() -> dict[str, Tensor]:
        _train(model, name, dataset, seed, checkpoint=path.with_suffix(".partial"))
        return model.state_dict()

    model.load_state_dict(cached_tensors(path, make))
    return model.eval()


def pruned_baseline(name: str, dataset: Dataset, *, seed: int = 0) -> nn.Module:
    """The baseline with 8 % of its weights, pruned in rounds by magnitude and fine-tuned.

    It comes from the cache or is made now, with a progress bar; device, mode and errors are as for
    `baseline`.
    """
    model = baseline(name, dataset, seed=seed)
    weights = models.weights(model)
    path = cache_dir() / "pruned" / _plan(*PRUNING, TUNING) / _file(name, dataset.name, seed)

    def tune(bar: tqdm, masks: dict[str, Tensor]) -> None:
        hold = partial(pruning.hold_masks, weights, masks)
        train(model, dataset.train, TUNING, seed=seed, hold=hold, progress=lambda *_: bar.update())

    def make() -> dict[str, Tensor]:
        steps = len(PRUNING) * TUNING.epochs * -(-len(dataset.train) // TUNING.batch_size)
        title = f"pruning {name} on {dataset.name}, seed {seed}"
        with new_bar(title, total=steps, unit="step") as bar:
            pruning.prune_iteratively(weights, PRUNING, partial(tune, bar))
        return model.state_dict()

    model.load_state_dict(cached_tensors(path, make))
    return model.eval()


def ship(folder: Path, dataset: Dataset) -> list[str]:
    """Train the shipped networks of this data set afresh, and write them with how they were made.

    Writes `<model>-<data>-0.safetensors` and `<data>.json` (recipe, test error, versions) into
    `folder`; returns a line a network.
    """
    made = {}
    for name, data in RECIPES:
        if data != dataset.name:
            continue
        model = models.build(name, seed=0).to(dataset.train.images.device)
        _train(model, name, dataset, seed=0)
        state = {key: t.cpu().contiguous() for key, t in model.state_dict().items()}
        write_atomically(folder / _file(name, data, 0), save_bytes(state))
        made[name] = {
            "recipe": repr(RECIPES[name, data]),
            "test error in %": round(100 * (1 - accuracy(model, dataset.test)), 2),
        }
    record = {
        "command": f"shrink baselines {dataset.name}",
        "seed": 0,
        "networks": made,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(dataset.train.images.device),
        "machine": platform.machine(),
    }
    write_atomically(
        folder / f"{dataset.name}.json", (json.dumps(record, indent=2) + "\n").encode()
    )
    return [f"{name}: {facts['test error in %']} % test error" for name, facts in made.items()]


def _plan(*parts: Recipe | float) -> str:
    """A folder's name that says how what is in it was made."""
    numbers = (astuple(part) if isinstance(part, Recipe) else (part,) for part in parts)
    return "-".join(map(str, itertools.chain.from_iterable(numbers)))


def _file(name: str, data: str, seed: int) -> str:
    return f"{name}-{data}-{seed}.safetensors"


def _train(
    model: nn.Module, name: str, dataset: Dataset, seed: int, checkpoint: Path | None = None
) -> None:
    with new_bar(f"training {name} on {dataset.name}, seed {seed}", unit="step") as bar:
        train(
            model,
            dataset.train,
            RECIPES[name, dataset.name],
            seed=seed,
            progress=bar_progress(bar),
            checkpoint=checkpoint,
        )
