"""What the checks of chapter 06 share: how losses and their gradients are compared."""

from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.numbers import Near

TOLERANCE = 1e-4


def comparable(result: Any) -> Any:
    """A float tensor by its shape, its infinities and its numbers; anything else as it is."""
    if not isinstance(result, Tensor) or not result.is_floating_point():
        return result
    numbers = result.detach().double().flatten()
    finite = numbers.isfinite()
    odd = tuple(map(str, numbers[~finite].tolist()))  # as text, so that NaN equals NaN
    return tuple(result.shape), odd, Near(tuple(round(x, 9) for x in numbers[finite].tolist()))


def is_near(given: Tensor, right: Tensor) -> Tensor:
    """Where numbers agree, to the precision of float32."""
    given, right = given.detach().double(), right.detach().double()
    return torch.isclose(given, right, rtol=TOLERANCE, atol=TOLERANCE)


def wrong_loss(given: Any, right: Tensor, what: str = "the loss") -> Wrong | None:
    """What is wrong with a loss, if anything: it is a float tensor without axes."""
    right = right.float()
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.dim():
        return Wrong(f"{what} is a float tensor without axes", expected=right, given=given)
    if is_near(given, right):
        return None
    return Wrong(f"{what} is {right:.5g}; yours is {given:.5g}", expected=right, given=given)


def wrong_gradient(loss: Tensor, of: Tensor, right: Tensor, name: str) -> Wrong | None:
    """What is wrong with the gradient of a loss that is right, if anything."""
    right, found = right.to(of.dtype), _gradient(loss, of)
    if found is None:
        what = f"no gradient reaches {name}: with detach(), item() or no_grad nothing is learned"
    elif not is_near(found, right).all():
        what = (
            f"its gradient for {name} is not: all of it must depend on them, and take no root of 0"
        )
    else:
        return None
    # Known mistakes are told by the loss, and it was right.
    return Wrong(
        f"the loss is right, and {what}", expected=right, given=found, known_mistakes=False
    )


def reaches_teacher(loss: Tensor, teacher: Tensor) -> Wrong | None:
    """What is wrong where a gradient of a loss that is right goes to the teacher's features."""
    found = _gradient(loss, teacher)
    if found is None or not found.any():
        return None
    return Wrong(
        "the loss is right, and a gradient goes to the teacher's features: the teacher must not "
        "move towards the student, so detach() them",
        expected=None,
        given=found,
        known_mistakes=False,
    )


def _gradient(loss: Tensor, of: Tensor) -> Tensor | None:
    if not loss.requires_grad:
        return None
    return torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)[0]
