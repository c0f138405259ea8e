"""A model as an argument of a student's function: how it is shown, and whether it was changed."""

import pytest
import torch
from torch import nn

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, show


def test_a_model_is_shown_in_one_line():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    text = "Sequential( (0): Linear(in_features=2, out_features=3, bias=True) (1): ReLU() )"
    assert show(model) == text
    assert "\n" not in show((model, model))


CHANGES = {
    "value": lambda m: m[0].weight.data.zero_(),
    "type": lambda m: m[0].to(torch.float64),
    "buffer": lambda m: m[1].running_mean.add_(1),
    "frozen": lambda m: m[0].bias.requires_grad_(False),
    "mode": lambda m: m[1].eval(),
    "layer": lambda m: m.append(nn.ReLU()),
    "option": lambda m: setattr(m[1], "eps", 0.1),
    "no bias": lambda m: m[0].register_parameter("bias", None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_an_answer_changes_of_a_model_is_seen(change):
    with pytest.raises(Wrong, match="changed its input"):
        Attempt("f", change)(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))


TOLD = {
    "0.weight": lambda m: m[0].weight.data.abs_(),
    "its mode": lambda m: m[1].eval(),
    "1.running_mean, its mode": lambda m: m.eval()[1].running_mean.add_(1),
    "0.weight, 0.bias, 1.weight and 3 more": lambda m: m.to(torch.float64),
    "0.bias": lambda m: m[0].register_parameter("bias", None),
}


@pytest.mark.parametrize("what", TOLD)
def test_what_has_changed_of_a_model_is_told(what):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[0].weight.data[0] = -1.0
    with pytest.raises(Wrong, match=rf"changed its input \({what}\); work on a copy"):
        Attempt("f", TOLD[what])(model)


def test_a_model_that_was_only_looked_at_has_not_changed():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model.append(model[0]).half()
    attempt = Attempt("f", lambda model: len(model))
    assert attempt(model) == 3
    assert attempt.looks_like(Mistake("", len, ""))
    assert not attempt.looks_like(Mistake("", lambda model: 0, ""))
