"""The relaxed rounding of AdaRound, of chapter 11's exercise: how it goes, known mistakes."""

from collections.abc import Callable

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

Relaxed = tuple[Tensor, Tensor, Tensor, Tensor]  # start, relaxed weight, regulariser, integers
Of = Callable[[Tensor], Tensor]


def _stretched(v: Tensor) -> Tensor:
    return (1.2 * v.sigmoid() - 0.1).clamp(0, 1)


def _stretched_back(fraction: Tensor) -> Tensor:
    return ((fraction + 0.1) / 1.2).logit()


def _undecided(h: Tensor, beta: float) -> Tensor:
    return (1 - (2 * h - 1).abs() ** beta).sum()


def _threshold(h: Tensor, fraction: Tensor) -> Tensor:
    return (h.detach() >= 0.5).to(h)


def _relaxing(
    share_up: Of = _stretched,
    start: Of = _stretched_back,
    below: Of = torch.floor,
    within: Callable[..., Tensor] = torch.clamp,
    regulariser: Callable[[Tensor, float], Tensor] = _undecided,
    ended: Callable[[Tensor, Tensor], Tensor] = _threshold,
    unit: Callable[[float], float] = float,
) -> Callable[..., Relaxed]:
    """How to relax the rounding, right except for what is passed."""

    def relax(
        weight: Tensor, scale: float, q_min: int, q_max: int, v: Tensor, beta: float
    ) -> Relaxed:
        low = below(weight / scale)
        fraction = weight / scale - low
        h = share_up(v)
        relaxed = unit(scale) * within(low + h, q_min, q_max)
        rounded = within(low + ended(h, fraction), q_min, q_max)
        return start(fraction), relaxed, regulariser(h, beta), rounded

    return relax


_right = _relaxing()


def relaxed(
    weight: Tensor, scale: float, q_min: int, q_max: int, v: Tensor, beta: float
) -> Relaxed:
    """What AdaRound needs at the variables v: (start, relaxed weight, regulariser, integers).

    With h = clamp(1.2 sigmoid(v) - 0.1, 0, 1) the relaxed weight is
    scale · clamp(⌊weight / scale⌋ + h, q_min, q_max), and the regulariser Σ 1 - |2h - 1|^beta. The
    start is the v at which h is the fraction of weight / scale, and the integers are those with h
    rounded.

    >>> weight, v = torch.tensor([0.2, 1.5]), torch.tensor([-1.0, 1.0])
    >>> start, w, r, q = relaxed(weight, 0.5, -3, 3, v, 2)
    >>> start, w, r, q
    (tensor([-0.3365, -2.3979]), tensor([0.1114, 1.5000]), tensor(1.3850), tensor([0., 3.]))
    """
    return _right(weight, scale, q_min, q_max, v, beta)


MISTAKES = (
    Mistake(
        "sigmoid not stretched",
        _relaxing(share_up=torch.sigmoid, start=torch.logit),
        "this is the plain sigmoid, which reaches 0 and 1 only at infinity: no weight would ever "
        "arrive at an integer, and the start for a fraction of 0 would be -infinity. Stretch it "
        "to 1.2 sigmoid(v) - 0.1, and solve that for v where you need the start",
    ),
    Mistake(
        "starts at the fraction",
        _relaxing(start=lambda fraction: fraction),
        "the start is the fraction itself. It is h that must be the fraction: which v does the "
        "stretched sigmoid turn into it?",
    ),
    Mistake(
        "not clipped to 0 and 1",
        _relaxing(share_up=lambda v: 1.2 * v.sigmoid() - 0.1),
        "h goes below 0 and above 1, past the two integers beside the weight: clamp it",
    ),
    Mistake(
        "threshold forgotten",
        _relaxing(ended=lambda h, fraction: h.detach()),
        "the integers are none yet: they still have h in them. At the end each weight must decide: "
        "up where h is at least 0.5, and otherwise down",
    ),
    Mistake(
        "past the range",
        _relaxing(within=lambda q, q_min, q_max: q),
        "a weight at the end of the range was rounded past q_max, to an integer that the bits do "
        "not have: clamp after h is added, in the relaxed weight and in the integers",
    ),
    Mistake(
        "round for floor",
        _relaxing(below=torch.round),
        "the integers begin at the nearest one, and h cannot go below it: half of the weights have "
        "lost the integer under them. Begin at the floor",
    ),
    Mistake(
        "mean for sum",
        _relaxing(regulariser=lambda h, beta: (1 - (2 * h - 1).abs() ** beta).mean()),
        "the regulariser is a mean. It is a sum, so that each weight is pushed equally hard in "
        "small and in large layers",
    ),
    Mistake(
        "power forgotten",
        _relaxing(regulariser=lambda h, beta: (1 - (2 * h - 1).abs()).sum()),
        "beta does nothing: |2h - 1| goes to the power of beta. A high power leaves h alone unless "
        "it is near 0 or 1, which is how the rounding stays free at first",
    ),
    Mistake(
        "rewards halves",
        _relaxing(regulariser=lambda h, beta: ((2 * h - 1).abs() ** beta).sum()),
        "the regulariser is least where h is 0.5, so training would keep every weight undecided. "
        "It must be 0 where h is 0 or 1: subtract from 1",
    ),
)

# Their hints come where the rest of an answer may be wrong as well.
OF_PARTS = (
    Mistake(
        "starts at 0",
        _relaxing(start=torch.zeros_like),
        "at 0 every h is 0.5, and the network begins with all weights halfway between integers. "
        "It should begin as the float network: h is the fraction",
    ),
    Mistake(
        "scale forgotten",
        _relaxing(unit=lambda scale: 1.0),
        "the relaxed weight is in steps: multiply by the scale, since the layer computes with it",
    ),
    Mistake(
        "power of the whole",
        _relaxing(regulariser=lambda h, beta: ((1 - (2 * h - 1).abs()) ** beta).sum()),
        "the power is of |2h - 1| alone, before it is subtracted from 1",
    ),
    Mistake(
        "wrong sign",
        _relaxing(regulariser=lambda h, beta: -_undecided(h, beta)),
        "the sign is the wrong way round: what is added to the loss must be largest where h is 0.5",
    ),
    Mistake(
        "cut off for floor",
        _relaxing(below=torch.trunc),
        "a cast to int and trunc go towards 0, which is up below 0: the integer below -1.5 is -2",
    ),
    Mistake(
        "nearest at the end",
        _relaxing(ended=lambda h, fraction: fraction.round()),
        "the integers are the nearest ones, and what v has learned is thrown away: up where h is "
        "at least 0.5",
    ),
)
