"""What an answer leaves behind on its arguments is a change, also where no number changes."""

import pytest
import torch
from torch import nn

from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise


@pytest.mark.parametrize(
    "leaves_behind",
    [
        lambda x, layer: layer.register_forward_hook(lambda *_: x),
        lambda x, layer: layer.register_forward_pre_hook(lambda *_: x),
        lambda x, layer: x.register_hook(torch.zeros_like),
        lambda x, layer: layer.register_full_backward_hook(lambda *_: None),
        lambda x, layer: layer.register_full_backward_pre_hook(lambda *_: None),
        lambda x, layer: layer.weight.register_hook(torch.zeros_like),
        lambda x, layer: x.requires_grad_(False),
        lambda x, layer: layer.weight.requires_grad_(False),
        lambda x, layer: layer.eval(),
        lambda x, layer: setattr(layer, "weight", nn.Parameter(torch.zeros(2, 2))),
    ],
)
def test_what_is_left_behind_is_a_change(leaves_behind):
    attempt = Attempt("f", lambda x, layer: (leaves_behind(x, layer), None)[1])
    with pytest.raises(Wrong, match="changed its input"):
        attempt(torch.ones(2).requires_grad_(), nn.Linear(2, 2))


def test_what_is_right_is_known_before_the_answer_has_the_arguments():
    def compare(given, right, layer):
        return None if given == right else Wrong("not the same")

    def answer(layer):
        layer.bias.data.fill_(7)
        return 7.0

    check = by_cases(
        lambda rng: [(nn.Linear(1, 1),)], lambda layer: float(layer.bias.detach()), compare
    )
    exercise = Exercise("f", lambda a, rng: check(_Trusting(a), rng), core=True, minutes=1)
    exercise.answer(answer)
    assert exercise.judge(seed=0).state == "wrong"


class _Trusting:
    """An attempt that does not look whether its arguments were changed."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __call__(self, *args, **_):
        return self._attempt._function(*args)
