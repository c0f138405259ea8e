"""An exercise of chapter 08: the Hessian's diagonal of a net with two layers, carried back.

The oracle is `torch.autograd.functional.hessian` in float64: of the loss itself for the second
layer; for the first, of a loss in which no logit changes another's slope, as LeCun's recursion has
it. The exact diagonal of the first layer is right as well.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.nn import Parameter

from shrink import pruning
from shrink.chapters.saliency.tensors import (
    Close,
    comparable,
    in_doubt,
    some_numbers,
    worst,
    wrong_kind,
)
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

Pair = tuple[Tensor, Tensor]
Case = tuple[Tensor, Tensor, Tensor, Tensor]

LAYERS = ("first", "second")


def _logits(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return F.relu(x @ first.T) @ second.T


def _diagonal(loss: Callable[[Tensor], Tensor], weight: Tensor) -> Tensor:
    """The second derivatives of a loss by each number of the weight alone."""
    found = hessian(loss, weight, vectorize=True)
    return found.reshape(weight.numel(), -1).diagonal().reshape(weight.shape)


def _doubled(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().double() for t in tensors]


def exact_first(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The second derivatives of the mean cross entropy by each weight of `first`, float64."""
    x, first, second = _doubled(x, first, second)
    return _diagonal(lambda w: F.cross_entropy(_logits(x, w, second), labels), first)


def exact_second(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Those by each weight of `second`."""
    x, first, second = _doubled(x, first, second)
    return _diagonal(lambda w: F.cross_entropy(_logits(x, first, w), labels), second)


def carried_back(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Pair:
    """The exact diagonal for `second`, and LeCun's for `first`, float64."""
    of_second = exact_second(x, labels, first, second)
    x, first, second = _doubled(x, first, second)
    logits = _logits(x, first, second)
    curvature = _diagonal(lambda z: F.cross_entropy(z, labels, reduction="sum"), logits)

    def apart(w: Tensor) -> Tensor:
        """A loss with the same second derivatives by each logit, and none by two of them."""
        return (curvature * (_logits(x, w, second) - logits) ** 2).sum() / (2 * len(x))

    return _diagonal(apart, first), of_second


def _recursion(
    at_logits: Callable[[Tensor], Tensor] = lambda p: p * (1 - p),
    *,
    weights: Callable[[Tensor], Tensor] = torch.square,
    inputs: Callable[[Tensor], Tensor] = torch.square,
    relu: Callable[[Tensor], Tensor] = lambda hidden: (hidden > 0).double(),
    over_images: Callable[[Tensor, Tensor], Tensor] = lambda h, x: h.T @ x / len(x),
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Pair]:
    """LeCun's recursion with one of its steps replaced."""

    def diagonals(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Pair:
        x, first, second = _doubled(x, first, second)
        hidden = F.relu(x @ first.T)
        curvature = at_logits((hidden @ second.T).softmax(1))
        below = curvature @ weights(second) * relu(hidden)
        return over_images(below, inputs(x)), over_images(curvature, inputs(hidden))

    return diagonals


def _of_gradients(
    square: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Pair]:
    """An answer made of first derivatives: `square(g, x)` for gradients at outputs and inputs."""

    def diagonals(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Pair:
        x, first, second = _doubled(x, first, second)
        hidden = F.relu(x @ first.T)
        p = (hidden @ second.T).softmax(1)
        slope = p - F.one_hot(labels, p.shape[1])
        return square(slope @ second * (hidden > 0), x), square(slope, hidden)

    return diagonals


def _row_sums(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Pair:
    x = x.detach().double()
    weights = [t.detach().double().requires_grad_() for t in (first, second)]
    loss = F.cross_entropy(_logits(x, *weights), labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    sums = (
        torch.autograd.grad(g.sum(), w, retain_graph=True)[0]
        for g, w in zip(gradients, weights, strict=True)
    )
    return tuple(sums)


MISTAKES = (
    Mistake(
        "Fisher",
        _of_gradients(lambda g, x: (g**2).T @ x**2 / len(x)),
        "this is the mean of the squared gradients, the diagonal of the empirical Fisher matrix: "
        "it depends on the labels, and is near the Hessian's only where the net's probabilities "
        "are right",
    ),
    Mistake(
        "squared mean gradient",
        _of_gradients(lambda g, x: (g.T @ x / len(x)) ** 2),
        "this is the square of the mean gradient, which is 0 at a minimum, whatever the curvature "
        "is there: a second derivative is no square of a first one",
    ),
    Mistake(
        "row sums",
        _row_sums,
        "the derivative of grad.sum() adds up a whole row of the Hessian for each weight; the "
        "diagonal is one entry of each row",
    ),
    Mistake(
        "summed over the images",
        _recursion(over_images=lambda h, x: h.T @ x),
        "this adds up over the images; the loss is their mean, and so are its derivatives",
    ),
    Mistake(
        "1 - p",
        _recursion(lambda p: 1 - p),
        "the second derivative by a logit is p(1 - p), small where p is near 0 OR near 1; yours, "
        "1 - p, is largest for classes that the net has ruled out",
    ),
    Mistake(
        "p",
        _recursion(lambda p: p),
        "at the logits the second derivative is p(1 - p), and yours is p: a class that the net is "
        "sure of, with p near 1, has no curvature left",
    ),
    Mistake(
        "weights not squared",
        _recursion(weights=lambda w: w),
        "on the way back to the hidden units the weights of `second` are squared: a unit that "
        "moves by 1 moves a logit by w, and a parabola costs the square of that",
    ),
    Mistake(
        "inputs not squared",
        _recursion(inputs=lambda x: x),
        "a weight that moves by 1 moves its output by its input x, and a parabola costs the square "
        "of that: use x² where a gradient has x",
    ),
    Mistake(
        "ReLU forgotten",
        _recursion(relu=torch.ones_like),
        "a unit that the ReLU has set to 0 passes nothing on: for that image its weights in "
        "`first` have no curvature",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def net(images: int, inputs: int, hidden: int, classes: int) -> Case:
        """No unit is at the kink of its ReLU, where it has two slopes; some pixels are 0."""
        while True:
            x = torch.randint(-2, 11, (images, inputs), generator=g).clamp(min=0) / 10
            first, second = (some_numbers(g, *of) for of in ((hidden, inputs), (classes, hidden)))
            off_the_kink = ((x @ first.T).abs() > 1e-3)[x.any(1)].all()
            if off_the_kink and in_doubt(_logits(x, first, second)):
                return x, torch.randint(classes, (images,), generator=g), first, second

    def some_units_off() -> Case:
        """Each unit is on for some images and off for others."""
        while True:
            x, labels, first, second = net(5, 3, 2, 3)
            on = (x @ first.T > 0).float().mean(0)
            if ((on > 0) & (on < 1)).all():
                return x, labels, first, second

    def one_unit_dead() -> Case:
        """Off for every image: it has no curvature in either layer."""
        x, labels, first, second = net(4, 3, 3, 3)
        first[0] = -first[0].abs()
        return x, labels, first, second

    def large_logits() -> Case:
        """Their exponentials are too large for float32, and yet no class is certain."""
        while True:
            x, labels, first, second = net(4, 3, 3, 3)
            first, second = 40 * first.abs(), 1 + 0.06 * second
            logits = _logits(x, first, second)
            if logits.max() > 95 and in_doubt(logits[x.any(1)]):
                return x, labels, first, second

    def changed(change: Callable[[Tensor], Tensor], *sizes: int) -> Case:
        x, labels, first, second = net(*sizes)
        return change(x), labels, change(first), change(second)

    def of_parameters() -> Case:
        x, labels, first, second = net(4, 2, 3, 2)
        return x, labels, Parameter(first), Parameter(second)

    yield some_units_off
    yield lambda: net(1, 3, 4, 3)
    yield lambda: net(3, 1, 1, 2)
    yield one_unit_dead
    yield large_logits
    yield lambda: net(20, 4, 5, 10)
    yield lambda: changed(Tensor.double, 4, 3, 2, 3)
    yield lambda: changed(lambda t: t.repeat_interleave(2, -1)[:, ::2], 4, 3, 2, 3)
    yield of_parameters
    if torch.cuda.is_available():
        yield lambda: tuple(t.cuda() for t in net(4, 3, 2, 3))


def _alike(given: Any) -> Any:
    """The same for a tuple and a list."""
    return [comparable(one) for one in given] if isinstance(given, tuple | list) else given


def _parts(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Iterator[Part]:
    case = x, labels, first, second
    exact, ours = Close(exact_first(*case)), Close(carried_back(*case)[0])

    def of_first(pair: Any) -> Any:
        """The exact diagonal counts as the one that is carried back."""
        mine = _alike(pair)[0]
        return ours if mine == exact else mine

    def of_second(pair: Any) -> Any:
        """Zeros, which row sums are there for every net, tell of no mistake: they equal nothing."""
        mine = _alike(pair)[1]
        return math.nan if isinstance(mine, Close) and mine == Close(0 * mine.tensor) else mine

    yield Part("in first", case, of_first)
    yield Part("in second", case, of_second)
    if len(x) > 1:
        i = int(F.relu(x @ first.T).sum(1).argmax())  # one that reaches the hidden units
        one = slice(i, i + 1)
        yield Part(f"with image {i} alone", (x[one], labels[one], first, second))


def _wrong(given: Any, right: Pair, *case: Tensor) -> Wrong | None:
    if not isinstance(given, tuple | list) or len(given) != 2:
        return Wrong(
            "return a pair of tensors, the diagonal for `first` and that for `second`",
            expected=list(right),
            given=given,
        )
    wrong = _wrong_pair(given, right, case)
    if wrong and _wrong_pair(given[::-1], right, case) is None:
        return Wrong("the two are right, in the other order: `first` comes first", given=given)
    return wrong


def _wrong_pair(given: Sequence[Any], right: Pair, case: Case) -> Wrong | None:
    dtype = case[2].dtype
    for layer, mine, its in zip(LAYERS, given, right, strict=True):
        if wrong := wrong_kind(mine, its.to(dtype), f"the diagonal for `{layer}`"):
            return wrong
        place = worst(mine, its)
        if place is None:
            continue
        exact = exact_first(*case) if layer == "first" else its
        if worst(mine, exact, scale=its) is not None:
            return _off(layer, mine, its.to(dtype), exact, place)
    return None


def _off(layer: str, given: Tensor, right: Tensor, exact: Tensor, place: tuple[int, ...]) -> Wrong:
    """What is said of a number that is neither LeCun's nor, for `first`, the exact one."""
    its, mine = right[place].item(), given[place].item()
    also = ""
    if layer == "first":
        also = f" when carried back (the exact one is {exact[place].item():.4g})"
    told = f"the second derivative by {layer}{list(place)} is {its:.4g}{also}; yours is {mine:.4g}"
    if not torch.isfinite(given).all():
        told += ". Some numbers are not finite: exp() of a large logit is too large for a float, "
        told += "and softmax() avoids that"
    return Wrong(told, expected=right, given=given)


def _reference(x: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Pair:
    """The second derivatives of the mean cross entropy by each weight of two layers.

    Args:
        x: float (n, inputs).
        labels: int64 (n,).
        first: float (hidden, inputs).
        second: float (classes, hidden); a ReLU stands between the two layers.

    >>> x, labels, first = torch.tensor([[1.0]]), torch.tensor([0]), torch.tensor([[2.0]])
    >>> pair = hessian_diagonal(x, labels, first, torch.tensor([[3.0], [3.0]]))
    >>> [diagonal.tolist() for diagonal in pair]
    [[[4.5]], [[1.0], [1.0]]]
    """
    net = nn.Sequential(_linear(first), nn.ReLU(), _linear(second))
    of_first, of_second = pruning.hessian_diagonal(net, x, labels).values()
    return of_first, of_second


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = Parameter(weight.detach())
    return layer


hessian_diagonal = Exercise(
    "hessian_diagonal",
    by_cases(_cases, carried_back, _wrong, mistakes=MISTAKES, alike=_alike, parts=_parts),
    reference=_reference,
    core=True,
    minutes=17,
    mistakes=MISTAKES,
)
