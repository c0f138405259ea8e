"""Networks whose codebooks are trained once; the result is small, and is kept."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from shrink import sharing
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, train
from shrink.sharing import Shared

SECONDS = 0.005  # of a step, about


def train_shared(
    model: nn.Module,
    shared: dict[str, Shared],
    split: Split,
    recipe: Recipe,
    *,
    seed: int,
    reduction: str,
) -> None:
    """Train the model in place while `sharing.hold_shared` trains its codebooks in `shared`.

    The first time shows a progress bar; then the result is kept. Errors are as for `hold_shared`.
    """
    parts = (model, shared, split, recipe, seed, reduction)
    left = kept("sweeps/share-tuned", lambda: _train(*parts), *parts, _train)
    for name, one in shared.items():
        codebook = left[_book(name)].to(one.codebook.device)
        shared[name] = replace(one, codebook=codebook)
    weights = {name: one.weight for name, one in shared.items()}
    rest = {name: left[name] for name in model.state_dict() if name not in shared}
    model.load_state_dict(rest | weights)


def _train(
    model: nn.Module,
    shared: Mapping[str, Shared],
    split: Split,
    recipe: Recipe,
    seed: int,
    reduction: str,
) -> dict[str, Tensor]:
    """The codebooks that training leaves, and of the model's state what is not shared."""
    shared = dict(shared)
    seconds = SECONDS * recipe.epochs * -(-len(split) // recipe.batch_size)
    with new_bar("training the values", seconds=seconds, unit="step") as bar:
        train(
            model,
            split,
            recipe,
            seed=seed,
            hold=lambda sgd: sharing.hold_shared(models.weights(model), shared, sgd, reduction),
            progress=bar_progress(bar),
        )
    rest = {name: t.clone() for name, t in model.state_dict().items() if name not in shared}
    return rest | {_book(name): one.codebook for name, one in shared.items()}


def _book(name: str) -> str:
    return f"{name}/codebook"
