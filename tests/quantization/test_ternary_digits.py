"""Five ternary digits to a byte: what comes back, what a byte is, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink.quantization.ternary_digits import pack_ternary, unpack_ternary


@given(st.lists(st.integers(-1, 1), max_size=40))
def test_the_numbers_come_back(numbers):
    packed = pack_ternary(torch.tensor(numbers, dtype=torch.int8))
    assert len(packed) == -(-len(numbers) // 5)
    assert unpack_ternary(packed, len(numbers)).tolist() == numbers


@given(st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_a_byte_is_a_number_of_base_3(digits):
    (byte,) = pack_ternary(torch.tensor(digits) - 1).tolist()
    assert byte == int("".join(map(str, digits)), 3)


def test_whole_floats_of_any_shape_are_taken():
    t = torch.tensor([[1.0, -1.0], [0.0, -0.0]])
    assert unpack_ternary(pack_ternary(t), 4).tolist() == [1, -1, 0, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pack_ternary(torch.tensor([0, 2])), ValueError, "not 2"),
        (lambda: pack_ternary(torch.tensor([-128], dtype=torch.int8)), ValueError, "not -128"),
        (lambda: pack_ternary(torch.tensor([0.5])), ValueError, "0.5"),
        (lambda: pack_ternary(torch.tensor([torch.nan])), ValueError, "nan"),
        (lambda: pack_ternary(torch.tensor([True])), TypeError, "bool"),
        (lambda: unpack_ternary(torch.tensor([243], dtype=torch.uint8), 5), ValueError, "243"),
        (lambda: unpack_ternary(torch.tensor([1], dtype=torch.uint8), 6), ValueError, "6 ternary"),
        (lambda: unpack_ternary(torch.tensor([1], dtype=torch.uint8), -1), ValueError, "-1"),
        (lambda: unpack_ternary(torch.tensor([1]), 5), ValueError, "int64"),
        (lambda: unpack_ternary(b"1", 5), TypeError, "bytes"),
    ],
)
def test_what_is_not_ternary_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
