"""The trained dense networks that every chapter starts from: shipped, cached, or trained now."""

import json
import platform
from dataclasses import astuple
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn
from tqdm.auto import tqdm

from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.classroom.files import cache_dir, cached_tensors
from shrink.classroom.progress import bar_progress
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
    shipped = resources.files("shrink.classroom") / "baselines" / _file(name, dataset.name, seed)
    if shipped.is_file():
        model.load_state_dict(load_bytes(shipped.read_bytes()))
        return model
    recipe = RECIPES[name, dataset.name]
    path = (
        cache_dir()
        / "baselines"
        / "-".join(map(str, astuple(recipe)))
        / _file(name, dataset.name, seed)
    )

    def make() -> dict[str, Tensor]:
        _train(model, name, dataset, seed, checkpoint=path.with_suffix(".partial"))
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


def _file(name: str, data: str, seed: int) -> str:
    return f"{name}-{data}-{seed}.safetensors"


def _train(
    model: nn.Module, name: str, dataset: Dataset, seed: int, checkpoint: Path | None = None
) -> None:
    with tqdm(desc=f"training {name} on {dataset.name}, seed {seed}", unit="step") as bar:
        train(
            model,
            dataset.train,
            RECIPES[name, dataset.name],
            seed=seed,
            progress=bar_progress(bar),
            checkpoint=checkpoint,
        )
