"""Whatever the codec's writer takes, its reader gives back; the rest is refused by name."""

import contextlib
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shrink import quantization, sharing
from shrink.coding import ans, codec, huffman, sparse
from shrink.coding.codec import ArithmeticCoded, CodecError, Quantized, Scaled, decode, encode
from shrink.quantization import QParams
from shrink.sharing import Shared
from tests import depth
from tests.coding import heavy
from tests.coding.fuzz_codec import repaired

DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool),
    *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64),
)
ONE, NONE = torch.tensor(1.0), torch.tensor(0)


def same(a, b):
    """Bit for bit: NaN's payload and the sign of zero count."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    rows = (t.detach().resolve_neg().flatten().clone() for t in (a, b))
    raw = [torch.stack([row, row]).view(torch.uint8) for row in rows]
    return a.numel() == 0 or torch.equal(*raw)


def meant(part):
    """The tensor that a part stands for, by its own definition."""
    if isinstance(part, Shared):
        return part.weight
    if isinstance(part, Scaled):
        return part.q * part.scale
    if isinstance(part, Quantized):
        return quantization.dequantize(part.q, part.qparams)
    return part


def quantized(q=((1, -2, 0), (3, 1, 1)), scale=0.5, zero_point=0, bits=4, group=None, **how):
    q = torch.as_tensor(q)
    q = q if q.dtype == torch.uint8 else q.to(torch.int8)
    scale, zero_point = torch.as_tensor(scale), torch.as_tensor(zero_point)
    if group is not None and scale.dim():
        zero_point = torch.ones_like(scale).int()
    return Quantized(q, QParams(scale, zero_point, bits, group=group, **how))


def scaled(q=((1, -2, 0), (3, 1, 1)), scale=0.5):
    return Scaled(torch.as_tensor(q).to(torch.int8), torch.as_tensor(scale))


def shared(codebook=(0.0, 2.5), numbers=((0, 1, 1), (0, 0, 1)), zero=None):
    return Shared(torch.as_tensor(codebook), torch.as_tensor(numbers), zero)


def of_type(dtype, *shape):
    return torch.ones(shape or (2,), dtype=dtype)


class Own(torch.Tensor):
    """A tensor of a class of its own."""


FIXED = quantization.qparams_of(torch.zeros(2, 0), 2, axis=0)
TAKEN = {
    "no columns, a scale a row": Quantized(torch.zeros(2, 0, dtype=torch.int8), FIXED),
    "no columns, groups": quantized(torch.zeros(2, 0), torch.ones(2, 0), group=3),
    "no rows": quantized(torch.zeros(0, 3), torch.ones(1, 3)),
    "scales with fewer axes": quantized(scale=[0.5, 1.0, 2.0]),
    "a scale for each number": quantized(scale=[[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]]),
    "a scale of one axis": quantized(scale=[0.5]),
    "one scale, a zero point a row": quantized(zero_point=[[1], [2]]),
    "a scale a row, one zero point": quantized(scale=[[0.5], [1.0]], zero_point=3),
    "scale and zero point across": quantized(scale=[[0.5], [1.0]], zero_point=[1, 2, 3]),
    "zero points int64": quantized(zero_point=torch.tensor(-3)),
    "zero points uint8": quantized(zero_point=torch.tensor(3, dtype=torch.uint8)),
    "a group longer than a row": quantized(scale=[[0.5], [1.0]], group=100),
    "a group of all numbers there are": quantized(scale=[[0.5], [1.0]], group=10_000),
    "groups of one for all": quantized(scale=[[0.5], [1.0]], group=1),
    "groups with scales left over": quantized(scale=torch.rand(2, 5) + 0.1, group=2),
    "groups of one row for all": quantized(scale=[0.5, 1.0], group=2),
    "a group as numpy has it": quantized(scale=[[0.5, 1.0]] * 2, group=np.int64(2)),
    "bits as numpy has them": quantized(bits=np.int64(4)),
    "the least scale": quantized(scale=1e-45),
    "the greatest scale": quantized(scale=3.4e38),
    "narrow": quantized(narrow=True),
    "a scalar of integers": quantized(3, 0.5),
    "integers not in a row": quantized(torch.arange(6).view(2, 3).T),
    "scales expanded": quantized(scale=torch.ones(1, 1).expand(2, 3)),
    "signs": scaled(torch.arange(77).view(7, 11) % 2 * 2 - 1, torch.rand(7, 1)),
    "one integer": scaled(torch.full((2, 3), -128)),
    "all integers": scaled(torch.arange(-128, 128).view(16, 16), torch.rand(1, 16)),
    "integers times 0 and less": scaled(scale=[[0.0], [-1.0]]),
    "no integers": scaled(torch.zeros(0, 3), torch.ones(1, 3)),
    "a scalar times a scale": scaled(3),
    "integers turned": Scaled(torch.arange(6).view(2, 3).char().T, torch.ones(3, 1)),
    "no numbers": shared(numbers=torch.zeros(0, 4, dtype=torch.uint8), zero=0),
    "a scalar of a codebook": shared(numbers=1),
    "numbers int64": shared(numbers=torch.tensor([[0, 1]])),
    "numbers int16": shared(numbers=torch.tensor([[0, 1]], dtype=torch.int16)),
    "numbers not in a row": shared(numbers=torch.tensor([[0, 1, 1], [0, 0, 1]]).T, zero=0),
    "a zero as numpy has it": shared(zero=np.int64(0)),
    "a zero that is not 0": shared((1.0, 2.0), zero=0),
    "a negative zero": shared((-0.0, 1.0), zero=0),
    "values below the least normal": shared((1e-45, 6e-8)),
    "values that need four bytes": shared((65504.0, 65520.0)),
    "a codebook that is trained": Shared(nn.Parameter(torch.ones(1)), torch.zeros(3).long()),
    "a parameter": nn.Parameter(torch.rand(2, 3)),
    "a view": torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1)[::2],
    "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
    "a negative view": torch.tensor([1 + 2j]).conj().imag,
    "a scalar": torch.tensor(-0.0),
    "eight axes": torch.ones([1] * 8),
    "no numbers beside many": torch.zeros(0, 2**20),
    "NaN of all kinds": torch.tensor([0x7FC00001, -1, 0x7F800001], dtype=torch.int32).view(
        torch.float32
    ),
    "in no mode of gradients": torch.ones(2, requires_grad=True) * 2,
}


@pytest.mark.parametrize("part", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("code", codec.CODES)
def test_what_is_taken_comes_back(part, code):
    expected = meant(part)
    assert same(decode(encode({"w": part}, code=code))["w"], expected)


def test_a_truth_value_is_true_whatever_its_byte():
    odd = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(torch.bool)
    assert decode(encode({"w": odd}))["w"].tolist() == [False, True, True, True]


def freed():
    """A weight as it is between two steps where others keep its parts."""
    weight = torch.ones(3)
    weight.untyped_storage().resize_(0)
    return weight


REFUSED = {
    "freed": (freed(), TypeError, "w: .*memory is freed"),
    "sparse, coo": (torch.eye(3).to_sparse(), TypeError, "w: .*sparse_coo.*to_dense"),
    "sparse, csr": (torch.eye(3).to_sparse_csr(), TypeError, "w: .*sparse_csr.*to_dense"),
    "sparse, bsr": (torch.eye(4).to_sparse_bsr((2, 2)), TypeError, "w: .*sparse_bsr.*to_dense"),
    "meta": (torch.ones(3, device="meta"), TypeError, "w: .*meta has no numbers"),
    "meta, empty": (torch.ones(0, device="meta"), TypeError, "w: .*meta has no numbers"),
    "quantized by torch": (
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        TypeError,
        "w: .*torch quantized.*int_repr",
    ),
    "nested": (
        torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)]),
        TypeError,
        "w: .*nested",
    ),
    "jagged": (
        torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        TypeError,
        "w: .*NestedTensor",
    ),
    "of its own class": (torch.ones(2).as_subclass(Own), TypeError, "w: .*plain tensor, not a Own"),
    "lazy": (nn.LazyLinear(3).weight, TypeError, "w: .*UninitializedParameter"),
    "complex": (of_type(torch.complex64), TypeError, "w: .*complex64 has no form"),
    "uint16": (of_type(torch.uint16), TypeError, "w: .*uint16 has no form"),
    "uint64": (of_type(torch.uint64), TypeError, "w: .*uint64 has no form"),
    "float8": (of_type(torch.float8_e4m3fn), TypeError, "w: .*float8_e4m3fn has no form"),
    "nine axes": (torch.ones([1] * 9), ValueError, "w: .*at most 8 axes, not 9"),
    "no numbers beside too many": (torch.zeros(0, 2**21), ValueError, r"w: \(0, 2097152\) is more"),
    "too many numbers": (torch.zeros(2**20 + 1, dtype=torch.int8), ValueError, "w: .*`most`"),
    "an array": (
        np.ones(2),
        TypeError,
        "w must be a tensor, Shared, Quantized, Scaled or ArithmeticCoded, not",
    ),
    "a number": (1.0, TypeError, "w must be a tensor"),
    "two axes of values": (shared(torch.ones(2, 2)), ValueError, "w: a codebook has one axis"),
    "no axis of values": (shared(torch.tensor(1.0)), ValueError, "w: a codebook has one axis"),
    "values float64": (shared(torch.ones(2).double()), TypeError, "w: a codebook is float32"),
    "values float16": (shared(torch.ones(2).half()), TypeError, "w: a codebook is float32"),
    "values int64": (shared(torch.ones(2).long()), TypeError, "w: a codebook is float32"),
    "no values": (shared(torch.ones(0)), ValueError, "w: .*1 to 256 values, not 0"),
    "infinite values": (shared((0.0, float("inf"))), ValueError, "w: .*finite values"),
    "numbers that are floats": (shared(numbers=torch.tensor([0.7])), TypeError, "w: .*integers"),
    "numbers that are bool": (shared(numbers=torch.tensor([True])), TypeError, "w: .*integers"),
    "numbers below 0": (shared(numbers=torch.tensor([-1])), ValueError, "w: .*not -1 to -1"),
    "a zero of no value": (shared(zero=7), ValueError, "w: .*zero must lie between 0 and 1, not 7"),
    "a zero below 0": (shared(zero=-1), ValueError, "w: .*zero must lie between 0 and 1, not -1"),
    "a zero that is bool": (shared(zero=True), TypeError, "w: .*zero must be a whole"),
    "a zero that is a float": (shared(zero=0.0), TypeError, "w: .*zero must be a whole"),
    "sparse numbers": (shared(numbers=torch.eye(2).long().to_sparse()), TypeError, "w: .*sparse"),
    "a codebook that is a list": (Shared([1.0], torch.zeros(1)), TypeError, "w: .*not a list"),
    "scales float64": (quantized(scale=torch.tensor(0.5).double()), TypeError, "w: scales are f"),
    "scales of 1e60": (quantized(scale=torch.tensor(1e60).double()), TypeError, "w: scales are f"),
    "scales of 1e-60": (quantized(scale=torch.tensor(1e-60).double()), TypeError, "w: scales are"),
    "scales float16": (quantized(scale=torch.tensor(0.5).half()), TypeError, "w: scales are f"),
    "scales int64": (quantized(scale=torch.tensor(1)), TypeError, "w: scales are float32"),
    "a scale of 0": (quantized(scale=0.0), ValueError, "w: scales are finite and above 0"),
    "a scale of NaN": (quantized(scale=float("nan")), ValueError, "w: scales are finite"),
    "an infinite scale": (quantized(scale=float("inf")), ValueError, "w: scales are finite"),
    "scales that do not fit": (quantized(scale=[1.0, 2.0]), ValueError, "w: .*do not fit"),
    "scales of more axes": (quantized(scale=torch.ones(1, 1, 1)), ValueError, "w: .*do not fit"),
    "zero points of floats": (quantized(zero_point=2.5), TypeError, "w: .*zero points integers"),
    "zero points of bool": (quantized(zero_point=True), TypeError, "w: .*zero points integers"),
    "zero points of 2^64": (
        quantized(zero_point=torch.tensor(2**64 - 1, dtype=torch.uint64)),
        TypeError,
        "w: .*zero points integers",
    ),
    "a zero point of 9": (quantized(zero_point=9), ValueError, "w: zero points of 4 bits are -8"),
    "a scale that is a number": (
        Quantized(torch.ones(1).char(), QParams(0.5, NONE)),
        TypeError,
        "w: .*not a float",
    ),
    "no parameters": (
        Quantized(torch.ones(1).char(), SimpleNamespace(num_bits=8)),
        TypeError,
        "w: .*QParams, not a SimpleNamespace",
    ),
    "integers int32": (
        Quantized(torch.ones(1).int(), QParams(ONE, NONE)),
        ValueError,
        "w: signed integers of 2 to 8 bits are stored, not torch.int32",
    ),
    "integers not signed": (
        quantized(torch.ones(1, dtype=torch.uint8), signed=False),
        ValueError,
        "w: signed",
    ),
    "one bit": (quantized(torch.zeros(1), bits=1), ValueError, "w: the number of bits .*not 1"),
    "nine bits": (quantized(bits=9), ValueError, "w: signed integers of 2 to 8 bits"),
    "bits of text": (quantized(bits="4"), TypeError, "w: the number of bits must be a whole"),
    "half a bit": (quantized(bits=4.5), TypeError, "w: the number of bits must be a whole"),
    "too much for the bits": (quantized([[9]]), ValueError, "w: integers of 4 bits are -8 to 7"),
    "the lowest, narrow": (quantized([[-8]], narrow=True), ValueError, "w: .*-7 to 7, not -8"),
    "a group of 0": (
        quantized(scale=torch.ones(2, 1), group=0),
        ValueError,
        "w: group must lie between 1",
    ),
    "a group of -1": (quantized(scale=torch.ones(2, 1), group=-1), ValueError, "w: group must"),
    "a group of 1.5": (quantized(scale=torch.ones(2, 1), group=1.5), TypeError, "w: group must"),
    "a group of no row": (quantized(group=2), ValueError, "w: groups are those of a row"),
    "a group of a scalar": (quantized(3, group=1), ValueError, "w: groups are those of a row"),
    "coded integers int64": (
        ArithmeticCoded(torch.ones(1).long(), ONE),
        TypeError,
        "w: .*torch.int64",
    ),
    "scaled integers int64": (Scaled(torch.ones(1).long(), ONE), TypeError, "w: .*torch.int64"),
    "scales of integers float64": (
        Scaled(torch.ones(1).char(), ONE.double()),
        TypeError,
        "w: .*float64",
    ),
    "scales of fewer axes": (scaled(scale=[1.0, 2.0, 3.0]), ValueError, r"w: scales of \(3,\)"),
    "scales of a larger shape": (scaled(scale=torch.ones(4, 1)), ValueError, r"w: .*\(4, 1\)"),
    "a scale of integers NaN": (
        scaled(scale=float("nan")),
        ValueError,
        "w: scales are finite, not .nan",
    ),
    "groups that do not fit": (
        quantized(scale=torch.ones(3, 2), group=2),
        ValueError,
        "w: .*do not fit",
    ),
}


@pytest.mark.parametrize(("part", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_come_back_is_refused_by_name(part, kind, message):
    with pytest.raises(kind, match=message):
        encode({"b": torch.ones(1), "w": part})


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (7, TypeError, "name is a text, not 7"),
        (None, TypeError, "name is a text, not None"),
        (b"w", TypeError, "name is a text, not b'w'"),
        (("fc", "weight"), TypeError, "name is a text, not"),
        ("", ValueError, "a name has 1 to 255 bytes, '' has 0"),
        ("w" * 256, ValueError, "has 256"),
        ("\U0001f600" * 64, ValueError, "has 256"),
        ("a\ud800", ValueError, r"'a\\ud800' is no text in Unicode"),
    ],
)
def test_names_that_no_file_holds(name, kind, message):
    with pytest.raises(kind, match=message):
        encode({name: torch.ones(1)})


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"code": 1}, ValueError),
        ({"gap_bits": True}, TypeError),
        ({"gap_bits": 3.0}, TypeError),
        ({"gap_bits": 0}, ValueError),
        ({"most": 1}, ValueError),
        ({"most": -1}, ValueError),
        ({"most": None}, TypeError),
    ],
    ids=str,
)
def test_options_that_are_none(options, kind):
    with pytest.raises(kind, match=next(iter(options))):
        encode({"w": shared(zero=0)}, **options)


@pytest.mark.parametrize("most", [None, "9", 9.5, True, -1, 2**35], ids=str)
def test_a_limit_that_is_none_is_refused_by_reader_and_writer(most):
    content = encode({"w": torch.ones(2)})
    kind = ValueError if type(most) is int else TypeError
    for call in (encode, {"w": torch.ones(2)}), (decode, content), (codec.regions, content):
        with pytest.raises(kind, match=r"most must (be|lie)") as refused:
            call[0](call[1], most=most)
        assert not isinstance(refused.value, CodecError)


def test_numpy_s_gap_bits_are_gap_bits():
    assert encode({"w": shared(zero=0)}, gap_bits=np.int64(3)) == encode(
        {"w": shared(zero=0)}, gap_bits=3
    )


def test_what_is_no_mapping_is_refused():
    for parts in ([torch.ones(1)], torch.ones(1), None):
        with pytest.raises(TypeError, match="parts must map names to tensors"):
            encode(parts)


@pytest.mark.parametrize("content", [None, "SHRK", 5, [83], torch.ones(3)], ids=str)
def test_what_is_no_bytes_is_no_file(content):
    with pytest.raises(CodecError, match=f"bytes, not a {type(content).__name__}"):
        decode(content)


def test_bytes_of_any_kind_are_read():
    content = encode({"w": torch.ones(2)})
    for kind in (bytes, bytearray, memoryview):
        assert decode(kind(content))["w"].tolist() == [1, 1]


def test_groups_of_a_scale_without_axes():
    content = "5348524b010101610101010801000000803f00051608bb61"
    with pytest.raises(CodecError, match=r"a, scales: \(\) do not fit the shape \(1,\)"):
        decode(bytes.fromhex(content))


# ---- any part, by all that it is made of

names = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 255)
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def tensors(draw):
    """Any bits, at times seen from another side."""
    shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(draw(seeds)).integers(0, 256, count, np.uint8)
    raw = torch.from_numpy(raw % 2 if dtype == torch.bool else raw)
    tensor = raw.view(dtype).view(shape) if count else torch.zeros(shape, dtype=dtype)
    turned = tensor.permute(draw(st.permutations(range(tensor.dim()))))
    return turned[::2] if turned.dim() and draw(st.booleans()) else turned


@st.composite
def shared_weights(draw):
    generator = torch.Generator().manual_seed(draw(seeds))
    k = draw(st.sampled_from([1, 2, 3, 16, 17, 255, 256]))
    values = torch.randn(k, generator=generator) * draw(st.sampled_from([1e-30, 1, 1e30]))
    values = values.half().float() if draw(st.booleans()) else values
    values = values.nan_to_num(0, 1, -1)
    used = draw(st.integers(1, k))
    kinds = [torch.int32, torch.int64, *([torch.uint8] if k <= 256 else [])]
    numbers = torch.randint(0, used, draw(shapes), generator=generator)
    zero = draw(st.none() | st.integers(0, k - 1))
    return Shared(values, numbers.to(draw(st.sampled_from(kinds))), zero)


@st.composite
def quantized_tensors(draw):
    shape, bits = draw(shapes), draw(st.integers(2, 8))
    generator = torch.Generator().manual_seed(draw(seeds))
    narrow, group = draw(st.booleans()), None
    low, high = -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1)
    q = torch.randint(low, high, shape, generator=generator, dtype=torch.int8)
    across = [draw(st.sampled_from([size, 1])) for size in shape]
    if shape and draw(st.booleans()):
        group = draw(st.integers(1, 7))
        across[-1] = -(-shape[-1] // group)
    leave = draw(st.integers(0, len(across))) if group is None else 0
    of_scale, of_zero_point = across[leave:], draw(st.sampled_from([across[leave:], across]))
    if group is None and draw(st.booleans()):
        of_zero_point = []
    scale = torch.rand(of_scale, generator=generator) + draw(st.sampled_from([1e-45, 1e-3, 3e38]))
    zero_point = torch.randint(low, high, of_zero_point, generator=generator)
    kind = draw(st.sampled_from([torch.int8, torch.int32, torch.int64]))
    p = QParams(scale, zero_point.to(kind), bits, narrow=narrow, group=group)
    return Quantized(q, p)


@given(
    parts=st.dictionaries(
        names, st.one_of(tensors(), shared_weights(), quantized_tensors()), max_size=4
    ),
    code=st.sampled_from([None, *codec.CODES]),
    gap_bits=st.sampled_from([None, 1, 3, 8]),
)
@settings(max_examples=depth.examples(2000))
def test_any_parts_come_back_bit_for_bit(parts, code, gap_bits):
    found = decode(encode(parts, code=code, gap_bits=gap_bits))
    assert list(found) == list(parts)
    for name, part in parts.items():
        assert same(found[name], meant(part)), name


# ---- one tensor under two names


def tied():
    """An embedding and a head of one weight, as a model's state has them."""
    embedding, head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
    head.weight = embedding.weight
    return nn.ModuleDict({"embedding": embedding, "head": head}).state_dict()


def test_a_tensor_under_two_names_is_stored_once_and_comes_back_under_both():
    state = tied()
    content = encode(state)
    assert len(content) < 50 * 8 * 4 + 80
    found = decode(content)
    assert list(found) == list(state) and found["head.weight"] is found["embedding.weight"]
    assert same(found["head.weight"], state["head.weight"])
    assert encode(found) == content


def test_a_shared_or_quantized_weight_under_two_names_too():
    for part in (sharing.share(torch.randn(20, 30), 4), quantized(torch.ones(20, 30))):
        once, twice = encode({"a": part}), encode({"a": part, "b": part})
        assert len(twice) <= len(once) + 5
        assert same(decode(twice)["b"], meant(part))


def test_views_of_one_memory_are_tensors_of_their_own():
    w = torch.arange(12.0).view(3, 4)
    parts = {"w": w, "rows": w[:2], "turned": w.T, "flat": w.view(-1), "bits": w.view(torch.int32)}
    parts |= {"one": w[:1, :1], "again": w[:1, :1].T, "empty": w[:0], "none": w[3:]}
    found = decode(encode(parts))
    assert all(same(found[name], part) for name, part in parts.items())


def test_only_a_file_with_one_tensor_twice_is_of_version_2():
    assert encode({"a": torch.ones(2), "b": torch.ones(2)})[4] == 1
    w = torch.ones(2)
    assert encode({"a": w, "b": w})[4] == 2


def test_only_a_file_with_coded_integers_is_of_version_3():
    w = torch.ones(2)
    assert encode({"s": scaled(), "a": w, "b": w})[4] == 3
    content = encode({"s": scaled()})
    for version in (1, 2):
        with pytest.raises(CodecError, match=r"s, shape: must be 0 to \d, not 5"):
            decode(heavy.signed(content[:4] + bytes([version]) + content[5:-4]))


def test_signs_take_a_bit_each_and_zeros_less_than_their_two():
    signs = torch.arange(8000).view(80, 100) % 2 * 2 - 1
    assert len(encode({"w": scaled(signs)}, code="fixed")) < 1000 + 40
    generator = torch.Generator().manual_seed(0)
    mostly_zero = (torch.rand(80, 100, generator=generator) < 0.1) * signs
    assert len(encode({"w": scaled(mostly_zero, torch.ones(80, 1))})) < 600 + 320 + 60


def test_a_tensor_cannot_be_one_that_comes_later_nor_of_another_shape():
    w = torch.ones(300)
    content = encode({"a": w, "b": w})
    assert decode(content, expected={"a": (300,), "b": (300,)})["b"].shape == (300,)
    with pytest.raises(CodecError, match=r"b, tied: is \(300,\), not \(3,\)"):
        decode(content, expected={"a": (300,), "b": (3,)})
    with pytest.raises(CodecError, match="b, tied: to tensor 1, of 1 before it"):
        decode(heavy.signed(content[:-5] + b"\1"))
    with pytest.raises(CodecError, match=r"b, tied: \(300,\) is more than the 299 numbers"):
        decode(content, most=599)
    with pytest.raises(CodecError, match="b, shape: must be 0 to 3, not 4"):
        decode(heavy.signed(content[:4] + b"\1" + content[5:-4]))


# ---- work


@pytest.mark.parametrize("what", list(heavy.BODIES)[:: 1 if depth.DEEP else 5])
def test_the_work_for_a_file_of_1_mb_is_limited(what):
    """About a second; without limits on the work the heaviest took half a minute."""
    content = heavy.heavy(what)
    began = time.process_time()
    with contextlib.suppress(CodecError):
        decode(content)
    assert time.process_time() - began < 8


def test_who_writes_keeps_the_limits_of_who_reads():
    """With a code asked for it is refused, without one another is taken."""
    parts = {f"w{i}": sharing.share(torch.randn(64, 64), 15) for i in range(16)}
    with pytest.raises(ValueError, match=r"w\d+: .* steps to decode are more than"):
        encode(parts, code="ans", gap_bits=3)
    content = encode(parts, code="ans", gap_bits=3, most=2**22)
    with pytest.raises(CodecError, match="steps to decode are more than"):
        decode(content)
    assert same(decode(content, most=2**22)["w15"], parts["w15"].weight)
    assert same(decode(encode(parts, gap_bits=3))["w15"], parts["w15"].weight)


# ---- the coders themselves

NOT_PLAIN = [
    torch.eye(3).to_sparse(),
    torch.eye(3).to_sparse_csr(),
    torch.eye(3, device="meta"),
    torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8),
    torch.eye(3).as_subclass(Own),
    None,
]


@pytest.mark.parametrize("given", NOT_PLAIN, ids=lambda given: str(getattr(given, "layout", "")))
def test_what_is_no_plain_tensor_is_refused_by_each_coder(given):
    one = torch.ones(1, dtype=torch.long)
    numbers = given.int() if isinstance(given, torch.Tensor) and not given.is_quantized else given
    for format in sparse.FORMATS:
        with pytest.raises(TypeError, match="weight"):
            sparse.encode(given, format)
    for call, name in (
        (lambda: huffman.code_lengths(numbers), "counts"),
        (lambda: huffman.encode(numbers, one), "symbols"),
        (lambda: huffman.decode(numbers, one, 1), "stream"),
        (lambda: ans.quantize_counts(numbers), "counts"),
        (lambda: ans.encode(one, numbers), "frequencies"),
        (lambda: ans.decode(numbers, one, 1), "stream"),
    ):
        with pytest.raises(TypeError, match=name):
            call()


# ---- integers of one arithmetic code


@st.composite
def coded_integers(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    shape = draw(st.lists(st.integers(0, 6), max_size=4))
    q = torch.randint(-128, 128, shape, generator=generator)
    q = q >> draw(st.integers(0, 7))
    kept = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    scales = [draw(st.sampled_from([size, 1])) for size in shape] if draw(st.booleans()) else []
    scale = torch.rand(scales, generator=generator) - 0.5
    scale = scale.half().float() if draw(st.booleans()) else scale
    return ArithmeticCoded((q * kept).to(torch.int8), scale)


@given(
    parts=st.dictionaries(names, st.one_of(coded_integers(), tensors()), min_size=1, max_size=5),
)
@settings(max_examples=depth.examples(200))
def test_integers_of_one_arithmetic_code_come_back_bit_for_bit(parts):
    content = encode(parts)
    found = decode(content, expected={name: tuple(meant(p).shape) for name, p in parts.items()})
    assert list(found) == list(parts)
    for name, part in parts.items():
        assert same(found[name], meant(part) if isinstance(part, Scaled) else part), name
    regions = codec.regions(content)
    assert [r.start for r in regions[1:]] == [r.end for r in regions[:-1]]
    assert (regions[0].start, regions[-1].end) == (0, len(content))


def few(seed=0, shape=(60, 50), kept=0.05):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-3, 4, shape, generator=generator)
    return (q * (torch.rand(shape, generator=generator) < kept)).to(torch.int8)


def test_a_file_of_one_arithmetic_code_is_shorter_than_of_tables():
    weights = {f"fc{i}.weight": few(i) for i in range(4)}
    short, plain = (
        len(encode({name: kind(q, torch.tensor(0.5)) for name, q in weights.items()}))
        for kind in (ArithmeticCoded, Scaled)
    )
    assert short < 0.9 * plain


def test_what_comes_twice_in_an_arithmetic_code_is_stored_once():
    part = ArithmeticCoded(few(), torch.tensor(0.5))
    once, twice = encode({"a": part}), encode({"a": part, "b": part})
    assert len(twice) == len(once) + 5
    found = decode(twice)
    assert found["a"] is found["b"] and same(found["b"], meant(part))


def test_an_arithmetic_code_takes_no_more_work_than_is_allowed():
    part = ArithmeticCoded(torch.ones(900, 900, dtype=torch.int8), torch.tensor(0.5))
    with pytest.raises(ValueError, match="steps to decode are more than the"):
        encode({"w": part})
    content = encode({"w": part}, most=2**25)
    with pytest.raises(CodecError, match=r"arithmetic code: .* steps to decode are more than"):
        decode(content)
    assert same(decode(content, most=2**25)["w"], meant(part))


def test_bytes_after_an_arithmetic_code_are_refused():
    content = encode({"w": ArithmeticCoded(few(), torch.tensor(0.5))})
    with pytest.raises(CodecError, match=r"arithmetic code: . bytes are left over"):
        decode(repaired(content[:-4] + bytes(9) + content[-4:]))
