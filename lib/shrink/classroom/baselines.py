"""The trained dense networks that every chapter starts from: shipped, cached, or trained now."""

import copy
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from shrink import pruning
from shrink.arguments import whole_seed
from shrink.classroom import CourseError, glyphs, models
from shrink.classroom.cache import kept, kept_path, say_once
from shrink.classroom.data import Dataset, mnist_indices
from shrink.classroom.made_of import key_of
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.files import write_atomically
from shrink.modes import seeded

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
    ("residual", "digits"): Recipe(epochs=8, learning_rate=0.05, batch_size=32),
    ("residual", "glyphs"): Recipe(epochs=8, learning_rate=0.05),
    ("residual", "mnist"): Recipe(epochs=5, learning_rate=0.05),
    # Optimal Brain Damage speaks of a minimum of the loss alone: long, and no weight decay.
    ("tiny-tanh", "digits"): Recipe(epochs=80, weight_decay=0),
    ("tiny-tanh", "glyphs"): Recipe(epochs=80, weight_decay=0),
    ("tiny-tanh", "mnist"): Recipe(epochs=40, weight_decay=0),
    ("tiny-relu", "digits"): Recipe(epochs=80, weight_decay=0),
    ("tiny-relu", "glyphs"): Recipe(epochs=80, weight_decay=0),
    ("tiny-relu", "mnist"): Recipe(epochs=40, weight_decay=0),
}

PRUNING = (0.8, 0.92)  # the sparsity after each round, over all layers
TUNING = Recipe(epochs=4, weight_decay=1e-4)  # of each round
PIXELS = {"digits": None, "glyphs": glyphs.draw, "mnist": mnist_indices}  # where they come from
SECONDS = {  # a step, on two cores
    "lenet-300-100": 0.004,
    "lenet-5": 0.02,
    "separable": 0.015,
    "residual": 0.025,
    "tiny-tanh": 0.0015,
    "tiny-relu": 0.0015,
}


def baseline(name: str, dataset: Dataset, *, seed: int = 0) -> nn.Module:
    """The trained dense network `name`, with the initial weights and image order of `seed`.

    Seed 0 is shipped for `glyphs` and `mnist`; other networks come from the cache or are trained
    now, with a progress bar; a killed training resumes. A shipped file that is damaged or not the
    expected one is ignored, and a line says so. The model is on the device of the data, in
    evaluation mode.

    Raises:
        ValueError: there is no model of that name, or no recipe for it on this data.
    """
    seed = whole_seed(seed)
    model = models.build(name, seed).to(dataset.train.images.device).eval()
    if (name, dataset.name) not in RECIPES:
        raise ValueError(f"no recipe for {name!r} on {dataset.name!r}")
    if seed == 0 and (shipped := _shipped(name, dataset.name)):
        model.load_state_dict(shipped)
        return model
    made_of = baseline_made_of(name, dataset, seed)
    called = f"baselines/{name}-{dataset.name}-{seed}"
    path = kept_path(called, *made_of)

    def make() -> dict[str, Tensor]:
        _train(model, name, dataset, seed, checkpoint=path.with_suffix(".partial"))
        return model.state_dict()

    model.load_state_dict(kept(called, make, *made_of))
    return model.eval()


def pruned_baseline(name: str, dataset: Dataset, *, seed: int = 0) -> nn.Module:
    """The baseline with 8 % of its weights, pruned in rounds by magnitude and fine-tuned.

    Seed 0 of LeNet-300-100 is shipped; the rest comes from the cache or is made now, with a
    progress bar. Device, mode and errors are as for `baseline`.
    """
    seed = whole_seed(seed)
    model = baseline(name, dataset, seed=seed)
    called = f"pruned/{name}-{dataset.name}-{seed}"
    made_of = (copy.deepcopy(model), *pruned_made_of(name, dataset, seed))

    def make() -> dict[str, Tensor]:
        _prune(model, name, dataset, seed)
        return model.state_dict()

    model.load_state_dict(kept(called, make, *made_of))
    return model.eval()


def baseline_made_of(name: str, dataset: Dataset, seed: int) -> tuple[object, ...]:
    """What goes into a baseline, for `kept`: for things made of one that need not be at hand."""
    recipe = RECIPES[name, dataset.name]
    return models.MODELS[name], seeded, seed, recipe, train, dataset.train


def pruned_made_of(name: str, dataset: Dataset, seed: int) -> tuple[object, ...]:
    """What goes into a pruned baseline, for `kept`."""
    how = (PRUNING, TUNING, pruning.prune_iteratively, pruning.hold_masks)
    return *baseline_made_of(name, dataset, seed), *how


def _prune(model: nn.Module, name: str, dataset: Dataset, seed: int) -> None:
    weights = models.weights(model)
    steps = len(PRUNING) * _steps(TUNING, dataset)
    title = f"pruning {name} on {dataset.name}, seed {seed}"
    with new_bar(title, seconds=steps * SECONDS[name], total=steps, unit="step") as bar:

        def tune(masks: dict[str, Tensor]) -> None:
            hold = partial(pruning.hold_masks, weights, masks)
            step = bar.update
            train(model, dataset.train, TUNING, seed=seed, hold=hold, progress=lambda *_: step())

        pruning.prune_iteratively(weights, PRUNING, tune)


def shipped_key(name: str, data: str) -> str:
    """What the shipped network was made of: its recipe, and the code that builds and trains it.

    For the images the code that draws or chooses them counts, not the pixels: if a font library
    draws glyphs slightly differently, the shipped network serves as well.
    """
    return key_of(models.MODELS[name], RECIPES[name, data], PIXELS[data], train)


def _shipped(name: str, data: str) -> dict[str, Tensor] | None:
    """The shipped network of seed 0; None if there is none that was made so, or it is damaged."""
    folder = resources.files("shrink.classroom") / "shipped"
    try:
        record = json.loads((folder / f"{data}.json").read_text(encoding="utf-8"))
        facts = record["networks"].get(name, {})
        if facts.get("made of") != shipped_key(name, data):
            return None
        content = (folder / _file(name, data, 0)).read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        say_once(f"the networks that ship for {data} cannot be read ({error}) and are trained here")
        return None
    if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
        say_once(f"{_file(name, data, 0)} is not the network that shipped, which is trained here")
        return None
    return load_bytes(content)


def ship(folder: Path, dataset: Dataset, names: Sequence[str] = ()) -> list[str]:
    """Train the shipped networks of this data set afresh, and write them with how they were made.

    Writes `<model>-<data>-0.safetensors` and `<data>.json` (recipe, hash, test error, versions)
    into `folder`. With `names` only these networks are made; the files of the others, and what the
    record says of them, stay as they are. Returns a line a network.

    Raises:
        CourseError: no such network ships, or other versions or another kind of machine made the
            record that is there, which holds for all its networks.
    """
    ours = [name for name, data in RECIPES if data == dataset.name]
    if unknown := [name for name in names if name not in ours]:
        raise CourseError(
            f"no network {unknown[0]!r} ships for {dataset.name}; there are {', '.join(ours)}"
        )
    path = folder / f"{dataset.name}.json"
    made_by = _made_by(dataset)
    others = _recorded(path, made_by) if names else {}
    made = {name: _make(folder, name, dataset) for name in names or ours}
    networks = {name: facts for name in ours if (facts := (others | made).get(name))}
    record = {
        "command": f"shrink baselines {dataset.name}",
        "seed": 0,
        "networks": networks,
        **made_by,
    }
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    return [f"{name}: {facts['test error in %']} % test error" for name, facts in made.items()]


def _made_by(dataset: Dataset) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(dataset.train.images.device),
        "machine": platform.machine(),
    }


def _recorded(path: Path, made_by: Mapping[str, str]) -> dict[str, dict]:
    """The networks in a record, to which others may be added; none if there is no record."""
    if not path.exists():
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    for what, value in made_by.items():
        if record[what] != value:
            raise CourseError(
                f"{path.name} was made with {what} {record[what]}, and here is {value}: make all "
                f"of them again, with `{record['command']}`"
            )
    return record["networks"]


def _make(folder: Path, name: str, dataset: Dataset) -> dict[str, object]:
    """Train one network, write its file, and say how it was made."""
    model = models.build(name, seed=0).to(dataset.train.images.device)
    _train(model, name, dataset, seed=0)
    content = save_bytes({key: t.cpu().contiguous() for key, t in model.state_dict().items()})
    write_atomically(folder / _file(name, dataset.name, 0), content)
    return {
        "recipe": repr(RECIPES[name, dataset.name]),
        "made of": shipped_key(name, dataset.name),
        "sha256": hashlib.sha256(content).hexdigest(),
        "test error in %": round(100 * (1 - accuracy(model, dataset.test)), 2),
    }


def _file(name: str, data: str, seed: int) -> str:
    return f"{name}-{data}-{seed}.safetensors"


def _steps(recipe: Recipe, dataset: Dataset) -> int:
    return recipe.epochs * -(-len(dataset.train) // recipe.batch_size)


def _train(
    model: nn.Module, name: str, dataset: Dataset, seed: int, checkpoint: Path | None = None
) -> None:
    recipe = RECIPES[name, dataset.name]
    seconds = SECONDS[name] * _steps(recipe, dataset)
    title = f"training {name} on {dataset.name}, seed {seed}"
    with new_bar(title, seconds=seconds, unit="step") as bar:
        train(
            model,
            dataset.train,
            recipe,
            seed=seed,
            progress=bar_progress(bar),
            checkpoint=checkpoint,
        )
