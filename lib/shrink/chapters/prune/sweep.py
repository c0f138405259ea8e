"""An exercise of chapter 02: how much each layer alone can lose.

The oracle prunes with numpy's sort. Instead of a network it is a function of all weights that is
evaluated, so that any weight that differs is seen.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from shrink import pruning
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Weights = dict[str, Tensor]
Evaluate = Callable[[Mapping[str, Tensor]], float]
Sweep = dict[str, list[float]]


def _pruned(weight: Tensor, sparsity: float) -> Tensor:
    return weight.detach() * pruning.magnitude_mask(weight, sparsity)


def _one_layer(change: Callable[[Tensor, float], Tensor]) -> Callable:
    """A sweep that is right but for how it prunes the one layer."""

    def sensitivity(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
        return {
            name: [evaluate({**weights, name: change(weight, s)}) for s in sparsities]
            for name, weight in weights.items()
        }

    return sensitivity


def _same_for_all(prune: Callable[[Weights, float], Weights]) -> Callable:
    def sensitivity(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
        return {name: [evaluate(prune(weights, s)) for s in sparsities] for name in weights}

    return sensitivity


def _all_pruned(weights: Weights, sparsity: float) -> Weights:
    return {name: _pruned(weight, sparsity) for name, weight in weights.items()}


@known(
    "one layer is pruned, but by the ranking of all: rank its weights among themselves",
    "global ranking",
)
def _global_one_layer(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    def with_pruned(name: str, sparsity: float) -> Weights:
        mask = pruning.global_masks(weights, sparsity)[name]
        return {**weights, name: weights[name].detach() * mask}

    return {name: [evaluate(with_pruned(name, s)) for s in sparsities] for name in weights}


@known("a layer stays pruned while the next is tried: start from the whole weights for each layer")
def _cumulative(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    pruned, found = dict(weights), {}
    for name, weight in weights.items():
        found[name] = []
        for sparsity in sparsities:
            pruned[name] = _pruned(weight, sparsity)
            found[name].append(evaluate(pruned))
    return found


@known(
    "a layer pruned once is pruned again for the next sparsity: start from the whole weights "
    "each time"
)
def _compounded(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    found = {}
    for name in weights:
        pruned, found[name] = dict(weights), []
        for sparsity in sparsities:
            pruned[name] = _pruned(pruned[name], sparsity)
            found[name].append(evaluate(pruned))
    return found


@known("evaluate needs the weights of all layers: {**weights, name: pruned}", "layer alone")
def _alone(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    return {n: [evaluate({n: _pruned(w, s)}) for s in sparsities] for n, w in weights.items()}


@known("a list for each layer, in the order of the sparsities; not a dict")
def _dicts(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> dict:
    found = _RIGHT_SWEEP(weights, evaluate, sparsities)
    return {name: dict(zip(sparsities, found[name], strict=True)) for name in weights}


def _keep_top(scores: Tensor, kept: int) -> Tensor:
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.detach().flatten().argsort(descending=True)[: max(kept, 0)]] = True
    return mask.view(scores.shape)


def _magnitude_kept(w: Tensor, sparsity: float) -> Tensor:
    return w.detach() * ~pruning.magnitude_mask(w, sparsity)


_RIGHT_SWEEP = _one_layer(_pruned)

SWEEP_MISTAKES = (
    _cumulative,
    _compounded,
    Mistake(
        "together",
        _same_for_all(_all_pruned),
        "all layers are pruned at once: prune one, leave the others",
    ),
    _global_one_layer,
    _alone,
    Mistake("inverted", _one_layer(_magnitude_kept), "what should stay went: True means keep"),
    Mistake(
        "fraction kept",
        _one_layer(lambda w, s: _pruned(w, 1 - s)),
        "sparsity is the fraction of zeros, not of what is kept",
    ),
    Mistake(
        "mask for weight",
        _one_layer(pruning.magnitude_mask),
        "the mask itself was evaluated: multiply the weight by it",
    ),
    _dicts,
)


def _evaluation(weights: Weights, g: torch.Generator) -> Evaluate:
    """A stand-in for the accuracy of a network, in which every single weight counts."""
    shapes = {name: w.shape for name, w in weights.items()}
    probes = {n: torch.randn(s, generator=g, dtype=torch.float64) for n, s in shapes.items()}

    def evaluate(given: Mapping[str, Tensor]) -> float:
        if not isinstance(given, Mapping) or given.keys() != shapes.keys():
            names = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given)
            raise ValueError(f"evaluate needs a dict of {', '.join(shapes)}; given: {names}")
        total = 0.0
        for name, shape in shapes.items():
            if not isinstance(given[name], Tensor) or given[name].shape != shape:
                raise ValueError(f"evaluate needs {name} as a tensor of shape {tuple(shape)}")
            total += float((given[name].detach().cpu().double() * probes[name]).sum())
        return round(0.5 + math.atan(total / 4) / math.pi, 4)

    return evaluate


def _sweep_cases(rng: random.Random) -> Iterator[tuple[Weights, Evaluate, list[float]]]:
    g = generator(rng)

    def layers(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Weights:
        return {
            f"fc{i + 1}": (i + 1) * torch.randn(shape, generator=g, dtype=dtype)
            for i, shape in enumerate(shapes)
        }

    def case(weights: Weights, sparsities: list[float]) -> tuple[Weights, Evaluate, list[float]]:
        return weights, _evaluation(weights, g), sparsities

    yield case(layers((2, 4), (3,), (2, 3)), [0.25, rng.choice([0.55, 0.6]), 0.8])
    yield case(layers((11,), (9,)), [0.8, 0.2, 0.6])  # in no order; 8.8, 7.2 and 5.4 weights
    yield case(layers((4, 2), (5,)), [0, 0.5, 1, 0.5])
    yield case(layers((6, 2, 3, 3), (20,), (7, 3)), sorted(rng.random() for _ in range(4)))
    yield case(layers((10,)), [0.25, 0.5])  # 2.5 weights: half to even
    yield case(layers((8,), (3, 4), dtype=torch.float64), [0.3])
    yield case({n: Parameter(w) for n, w in layers((8,), (3, 4)).items()}, [0.9, 0.3])
    yield case(layers((3,), (2,)), [])
    if torch.cuda.is_available():
        yield case({n: w.cuda() for n, w in layers((8,), (3, 4)).items()}, [0.9, 0.3])


def _right_sweep(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    """By the definition, in numpy."""
    found = {}
    for name, weight in weights.items():
        found[name] = []
        for sparsity in sparsities:
            flat = weight.detach().cpu().numpy().ravel().copy()
            flat[np.abs(flat).argsort()[: round(sparsity * flat.size)]] = 0
            pruned = torch.from_numpy(flat.reshape(weight.shape))
            found[name].append(evaluate({**weights, name: pruned}))
    return found


def _plain_numbers(result: Any) -> Any:
    """The same for a list, tuple, tensor or array of numbers; `result` where it is none of them."""
    if not isinstance(result, Mapping):
        return result
    return {name: _list_of_numbers(numbers) for name, numbers in result.items()}


def _list_of_numbers(numbers: Any) -> Any:
    if isinstance(numbers, Tensor | np.ndarray) and numbers.ndim == 1:
        numbers = numbers.tolist()
    if not isinstance(numbers, list | tuple):
        return numbers
    try:
        return [round(float(number), 6) for number in numbers]
    except (TypeError, ValueError, RuntimeError):
        return numbers


def _wrong_sweep(
    given: Any, right: Sweep, _: Weights, __: Evaluate, sparsities: Sequence[float]
) -> Wrong | None:
    if not isinstance(given, Mapping) or given.keys() != right.keys():
        return Wrong(
            "return a dict with the names of the weights",
            expected=right,
            given=given,
        )
    found = _plain_numbers(given)
    for name, numbers in right.items():
        got = found[name]
        if not isinstance(got, list) or list(map(type, got)) != [float] * len(numbers):
            return Wrong(
                f"{name} needs a list of {len(numbers)} numbers, one for each sparsity",
                expected=right,
                given=given,
            )
    for name, numbers in right.items():
        for sparsity, number, got in zip(sparsities, numbers, found[name], strict=True):
            if not math.isclose(got, number, abs_tol=2e-6):
                return Wrong(
                    f"{name} alone pruned, at sparsity {sparsity:.4g}: evaluate gives {number}",
                    expected=right,
                    given=found,
                )
    return None


sensitivity = Exercise(
    "sensitivity",
    by_cases(_sweep_cases, _right_sweep, _wrong_sweep, alike=_plain_numbers),
    reference=pruning.sensitivity,
    core=False,
    minutes=10,
    mistakes=SWEEP_MISTAKES,
)
