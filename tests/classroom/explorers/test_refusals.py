"""Refusals say what was promised, and what was given instead."""

import re

import pytest
import torch

from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers import refusals


def test_two_seeds_are_needed():
    refusals.refuse_one_seed((0, 1))
    for seeds in ((), (3,)):
        with pytest.raises(
            ValueError, match="two seeds are compared, not " + re.escape(repr(seeds))
        ):
            refusals.refuse_one_seed(seeds)


def test_all_or_none_of_the_exercises_are_needed():
    for given in ([], ["b", "a"], ["a", "b", "c"]):
        refusals.refuse_a_part(given, {"a", "b"})
    with pytest.raises(ValueError, match=r"the switch to mine also needs a, b$"):
        refusals.refuse_a_part(["c"], {"b", "a"})


@pytest.mark.parametrize(
    ("answer", "found"),
    [(None, "NoneType"), ([1, 2], "list"), (torch.ones(3), r"shape \(3,\)")],
)
def test_what_is_no_tensor_of_the_shape_is_told(answer, found):
    assert refusals.tensor_of_shape(right := torch.ones(2), (2,), "") is right
    with pytest.raises(ExerciseError, match=f"^f gives two; yours gave {found}$"):
        refusals.tensor_of_shape(answer, (2,), "f gives two")


def test_what_is_not_finite_is_told():
    refusals.refuse_what_is_not_finite(torch.ones(2), "")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ExerciseError, match=r"^finite; some of yours are NaN or infinite$"):
            refusals.refuse_what_is_not_finite(torch.tensor([1, bad]), "finite;")
