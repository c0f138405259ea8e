"""The oracle of chapter 11's exercise on the sensitivity of layers."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrink.classroom.exercises.numbers import About, about

Rounded = Mapping[str, Tensor]
RELATIVE, ABSOLUTE = 2e-3, 2e-5  # float32 loses digits where two distributions are almost the same


def right_sensitivities(model: nn.Module, images: Tensor, rounded: Rounded) -> dict[str, float]:
    """From the definition, in float64: one weight replaced in the network of floats, the rest not.

    `functional_call` leaves the network alone, and numpy takes the logarithms.
    """
    wide = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        floats = _log_probabilities(wide(images.double()))
        found = {}
        for name, weight in rounded.items():
            logits = functional_call(wide, {name: weight.detach().double()}, (images.double(),))
            changed = _log_probabilities(logits)
            found[name] = float((np.exp(floats) * (floats - changed)).sum(1).mean())
        return found


def _log_probabilities(logits: Tensor) -> np.ndarray:
    numbers = logits.cpu().numpy()
    shifted = numbers - numbers.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def vanishes(model: nn.Module, images: Tensor, name: str, weight: Tensor) -> bool:
    """Whether float32 has no room for a probability of the network with this weight replaced."""
    with torch.no_grad():
        own = copy.deepcopy(model).eval()
        probabilities = functional_call(own, {name: weight}, (images,)).softmax(1)
        return not bool((probabilities > 0).all())


def near(number: Any) -> Any:
    """A number of any kind as one that equals others near it; anything else as it is."""
    return number if isinstance(number, About) else about(number, RELATIVE, ABSOLUTE)


def alike(given: Any) -> Any:
    """What two results are compared by: numbers by name, whatever their order and kind."""
    if not isinstance(given, Mapping):
        return given
    return {name: near(given[name]) for name in sorted(given, key=str)}
