"""An exercise of chapter 02: a training step after which pruned weights stay zero.

The oracle is the plain optimizer on copies of the weights. The optimizers tried go weight by
weight, so what a kept weight becomes depends on no pruned one.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from shrink.classroom.exercises.attempt import Attempt, Wrong, known
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise

Weights = dict[str, Tensor]


@torch.no_grad()
def _zero(weights: Weights, masks: Weights) -> None:
    for name, mask in masks.items():
        weights[name].mul_(mask)


def _mask_gradients(weights: Weights, masks: Weights) -> None:
    for name, mask in masks.items():
        weights[name].grad *= mask


@known(
    "the masks did not reach the weights: `weight = weight * mask` makes another tensor, "
    "`weight.mul_(mask)` changes this one"
)
def _no_mask(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    optimizer.step()


@known(
    "a zero gradient moves no weight to zero, and momentum and weight decay move it without "
    "one: the weight itself must be zero after the step"
)
def _gradient_only(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    _mask_gradients(weights, masks)
    optimizer.step()


@known("the masks came before the step, and the step moved the pruned weights again")
def _before_only(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    _zero(weights, masks)
    optimizer.step()


@known(
    "weight and gradient are zero before the step, but momentum remembers the pruned weights "
    "and moves them: zero them after it",
    "weight and gradient before",
)
def _both_before(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    _mask_gradients(weights, masks)
    _zero(weights, masks)
    optimizer.step()


@known("True means keep: the kept weights became zero", "inverted")
def _inverted_step(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    optimizer.step()
    _zero(weights, {name: ~mask for name, mask in masks.items()})


@known(
    "`weights[name] = ...` puts another tensor in the dict, and the optimizer goes on with the "
    "one that it knows: change that one, weights[name].mul_(mask)"
)
def _rebinds(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    optimizer.step()
    for name, mask in masks.items():
        weights[name] = weights[name] * mask


@known(
    "SGD remembers in momentum_buffer, Adam elsewhere: do not clear what an optimizer "
    "remembers, zero the weights after its step"
)
def _momentum_buffer_only(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    _mask_gradients(weights, masks)
    _zero(weights, masks)
    for name, mask in masks.items():
        buffer = optimizer.state[weights[name]].get("momentum_buffer")
        if buffer is not None:
            buffer.mul_(mask)
    optimizer.step()


@known("a weight may have no mask: go over the masks, not over the weights")
def _a_mask_for_each(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    optimizer.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])


@known("autograd records each change of a parameter: make yours inside `with torch.no_grad():`")
def _records(weights: Weights, masks: Weights, optimizer: Optimizer) -> None:
    optimizer.step()
    for name, mask in masks.items():
        weights[name].mul_(mask)


STEP_MISTAKES = (
    _gradient_only,
    _before_only,
    _both_before,
    _momentum_buffer_only,
    _no_mask,
    _inverted_step,
    _rebinds,
    _a_mask_for_each,
    _records,
)

# Which weights have a mask, whether they are pruned before the first step, and the optimizer.
_StepCase = tuple[tuple[str, ...], bool, Callable[[list], Optimizer]]
_FC1, _FC2 = "fc1.weight", "fc2.weight"


def _step_cases(rng: random.Random) -> Iterator[_StepCase]:
    lr, both = rng.choice([0.05, 0.1, 0.2]), (_FC1, _FC2)
    optim = torch.optim
    yield both, False, lambda p: optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.1)
    yield both, False, lambda p: optim.Adam(p, lr=lr)
    yield both, True, lambda p: optim.SGD(p, lr=lr)
    yield (_FC2,), True, lambda p: optim.SGD(p, lr=lr, momentum=0.8, nesterov=True)
    yield (_FC1,), False, lambda p: optim.AdamW(p, lr=lr, weight_decay=0.1)
    yield (), False, lambda p: optim.SGD(p, lr=lr, momentum=0.9)
    yield (
        both,
        True,
        lambda p: optim.RMSprop([{"params": p[:1]}, {"params": p[1:], "lr": lr / 2}], momentum=0.5),
    )


def _loss(weights: Sequence[Tensor], x: Tensor, target: Tensor) -> Tensor:
    fc1, fc2, bias = weights
    return (torch.tanh(x @ fc1.T + bias) @ fc2.T - target).square().mean()


def _random_mask(shape: torch.Size, rng: random.Random) -> Tensor:
    keep = [True, False, *rng.choices([True, False], k=math.prod(shape) - 2)]
    rng.shuffle(keep)
    return torch.tensor(keep).view(shape)


def _check_masked_step(answer: Attempt, rng: random.Random) -> None:
    g = generator(rng)
    for masked, pruned_before, make in _step_cases(rng):
        mine = [Parameter(torch.randn(shape, generator=g)) for shape in ((2, 3), (2, 2), (2,))]
        right = [Parameter(p.detach().clone()) for p in mine]
        weights, masks = dict(zip((_FC1, _FC2), mine, strict=False)), {}
        for name in masked:
            masks[name] = _random_mask(weights[name].shape, rng)
        optimizer, plain = make(mine), make(right)
        for step in range(5):
            _loss(right, torch.randn(5, 3, generator=g), torch.randn(5, 2, generator=g)).backward()
            for p, q in zip(mine, right, strict=True):
                p.grad = q.grad.clone()
            plain.step()
            plain.zero_grad()
            if step < 2:  # dense as yet: the optimizer has something to remember
                optimizer.step()
            else:
                _step_and_compare(answer, weights, masks, optimizer, (mine, right))
            if step >= (1 if pruned_before else 2):
                _zero(weights, masks)
                _zero(dict(zip((_FC1, _FC2), right, strict=False)), masks)


def _step_and_compare(
    answer: Attempt,
    weights: dict[str, Parameter],
    masks: Weights,
    optimizer: Optimizer,
    parameters: tuple[list[Parameter], list[Parameter]],
) -> None:
    """Let the answer take a step; `parameters` are those trained, and what a plain step gives."""
    named, masks_before = dict(weights), {name: mask.clone() for name, mask in masks.items()}
    answer.in_place(weights, masks, optimizer, watch=_weights_and_parameters)
    if masks.keys() != masks_before.keys() or not all(
        isinstance(masks[n], Tensor) and masks[n].equal(m) for n, m in masks_before.items()
    ):
        raise Wrong(
            "your function changed the masks; only the weights are to change",
            known_mistakes=False,
        )
    for name, weight in named.items():
        if weights.get(name) is not weight:
            raise Wrong(f"weights[{name!r}] is no longer the parameter that the optimizer trains")
    for name, mine, plain in zip((_FC1, _FC2, "fc1.bias"), *parameters, strict=True):
        _compare(name, mine, plain, masks.get(name))


def _weights_and_parameters(weights: Weights, _: Weights, optimizer: Optimizer) -> tuple:
    """What an answer may change, by which known mistakes are recognised."""
    return (
        {n: w.detach() if isinstance(w, Tensor) else w for n, w in weights.items()},
        [p.detach() for group in optimizer.param_groups for p in group["params"]],
    )


def _compare(name: str, mine: Parameter, plain: Parameter, mask: Tensor | None) -> None:
    """Raise unless the parameter is what a plain step makes of it, zero where the mask is False."""
    if (mine.shape, mine.dtype, mine.requires_grad) != (plain.shape, plain.dtype, True):
        raise Wrong(
            f"{name} is no longer the kind of parameter that it was",
            expected=f"{plain.dtype}, {tuple(plain.shape)}, requires_grad=True",
            given=f"{mine.dtype}, {tuple(mine.shape)}, requires_grad={mine.requires_grad}",
            known_mistakes=False,
        )
    keep = torch.ones_like(plain, dtype=torch.bool) if mask is None else mask
    given, expected = mine.detach(), torch.where(keep, plain.detach(), 0)
    if alive := int((given[~keep] != 0).sum()):
        raise Wrong(
            f"after the step {alive} of {int((~keep).sum())} pruned weights of {name} are not zero",
            expected=expected,
            given=given,
        )
    if not torch.allclose(given[keep], expected[keep], rtol=1e-4, atol=1e-6):
        which = f"{name}, which has no mask," if mask is None else f"a kept weight of {name}"
        raise Wrong(
            f"{which} does not have the value that the optimizer's step gives it",
            expected=expected,
            given=given,
        )


masked_step = Exercise(
    "masked_step",
    _check_masked_step,
    core=True,
    minutes=15,
    mistakes=STEP_MISTAKES,
)
