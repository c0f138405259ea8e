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
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, numbers

Weights = dict[str, Tensor]
Evaluate = Callable[[Mapping[str, Tensor]], float]
Sweep = dict[str, list[float]]


def _pruned(weight: Tensor, sparsity: float) -> Tensor:
    return weight.detach() * pruning.magnitude_mask(weight, sparsity)


@known("all layers are pruned at once: prune one, leave the others")
def _together(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    all_pruned = [{n: _pruned(w, s) for n, w in weights.items()} for s in sparsities]
    return {name: [evaluate(pruned) for pruned in all_pruned] for name in weights}


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


@known("the mask itself was evaluated: multiply the weight by it")
def _mask_for_weight(weights: Weights, evaluate: Evaluate, sparsities: Sequence[float]) -> Sweep:
    return {
        name: [evaluate({**weights, name: pruning.magnitude_mask(w, s)}) for s in sparsities]
        for name, w in weights.items()
    }


SWEEP_MISTAKES = (
    _cumulative,
    _compounded,
    _together,
    _global_one_layer,
    _alone,
    _mask_for_weight,
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


def _alike(result: Any) -> Any:
    """The same for lists, tuples, tensors and arrays of numbers; `result` where it has others."""
    if not isinstance(result, Mapping):
        return result
    found = {name: numbers(given) for name, given in result.items()}
    return {n: given if found[n] is None else Near(found[n]) for n, given in result.items()}


def _wrong_sweep(
    given: Any, right: Sweep, _: Weights, __: Evaluate, sparsities: Sequence[float]
) -> Wrong | None:
    def wrong(hint: str) -> Wrong:
        return Wrong(hint, expected=right, given=given)

    if not isinstance(given, Mapping) or given.keys() != right.keys():
        return wrong("return a dict with the names of the weights")
    found = {name: numbers(given[name]) for name in right}
    for name, mine in found.items():
        if mine is None or len(mine) != len(sparsities):
            return wrong(f"{name} needs a list of {len(sparsities)} numbers, one for each sparsity")
    for name, accuracies in right.items():
        for sparsity, accuracy, mine in zip(sparsities, accuracies, found[name], strict=True):
            if not math.isclose(mine, accuracy, abs_tol=2e-6):
                return wrong(
                    f"{name} alone pruned, at sparsity {sparsity:.4g}: evaluate gives {accuracy}"
                )
    return None


sensitivity = Exercise(
    "sensitivity",
    by_cases(_sweep_cases, _right_sweep, _wrong_sweep, alike=_alike),
    reference=pruning.sensitivity,
    core=False,
    minutes=10,
    mistakes=SWEEP_MISTAKES,
)
