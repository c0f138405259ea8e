"""Bits given by hand for the class experiment: what is taken, and what is refused, and how."""

import numpy as np
import pytest
import torch

from shrink.chapters.mixed.networks import sizes
from shrink.chapters.mixed.yours import check_by_hand
from shrink.classroom import CourseError

FOUR = dict.fromkeys(sizes(), 4)


@pytest.mark.parametrize("width", [4, 3, np.int64(4), np.uint8(2)])
def test_whole_numbers_within_the_budget_are_taken(width):
    check_by_hand({**FOUR, "fc": width})


@pytest.mark.parametrize(
    "width", [4.0, True, "4", None, 1, 9, [4], torch.tensor(4), np.array([4, 5])]
)
def test_other_bits_are_refused_with_the_name_of_the_layer(width):
    with pytest.raises(CourseError, match="fc has 2 to 8 bits, whole, not"):
        check_by_hand({**FOUR, "fc": width})


def test_too_many_bytes_and_other_layers_are_refused():
    with pytest.raises(CourseError, match=r"these bits take .* bytes, .* more than the"):
        check_by_hand({**FOUR, "fc": 5})
    with pytest.raises(CourseError, match="and here for stem"):
        check_by_hand({"stem": 4})
    with pytest.raises(CourseError, match="and here for 4"):
        check_by_hand(4)
