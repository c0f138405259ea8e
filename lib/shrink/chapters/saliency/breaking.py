"""An exercise of chapter 08: ten weights on which five ways to prune cut every path.

The net is a chain of two matrices, from four pixels over two units to one output, and the two
weights of largest score stay. Where scores tie, a way counts as broken if all choices cut.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.saliency import chains
from shrink.chapters.saliency.chains import Matrices
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise

SIZES = (4, 2, 1)  # pixels, hidden units, outputs
SHAPES = {"W1": (2, 4), "W2": (1, 2)}
WEIGHTS, KEEP, STEPS, LARGEST = 10, 2, 2, 10
IMAGE = (1.0, 2.0, 3.0, 4.0)  # of the gradient; SynFlow takes ones

Way = Callable[[Matrices], list[Tensor]]  # a net → every mask it may leave, joined
Score = Callable[[Matrices], list[Tensor]]


def _gradients(net: Matrices) -> list[Tensor]:
    return chains.gradients(net, torch.tensor(IMAGE, dtype=torch.float64))


def magnitude(net: Matrices) -> list[Tensor]:
    return [matrix.abs() for matrix in net]


def gradient(net: Matrices) -> list[Tensor]:
    return [g.abs() for g in _gradients(net)]


def snip(net: Matrices) -> list[Tensor]:
    return [(g * matrix).abs() for g, matrix in zip(_gradients(net), net, strict=True)]


def masks_left(score: Score, counts: Sequence[int], net: Matrices) -> list[Tensor]:
    """Every mask that may be left when so many weights stay, scored anew before each step."""
    weights = chains.joined(net)
    masks = [torch.ones_like(weights, dtype=torch.bool)]
    for count in counts:
        found = {}
        for mask in masks:
            scores = chains.joined(score(chains.parted(weights * mask, SIZES)))
            found |= {tuple(m.tolist()): m for m in chains.largest(scores, count, mask)}
        masks = list(found.values())
    return masks


def _way(score: Score, counts: Sequence[int]) -> Way:
    return partial(masks_left, score, counts)


LINEAR = chains.linear(WEIGHTS, KEEP, STEPS)
right = _way(chains.synflow, chains.exponential(WEIGHTS, KEEP, STEPS))
BREAKABLE = (
    Mistake("magnitude", _way(magnitude, [KEEP]), "the weights of one layer may all be small"),
    Mistake("gradient", _way(gradient, [KEEP]), "small weights have the gradients of large ones"),
    Mistake("SNIP", _way(snip, [KEEP]), "a layer of few weights has large scores"),
    Mistake("one shot", _way(chains.synflow, [KEEP]), "each layer has the same sum of scores"),
    Mistake("linear", _way(chains.synflow, LINEAR), "the last step takes most of what is left"),
)


def number_of_paths(mask: Tensor) -> int:
    return chains.paths(chains.parted(mask, SIZES))


def _matrix(name: str, given: Any) -> Tensor:
    """One matrix in float64; `Wrong` where it is not what can be used."""
    shape = SHAPES[name]
    try:
        numbers = torch.as_tensor(given).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        told = f"{name} is a list of lists of numbers, or a tensor"
        raise Wrong(told, expected=f"shape {shape}", given=given) from None
    if numbers.shape != shape:
        told = f"{name} has another shape"
        raise Wrong(told, expected=f"shape {shape}", given=f"shape {tuple(numbers.shape)}")
    if not (numbers.abs() <= LARGEST).all():
        raise Wrong(f"the weights of {name} lie from -{LARGEST} to {LARGEST}", given=given)
    if (numbers == 0).any():
        raise Wrong(f"{name} has a weight of 0, which is pruned already", given=given)
    return numbers


def read(given: Any) -> tuple[Tensor, Tensor]:
    """The two matrices, or `Wrong` where they are none."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise Wrong("return two matrices", expected="(W1, W2)", given=given)
    w1, w2 = (_matrix(name, matrix) for name, matrix in zip(SHAPES, given, strict=True))
    return w1, w2


def _kept(mask: Tensor) -> str:
    """The weights that stay, as a student writes them."""
    return " and ".join(
        f"{name}[{row}][{column}]"
        for name, part in zip(SHAPES, chains.parted(mask, SIZES), strict=True)
        for row, column in part.nonzero().tolist()
    )


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    net = read(given)
    left = right(net)
    if cut := [mask for mask in left if not number_of_paths(mask)]:
        keeps = "keeps" if len(left) == 1 else "may keep, as scores tie,"
        raise Wrong(f"the right way cuts every path too: it {keeps} {_kept(cut[0])}", given=given)
    connected = {m.name: [mask for mask in m(net) if number_of_paths(mask)] for m in BREAKABLE}
    named = {
        name: f"{name} (keeps {_kept(masks[0])})" for name, masks in connected.items() if masks
    }
    none_may_hide(
        [replace(mistake, name=named.get(mistake.name, mistake.name)) for mistake in BREAKABLE],
        lambda mistake: mistake.name in named.values(),
        given,
        "on your weights a path is left",
        otherwise="no path",
    )


break_the_score = Exercise("break_the_score", _check, core=False, minutes=10)
