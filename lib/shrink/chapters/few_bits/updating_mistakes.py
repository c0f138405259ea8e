"""A training step with latent weights, of chapter 10's exercise: how it goes, known mistakes."""

from collections.abc import Callable

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

Loss = Callable[[Tensor, Tensor], Tensor]
Step = tuple[Tensor, Tensor, Tensor]  # latent weights, biases, and the weights of one bit


def one_bit(latent: Tensor, scale: float) -> Tensor:
    return torch.where(latent >= 0, scale, -scale).to(latent)


def _its_own(latent: Tensor, weight: Tensor) -> Tensor:
    return latent


def _stepping(
    computes: Callable[[Tensor, float], Tensor] = one_bit,
    start: Callable[[Tensor, Tensor], Tensor] = _its_own,
    decayed: Callable[[Tensor, Tensor], Tensor] = _its_own,
    limit: Callable[[float], float] = float,
    bias_moves: bool = True,
    slope_of: Callable[[Tensor, float], Tensor] = lambda slope, scale: slope,
    kept: Callable[[Tensor, float], Tensor] = lambda latent, scale: latent,
    tested: Callable[[Tensor, Tensor, float], Tensor] = lambda new, old, scale: one_bit(new, scale),
) -> Callable[..., Step]:
    """How to take the step, right except for what is passed."""

    def step(
        latent: Tensor, bias: Tensor, scale: float, loss: Loss, rate: float, decay: float
    ) -> Step:
        weight = computes(latent, scale).clone().requires_grad_()
        twin = bias.clone().requires_grad_()
        by_weight, by_bias = torch.autograd.grad(loss(weight, twin), (weight, twin))
        weight = weight.detach()
        slope = slope_of(by_weight, scale) + decay * decayed(latent, weight)
        new = (start(latent, weight) - rate * slope).clamp(-limit(scale), limit(scale))
        return kept(new, scale), bias - rate * bias_moves * by_bias, tested(new, latent, scale)

    return step


_right = _stepping()


def stepped(
    latent: Tensor, bias: Tensor, scale: float, loss: Loss, rate: float, decay: float
) -> Step:
    """A step of SGD for a layer of one-bit weights: (latent, bias, weight), new tensors.

    The loss is asked about weights of `scale` and -`scale`, with the signs of the latent ones, and
    its gradient moves the latent ones. They decay, and are clipped to the scale.

    >>> latent, bias = torch.tensor([[0.1, -0.5]]), torch.tensor([0.0])
    >>> stepped(latent, bias, 0.5, lambda w, b: (3 * w[0, 0] + w[0, 1] + b[0]), 0.1, 0.0)
    (tensor([[-0.2000, -0.5000]]), tensor([-0.1000]), tensor([[-0.5000, -0.5000]]))
    """
    return _right(latent, bias, scale, loss, rate, decay)


MISTAKES = (
    Mistake(
        "rounds the stored weight",
        _stepping(kept=one_bit),
        "the latent weights come back rounded to ±scale, and whatever a step has moved them is "
        "lost. One step rarely reaches across 0, so hardly a sign would ever flip: keep them as "
        "they are",
    ),
    Mistake(
        "steps from the signs",
        _stepping(start=lambda latent, weight: weight),
        "the step starts from ±scale. The gradient is that of the signs, and what it moves is the "
        "latent weight, which remembers all earlier steps",
    ),
    Mistake(
        "gradient at the latents",
        _stepping(computes=lambda latent, scale: latent),
        "the loss was asked about the latent weights. The layer computes with the signs times the "
        "scale, in training as well: only then does the gradient know what rounding has done",
    ),
    Mistake(
        "tests the latents",
        _stepping(tested=lambda new, old, scale: new),
        "the third tensor is latent. Nobody will compute with the latent weights: what is tested "
        "and stored is their signs times the scale",
    ),
    Mistake(
        "weight of before",
        _stepping(tested=lambda new, old, scale: one_bit(old, scale)),
        "the third tensor is the weight from before the step: take the signs of the new latent "
        "weights",
    ),
    Mistake(
        "clips at 1",
        _stepping(limit=lambda scale: 1.0),
        "latent weights go beyond the scale. There they change nothing, and take many steps to "
        "come back: clip them at ±scale. (A clip at ±1 fits weights of ±1. Where the scale is "
        "0.03 it does nothing.)",
    ),
    Mistake(
        "decays the signs",
        _stepping(decayed=lambda latent, weight: weight),
        "the decay was taken of ±scale, which pushes all latent weights towards 0 by the same "
        "amount: each shrinks by a share of its own value, rate * decay * latent",
    ),
    Mistake(
        "forgets the biases",
        _stepping(bias_moves=False),
        "the biases have not moved: they stay floats, and take a step of SGD as in any layer",
    ),
    Mistake(
        "scale forgotten",
        _stepping(
            computes=lambda latent, scale: one_bit(latent, 1.0),
            tested=lambda new, old, scale: one_bit(new, 1.0),
        ),
        "the layer computed with -1 and 1: multiply the signs by the scale, before the loss is "
        "asked and in what you return",
    ),
)

# Their hints come where the rest of an answer may be wrong as well.
OF_PARTS = (
    Mistake(
        "no decay",
        _stepping(decayed=lambda latent, weight: torch.zeros_like(latent)),
        "the latent weights did not decay: rate * decay * latent goes as well",
    ),
    Mistake(
        "gradient times the scale",
        _stepping(slope_of=lambda slope, scale: slope * scale),
        "the gradient of the weight was multiplied by the scale. Straight through means that "
        "scale * sign(latent), all of it, counts as latent: use the gradient as it is",
    ),
    Mistake(
        "no gradient",
        _stepping(slope_of=lambda slope, scale: torch.zeros_like(slope)),
        "the latent weights have only decayed. Back through a sign or a comparison comes no "
        "gradient: take that of the weight, and move the latent weights by it",
    ),
    Mistake(
        "uphill",
        _stepping(slope_of=lambda slope, scale: -slope),
        "the step went uphill: the gradient is subtracted",
    ),
)
