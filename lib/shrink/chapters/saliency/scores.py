"""What the checks of exercises 3 and 5 share: scores by name, of a model that is left as it was."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from shrink.chapters.saliency.tensors import comparable, worst
from shrink.classroom.exercises.attempt import Wrong

EARLIER = 0.25  # each gradient that a model may come with; no sum of whole numbers


def alike(given: Any) -> Any:
    """What two results are compared by: dicts of scores whatever their order; else what it is."""
    if not isinstance(given, Mapping):
        return given
    return {name: comparable(given[name]) for name in sorted(given, key=str)}


def wrong_names(given: Any, right: Mapping[str, Tensor], model: nn.Module) -> Wrong | None:
    """What is wrong where a dict with an entry for each weight is asked for."""
    if not isinstance(given, Mapping):
        return Wrong("return a dict that maps names to scores", expected=list(right), given=given)
    if set(given) == set(right):
        return None
    vectors = [n for n, p in model.named_parameters() if n in given and n not in right]
    why = f"; {vectors[0]} has one axis and is no weight" if vectors else ""
    return Wrong(
        f"the names are those of named_parameters() for all weights, and no others{why}",
        expected=list(right),
        given=list(given),
    )


def wrong_sum(given: Tensor, right: Tensor, accumulated: Tensor) -> Wrong | None:
    """What is wrong with scores that are wrong, if they are those of accumulated gradients."""
    if worst(given, accumulated) is not None:
        return None
    return Wrong(
        "your gradient has been added to one that was in .grad before: backward() adds. "
        "torch.autograd.grad(output, tensors) returns gradients and touches no .grad",
        expected=right,
        given=given,
        known_mistakes=False,
    )


def gradients_left(model: nn.Module) -> Wrong | None:
    """What is wrong where the scores are right, and the model holds gradients of this function."""
    left = [name for name, p in model.named_parameters() if _is_new(p.grad)]
    if not left:
        return None
    return Wrong(
        "the scores are right, and your function leaves gradients behind in the model's .grad, to "
        "which the next backward() adds: torch.autograd.grad(output, tensors) leaves none, and "
        "model.zero_grad() takes them away",
        expected="every .grad as it was, or None",
        given=f".grad of {', '.join(left)}",
        known_mistakes=False,
    )


def _is_new(gradient: Tensor | None) -> bool:
    return gradient is not None and not bool((gradient == EARLIER).all() or not gradient.any())
