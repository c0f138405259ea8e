"""Products of signs by XNOR and popcount: against integer products, ragged ends, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink.quantization import xnor


def signs(n, k, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (n, k), generator=generator) * 2 - 1


@given(st.integers(0, 4), st.integers(0, 5), st.integers(0, 200), st.integers(0, 99))
def test_the_sums_are_those_of_integer_products(n, m, k, seed):
    a, b = signs(n, k, seed), signs(m, k, seed + 1)
    found = xnor.matmul(xnor.pack_signs(a), xnor.pack_signs(b), k)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), a @ b.T)


@pytest.mark.parametrize("k", [1, 63, 64, 65, 127, 128, 129])
def test_ragged_ends_do_not_count(k):
    ones = torch.ones(2, k)
    assert xnor.matmul(xnor.pack_signs(ones), xnor.pack_signs(-ones), k).tolist() == [[-k] * 2] * 2
    assert xnor.pack_signs(ones).shape == (-(-k // 64), 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8])
def test_any_real_numbers_have_signs(dtype):
    x = torch.tensor([[-2, 0, 3], [1, -1, -1]], dtype=dtype)
    assert xnor.pack_signs(x).tolist() == [[0b110, 0b001]]


def test_zeros_of_both_signs_are_ones():
    assert xnor.pack_signs(torch.tensor([[0.0, -0.0]])).tolist() == [[3]]


def test_rows_that_do_not_lie_in_a_row_of_memory():
    x = signs(70, 5).float()
    assert torch.equal(xnor.pack_signs(x.T), xnor.pack_signs(x.T.contiguous()))


def test_the_bits_are_those_of_numpy():
    x = signs(3, 130)
    bits = np.unpackbits(
        xnor.pack_signs(x).numpy().T.copy().view(np.uint8), axis=1, bitorder="little"
    )
    assert (bits[:, :130] == (x.numpy() > 0)).all() and not bits[:, 130:].any()


WORDS = xnor.pack_signs(torch.ones(2, 70))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xnor.pack_signs(torch.ones(3)), ValueError, r"\(3,\)"),
        (lambda: xnor.pack_signs(torch.tensor([[1.0, torch.nan]])), ValueError, "1 of 2"),
        (lambda: xnor.pack_signs(torch.ones(1, 1) * 1j), TypeError, "complex64"),
        (lambda: xnor.pack_signs([[1.0]]), TypeError, "list"),
        (lambda: xnor.pack_signs(torch.ones(1, 1, device="meta")), ValueError, "meta"),
        (lambda: xnor.matmul(WORDS, WORDS, 128.0), TypeError, "128.0"),
        (lambda: xnor.matmul(WORDS, WORDS, 64), ValueError, r"a of shape \(2, 2\).*64 signs"),
        (lambda: xnor.matmul(WORDS, WORDS, 129), ValueError, "129 signs"),
        (lambda: xnor.matmul(WORDS, WORDS, -1), ValueError, "-1"),
        (lambda: xnor.matmul(WORDS.float(), WORDS, 70), TypeError, "float32"),
        (lambda: xnor.matmul(WORDS, WORDS[:, 0], 70), ValueError, r"b of shape \(2,\)"),
    ],
)
def test_what_has_no_signs_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
