"""Sparse formats against scipy, numpy, a loop over the weights, torch's own and counts by hand."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.classroom import measure
from shrink.coding import sparse
from shrink.coding.sparse import (
    FORMATS,
    break_even,
    csr_matmul,
    decode,
    encode,
    num_bytes,
    relative_indices,
)
from tests import depth

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = [*FLOATS, torch.int8]
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=4) | st.sampled_from(
    [[1], [300], [3, 256], [3, 257], [1, 700], [700, 1]]
)


def random_weight(shape, zeros, dtype=torch.float32, seed=0):
    """Normal values, none of them zero, but for `zeros` zeros at random places."""
    random = np.random.default_rng(seed)
    flat = np.clip(np.round(100 * random.standard_normal(math.prod(shape))), -127, 127)
    flat[flat == 0] = 1
    flat[random.permutation(flat.size)[:zeros]] = 0
    return torch.from_numpy(flat.reshape(shape)).to(dtype)


@st.composite
def weights(draw):
    shape = draw(SHAPES)
    zeros = round(draw(st.sampled_from([0, 0.1, 0.5, 0.9, 0.99, 1])) * math.prod(shape))
    return random_weight(shape, zeros, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99)))


def same_bits(a, b):
    as_bits = BITS[a.element_size()]
    same = a.dtype == b.dtype and a.shape == b.shape
    return same and torch.equal(a.contiguous().view(as_bits), b.contiguous().view(as_bits))


def naive_relative(flat, gap_bits):
    """Walk over the places and count the zeros."""
    gaps, values, zeros, pending = [], [], 0, []
    for value in flat:
        if value != 0:
            gaps += [*pending, zeros]
            values += [0.0] * len(pending) + [value]
            zeros, pending = 0, []
        elif zeros == 2**gap_bits - 1:  # this zero is the filler's place
            pending.append(zeros)
            zeros = 0
        else:
            zeros += 1
    return gaps, values


def naive_unrelative(gaps, values, n):
    flat = []
    for gap, value in zip(gaps, values, strict=True):
        flat += [0.0] * gap + [value]
    return flat + [0.0] * (n - len(flat))


def naive_bits(gaps, gap_bits):
    bits = "".join(f"{gap:0{gap_bits}b}" for gap in gaps)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@given(weights(), st.sampled_from(FORMATS), st.integers(1, 8))
def test_decode_inverts_encode(weight, format, gap_bits):
    before = weight.clone()
    arrays = encode(weight, format, gap_bits)
    assert same_bits(decode(arrays, format), weight)
    assert same_bits(before, weight)
    assert num_bytes(arrays) == sum(a.numpy(force=True).nbytes for a in as_numpy(arrays))


def as_numpy(arrays):
    return [a.view(torch.int16) if a.dtype == torch.bfloat16 else a for a in arrays.values()]


@given(weights(), st.integers(1, 8))
def test_relative_indices_are_those_of_a_loop(weight, gap_bits):
    gaps, values = relative_indices(weight, gap_bits)
    assert (gaps.dtype, values.dtype) == (torch.uint8, weight.dtype)
    flat = weight.flatten().tolist()
    assert (gaps.tolist(), values.tolist()) == naive_relative(flat, gap_bits)
    assert naive_unrelative(gaps.tolist(), values.tolist(), len(flat)) == flat
    arrays = encode(weight, "relative", gap_bits)
    assert arrays["gaps"].tolist() == naive_bits(gaps.tolist(), gap_bits)
    assert arrays["gap_bits"].tolist() == [gap_bits]


@pytest.mark.parametrize("gap_bits", range(1, 9))
@pytest.mark.parametrize(
    ("multiple", "extra", "fillers", "gap"),
    [(1, -1, 0, -1), (1, 0, 1, 0), (1, 1, 1, 1), (2, -1, 1, -1), (2, 0, 2, 0), (5, 0, 5, 0)],
)
@pytest.mark.parametrize("before", [[], [9.0]])
def test_a_filler_takes_as_many_places_as_there_are_gaps(
    gap_bits, multiple, extra, fillers, gap, before
):
    reach = 2**gap_bits
    weight = torch.tensor([*before, *[0.0] * (multiple * reach + extra), 7.0, 0.0, 0.0])
    gaps, values = relative_indices(weight, gap_bits)
    lead = [0] * len(before)
    assert gaps.tolist() == lead + [reach - 1] * fillers + [gap % reach]
    assert values.tolist() == before + [0.0] * fillers + [7.0]
    assert torch.equal(decode(encode(weight, "relative", gap_bits), "relative"), weight)


@given(weights())
def test_csr_is_that_of_scipy(weight):
    arrays = encode(weight, "csr")
    matrix = weight.double().numpy().reshape(len(weight), math.prod(weight.shape[1:]))
    theirs = scipy.sparse.csr_matrix(matrix)
    assert arrays["row_starts"].tolist() == theirs.indptr.tolist()
    assert arrays["columns"].tolist() == theirs.indices.tolist()
    assert arrays["values"].tolist() == theirs.data.tolist()
    assert arrays["shape"].tolist() == list(weight.shape)


@given(weights())
def test_the_bitmap_is_a_bit_a_weight(weight):
    arrays = encode(weight, "bitmap")
    kept = weight.flatten() != 0
    bits = "".join("01"[bit] for bit in kept.tolist())
    bits += "0" * (-len(bits) % 8)
    assert arrays["bitmap"].tolist() == [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert same_bits(arrays["values"], weight.flatten()[kept])


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        (0, torch.uint8),
        (1, torch.uint8),
        (256, torch.uint8),
        (257, torch.int16),
        (32768, torch.int16),
        (32769, torch.int32),
    ],
)
def test_columns_take_the_smallest_type_that_numbers_them(columns, dtype):
    weight = torch.ones(2, columns)
    arrays = encode(weight, "csr")
    assert arrays["columns"].dtype == dtype
    assert torch.equal(decode(arrays, "csr"), weight)


def test_row_starts_are_exact_beyond_float32():
    weight = torch.ones(2**24 + 2, 1, dtype=torch.int8)
    assert encode(weight, "csr")["row_starts"][-2:].tolist() == [2**24 + 1, 2**24 + 2]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_inf_survive_and_minus_zero_is_a_zero(format, dtype):
    weight = torch.tensor([0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 1.0], dtype=dtype)
    weight[2:3].view(BITS[weight.element_size()]).bitwise_or_(5)  # a NaN that says something
    arrays = encode(weight, format)
    assert len(arrays["values"]) == (7 if format == "dense" else 5)
    expected = weight.clone()
    if format != "dense":
        expected[1] = 0.0
    assert same_bits(decode(arrays, format), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_any_strides_and_parameters_are_taken_and_nothing_is_shared(format):
    parameter = torch.nn.Parameter(random_weight((5, 7), 20))
    arrays = encode(parameter.T, format)
    assert not any(array.requires_grad for array in arrays.values())
    back = decode(arrays, format)
    assert torch.equal(back, parameter.T) and not back.requires_grad
    kept = back.clone()
    arrays["values"].zero_()
    assert torch.equal(back, kept) and torch.equal(parameter.T, kept)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3), (1, 1, 1, 1, 1, 1, 1, 1)])
def test_empty_tensors_and_eight_axes(format, shape):
    assert same_bits(decode(encode(torch.zeros(shape), format), format), torch.zeros(shape))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_safetensors_file_holds_every_format(format, dtype, tmp_path):
    for zeros in (0, 100, 180):
        weight = random_weight((4, 5, 3, 3), zeros, dtype)
        arrays = encode(weight, format)
        length = measure.write(tmp_path / "w.safetensors", arrays)
        assert length > num_bytes(arrays)
        assert same_bits(decode(measure.read(tmp_path / "w.safetensors"), format), weight)


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("dense", 300 * 784 * 4),
        ("bitmap", 8 + 29_400 + 23_520 * 4),
        ("csr", 8 + 301 * 4 + 23_520 * (2 + 4)),
    ],
)
def test_bytes_of_fc1_at_90_percent(format, expected):
    weight = random_weight((300, 784), 300 * 784 - 23_520)
    assert num_bytes(encode(weight, format)) == expected


@pytest.mark.parametrize(("gap_bits", "packed"), [(1, 1), (5, 2), (6, 3), (8, 3)])
def test_bytes_of_relative(gap_bits, packed):
    arrays = encode(torch.ones(3, dtype=torch.float16), "relative", gap_bits)
    assert num_bytes(arrays) == 4 + 1 + packed + 3 * 2


def length_with(format, shape, zeros, dtype, gap_bits=5):
    return num_bytes(encode(random_weight(shape, zeros, dtype), format, gap_bits))


@pytest.mark.parametrize("format", ["dense", "bitmap", "csr"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 9), (7, 5), (30, 784), (300, 784)])
def test_break_even_is_where_real_encodings_break_even(format, shape, dtype):
    rows, columns = shape
    claimed = break_even(format, rows, columns, value_bits=8 * dtype.itemsize)
    n = rows * columns
    dense = n * dtype.itemsize
    if n <= 40:  # every number of zeros
        fits = [z for z in range(n + 1) if length_with(format, shape, z, dtype) <= dense]
        assert claimed == (min(fits) / n if fits else math.inf)
    else:
        zeros = round(claimed * n)
        assert claimed == zeros / n
        assert length_with(format, shape, zeros, dtype) <= dense
        assert zeros == 0 or length_with(format, shape, zeros - 1, dtype) > dense


@pytest.mark.parametrize("gap_bits", [4, 5, 8])
@pytest.mark.parametrize("shape", [(30, 784), (300, 784)])
def test_break_even_of_relative_without_fillers(shape, gap_bits):
    n = math.prod(shape)
    zeros = round(break_even("relative", *shape, gap_bits=gap_bits) * n)
    assert length_with("relative", shape, zeros + n // 1000, torch.float32, gap_bits) <= 4 * n
    assert length_with("relative", shape, zeros - n // 1000, torch.float32, gap_bits) > 4 * n


def test_break_even_of_relative_is_exact_where_there_are_no_fillers():
    for zeros in range(36):
        alternating = torch.ones(7, 5)
        alternating.view(-1)[:zeros] = 0  # fewer zeros in a row than 2^8
        fits = num_bytes(encode(alternating, "relative", 8)) <= 140
        assert fits == (zeros / 35 >= break_even("relative", 7, 5, gap_bits=8))


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (("coo", 3, 3), ValueError, "coo"),
        (("csr", 0, 3), ValueError, "rows.*0"),
        (("csr", 3, -1), ValueError, "columns.*-1"),
        (("csr", 2**20, 2**20), ValueError, "columns"),
        (("csr", 3.0, 3), TypeError, "rows.*3.0"),
        (("csr", 3, True), TypeError, "columns.*True"),
        (("csr", 3, 3, 0), ValueError, "value_bits.*0"),
        (("csr", 3, 3, 65), ValueError, "value_bits.*65"),
        (("relative", 3, 3, 32, 9), ValueError, "gap_bits.*9"),
    ],
)
def test_break_even_names_a_bad_argument(arguments, error, named):
    with pytest.raises(error, match=named):
        break_even(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(shape=st.tuples(st.integers(0, 9), st.integers(0, 300)), batch=st.integers(0, 5))
def test_csr_matmul_is_the_dense_product(shape, batch, dtype):
    weight = random_weight(shape, round(0.7 * math.prod(shape)), dtype) / 100
    x = random_weight((batch, shape[1]), 0, dtype, seed=1) / 100
    product = csr_matmul(encode(weight, "csr"), x)
    assert product.is_contiguous()
    torch.testing.assert_close(product, x @ weight.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's CSR is in beta
        torch.testing.assert_close(product, (weight.to_sparse_csr() @ x.T).T)


def test_csr_matmul_takes_a_convolution_as_a_matrix_and_has_gradients():
    weight = random_weight((4, 2, 3, 3), 50, torch.float64)
    x = random_weight((5, 18), 0, torch.float64, seed=1).requires_grad_()
    csr_matmul(encode(weight, "csr"), x).sum().backward()
    torch.testing.assert_close(x.grad, weight.view(4, 18).sum(0).expand(5, 18))


@pytest.mark.parametrize(
    ("x", "error", "named"),
    [
        (torch.ones(2, 4), ValueError, r"\(batch, 5\), not \(2, 4\)"),
        (torch.ones(5), ValueError, r"\(batch, 5\), not \(5,\)"),
        (torch.ones(2, 5, dtype=torch.float64), TypeError, "torch.float64"),
        (torch.ones(2, 5, dtype=torch.int8), TypeError, "torch.int8"),
        (np.ones((2, 5), np.float32), TypeError, "float32"),
        (None, TypeError, "NoneType"),
    ],
)
def test_csr_matmul_names_a_bad_input(x, error, named):
    with pytest.raises(error, match=f"x.*{named}"):
        csr_matmul(encode(random_weight((3, 5), 7), "csr"), x)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("weight", "error", "named"),
    [
        (torch.tensor(1.0), ValueError, "axes"),
        (torch.ones(1, 1, 1, 1, 1, 1, 1, 1, 1), ValueError, "axes, not 9"),
        (torch.zeros(1).expand(2**16, 2**15), ValueError, "65536, 32768"),
        (torch.ones(3, dtype=torch.int64), TypeError, "torch.int64"),
        (torch.ones(3, dtype=torch.bool), TypeError, "torch.bool"),
        (torch.ones(3, dtype=torch.complex64), TypeError, "torch.complex64"),
        (torch.ones(2, 2).to_sparse(), TypeError, "sparse_coo"),
        (np.ones(3, np.float32), TypeError, "ndarray"),
        (None, TypeError, "NoneType"),
    ],
)
def test_a_bad_weight_is_named(format, weight, error, named):
    with pytest.raises(error, match=named):
        encode(weight, format)


@pytest.mark.parametrize(
    ("gap_bits", "error"),
    [(0, ValueError), (9, ValueError), (-1, ValueError), (5.0, TypeError), (True, TypeError)],
)
def test_bad_gap_bits_are_named(gap_bits, error):
    for function in (relative_indices, lambda w, bits: encode(w, "relative", bits)):
        with pytest.raises(error, match=f"gap_bits.*{gap_bits}"):
            function(torch.ones(3), gap_bits)


@pytest.mark.parametrize("format", ["coo", "", None, 3, ["csr"]])
def test_an_unknown_format_is_named(format):
    for call in (lambda: encode(torch.ones(3), format), lambda: decode({}, format)):
        with pytest.raises(ValueError, match=r"dense, bitmap, csr, relative, not "):
            call()


def ints(*values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


def bytes_(*values):
    return ints(*values, dtype=torch.uint8)


# Of [[0, 1, 2], [0, 0, 3]]: bitmap 011001, row starts 0 2 3, columns 1 2 2, gaps 1 0 2 of 2 bits.
SMALL = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]])
DAMAGED = [
    ("dense", {"values": torch.tensor(1.0)}, ValueError, "axes"),
    ("dense", {"values": torch.ones(2, dtype=torch.int64)}, TypeError, "values.*int64"),
    ("bitmap", {"shape": None}, ValueError, "shape"),
    ("bitmap", {"more": torch.ones(1)}, ValueError, "more"),
    ("bitmap", {"shape": ints(2, -3)}, ValueError, "shape.*-3"),
    ("bitmap", {"shape": ints(-2, -3)}, ValueError, "shape.*-3"),
    ("bitmap", {"shape": ints(2**16, 2**15)}, ValueError, "shape"),
    ("bitmap", {"shape": ints(0, 2**31 - 1, 2**31 - 1)}, ValueError, "shape"),
    ("bitmap", {"shape": ints()}, ValueError, "shape"),
    ("bitmap", {"shape": ints(*[1] * 9)}, ValueError, "shape.*9"),
    ("bitmap", {"shape": ints(2, 3, dtype=torch.int64)}, TypeError, "shape.*int64"),
    ("bitmap", {"shape": ints(2, 3).view(1, 2)}, ValueError, "shape"),
    ("bitmap", {"shape": [2, 3]}, TypeError, "shape.*list"),
    ("bitmap", {"shape": ints(3, 3)}, ValueError, "bitmap has 1"),
    ("bitmap", {"shape": ints(1, 3)}, ValueError, "values has 3.*not 2"),
    ("bitmap", {"bitmap": bytes_(0b01100100, 0)}, ValueError, "bitmap has 2"),
    ("bitmap", {"bitmap": bytes_()}, ValueError, "bitmap has 0"),
    ("bitmap", {"bitmap": bytes_(0b01101100)}, ValueError, "values has 3.*not 4"),
    ("bitmap", {"bitmap": bytes_(0b01100000)}, ValueError, "values has 3.*not 2"),
    ("bitmap", {"values": torch.ones(4)}, ValueError, "values has 4"),
    ("csr", {"values": None}, ValueError, "values"),
    ("csr", {"shape": ints(3, 2)}, ValueError, "row_starts has 3.*not 4"),
    ("csr", {"shape": ints(2, 2)}, ValueError, "columns.*0 and 1"),
    ("csr", {"shape": ints(2, 0)}, ValueError, "columns"),
    ("csr", {"shape": ints(2, 257)}, TypeError, "columns.*uint8.*int16"),
    ("csr", {"row_starts": ints(0, 2)}, ValueError, "row_starts has 2"),
    ("csr", {"row_starts": ints(1, 2, 3)}, ValueError, "row_starts.*begin"),
    ("csr", {"row_starts": ints(0, 4, 3)}, ValueError, "row_starts.*fall"),
    ("csr", {"row_starts": ints(0, 2**31 - 1, -(2**31))}, ValueError, "row_starts.*fall"),
    ("csr", {"row_starts": ints(0, 2, 4)}, ValueError, "row_starts.*4.*3"),
    ("csr", {"row_starts": ints(0, 2, 2)}, ValueError, "row_starts.*2.*3"),
    ("csr", {"row_starts": ints(0, 3, 3)}, ValueError, "columns.*increase"),
    ("csr", {"columns": bytes_(1, 1, 2)}, ValueError, "columns.*increase"),
    ("csr", {"columns": bytes_(2, 1, 2)}, ValueError, "columns.*increase"),
    ("csr", {"columns": bytes_(1, 3, 2)}, ValueError, "columns.*0 and 2"),
    ("csr", {"columns": bytes_(1, 2)}, ValueError, "columns has 2"),
    ("csr", {"columns": ints(1, 2, 2)}, TypeError, "columns.*int32"),
    ("relative", {"gaps": None}, ValueError, "gaps"),
    ("relative", {"gap_bits": bytes_(0)}, ValueError, "gap_bits.*0"),
    ("relative", {"gap_bits": bytes_(9)}, ValueError, "gap_bits.*9"),
    ("relative", {"gap_bits": bytes_(2, 2)}, ValueError, "gap_bits has 2"),
    ("relative", {"gap_bits": bytes_()}, ValueError, "gap_bits has 0"),
    ("relative", {"gap_bits": bytes_(3)}, ValueError, "gaps has 1.*not 2"),
    ("relative", {"gaps": bytes_(0b01001000, 0)}, ValueError, "gaps has 2"),
    ("relative", {"gaps": bytes_(0b01001100)}, ValueError, "gaps.*place 6.*2, 3"),
    ("relative", {"shape": ints(1, 5)}, ValueError, "gaps.*place 5.*1, 5"),
    ("relative", {"values": torch.ones(5)}, ValueError, "gaps has 1.*not 2"),
]


@pytest.mark.parametrize(("format", "change", "error", "named"), DAMAGED)
def test_damaged_arrays_are_named(format, change, error, named):
    arrays = encode(SMALL, format, gap_bits=2)
    assert torch.equal(decode(arrays, format), SMALL)
    damaged = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    with pytest.raises(error, match=named):
        decode(damaged, format)
    if format == "csr":
        x = torch.ones(1, 3)
        if "increase" not in named:  # the product does not need it
            with pytest.raises(error, match=named):
                csr_matmul(damaged, x)


def test_the_small_arrays_by_hand():
    assert encode(SMALL, "bitmap")["bitmap"].tolist() == [0b01100100]
    csr = encode(SMALL, "csr")
    assert (csr["row_starts"].tolist(), csr["columns"].tolist()) == ([0, 2, 3], [1, 2, 2])
    assert encode(SMALL, "relative", gap_bits=2)["gaps"].tolist() == [0b01001000]


def test_a_negative_column_is_named():
    arrays = encode(random_weight((2, 300), 590), "csr")
    arrays["columns"][0] = -1
    with pytest.raises(ValueError, match="columns must lie between 0 and 299"):
        decode(arrays, "csr")


@pytest.mark.parametrize("arrays", [None, [torch.ones(3)], torch.ones(3)])
def test_arrays_must_be_a_mapping(arrays):
    with pytest.raises(TypeError, match=type(arrays).__name__):
        decode(arrays, "csr")


@given(
    st.sampled_from(FORMATS),
    weights(),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0), st.integers())),
)
@settings(max_examples=depth.examples(300))
def test_mutated_arrays_decode_or_raise_and_no_more(format, weight, mutations):
    arrays = encode(weight, format)
    for which, how, where, value in mutations:
        name = list(arrays)[which % len(arrays)]
        arrays[name] = mutate(arrays[name], how, where, value)
    most, sparse._MOST_WEIGHTS = sparse._MOST_WEIGHTS, 10**6  # else 2**31 - 1 zeros are a weight
    try:
        decoded = decode(arrays, format)
        assert same_bits(decode(encode(decoded, format), format), decoded) or format == "dense"
        if format == "csr" and decoded.is_floating_point():
            csr_matmul(arrays, torch.ones(1, math.prod(decoded.shape[1:]), dtype=decoded.dtype))
    except (ValueError, TypeError) as error:
        assert str(error)
    finally:
        sparse._MOST_WEIGHTS = most


def mutate(array, how, where, value):
    if how == 0 and array.numel():  # another value
        array = array.clone()
        fits = value % 256 if array.dtype == torch.uint8 else (value + 128) % 256 - 128
        if array.dtype == torch.int32 and value % 2:
            fits = (value + 2**31) % 2**32 - 2**31
        array.view(-1)[where % array.numel()] = fits
    elif how == 1:  # shorter
        array = array.flatten()[: where % (array.numel() + 1)]
    elif how == 2:  # longer
        array = torch.cat([array.flatten(), array.flatten()[: 1 + where % 3]])
    elif how == 3:
        array = array.to([torch.float32, torch.int8, torch.int64, torch.uint8][where % 4])
    elif how == 4:
        array = array[None]
    elif how == 5:
        array = array.flatten().flip(0)
    return array


def test_a_huge_but_possible_shape_of_zeros_is_refused_before_it_is_allocated():
    arrays = {**encode(SMALL, "relative"), "shape": ints(2**15, 2**16)}
    with pytest.raises(ValueError, match=r"shape.*32768, 65536"):
        decode(arrays, "relative")


@pytest.mark.gpu
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_on_the_gpu_encodes_the_same(format, dtype):
    weight = random_weight((30, 70), 1800, dtype)
    ours, theirs = encode(weight, format), encode(weight.cuda(), format)
    assert {array.device.type for array in theirs.values()} == {"cpu"}
    assert all(same_bits(ours[name], theirs[name]) for name in ours)
    on_gpu = {name: array.cuda() for name, array in ours.items()}
    assert same_bits(decode(on_gpu, format), weight)


@pytest.mark.gpu
def test_csr_matmul_on_the_gpu():
    weight = random_weight((30, 70), 1800, torch.float64)
    x = random_weight((5, 70), 0, torch.float64, seed=1).cuda()
    product = csr_matmul(encode(weight, "csr"), x)
    assert product.device == x.device
    torch.testing.assert_close(product, x @ weight.cuda().T)
