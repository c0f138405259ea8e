"""Quantized and shared weights in a file: back comes what was stored, in as many bytes as said."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shrink import quantization, sharing
from shrink.classroom import formats, measure, models
from shrink.coding import sparse

HOW = [
    {"symmetric": True},
    {"symmetric": True, "narrow": True, "axis": 0},
    {"axis": 1},
    {"group": 7},
    {"symmetric": True, "group": 64},
]


def state(seed=0):
    """Layers of two and four axes, one of zeros, and a bias."""
    g = torch.Generator().manual_seed(seed)
    return {
        "fc.weight": torch.randn(5, 13, generator=g) + 1,
        "conv.weight": torch.randn(4, 3, 2, 2, generator=g),
        "dead.weight": torch.zeros(3, 2),
        "fc.bias": torch.randn(5, generator=g),
    }


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("num_bits", range(2, 9))
def test_what_comes_back_is_what_fake_quantization_leaves(num_bits, how, tmp_path):
    given = state()
    measure.write(tmp_path / "q", formats.pack_quantized(given, num_bits, **how))
    back = formats.unpack_quantized(measure.read(tmp_path / "q"))
    assert back.keys() == given.keys()
    assert torch.equal(back["fc.bias"], given["fc.bias"])
    for name in ("fc.weight", "conv.weight", "dead.weight"):
        p = quantization.qparams_of(given[name], num_bits, **how)
        assert torch.equal(back[name], quantization.fake_quantize(given[name], p))


def test_the_state_is_left_as_it_was():
    given = state()
    formats.pack_quantized(given, 3)
    assert all(torch.equal(given[name], tensor) for name, tensor in state().items())


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_integers_take_as_many_bytes_as_their_bits(num_bits):
    arrays = formats.pack_quantized(state(), num_bits)
    for name, count in {"fc.weight": 65, "conv.weight": 48}.items():
        assert arrays[f"{name}/q"].nbytes == math.ceil(count * num_bits / 8)


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize(("num_bits", "times"), [(8, 4), (4, 8)])
def test_a_network_s_file_is_so_many_times_shorter(name, num_bits, times):
    """Within 3 %, and what is no weight's integer: float biases, a scale a channel, the header."""
    net = models.build(name, seed=0).state_dict()
    arrays = formats.pack_quantized(net, num_bits, symmetric=True, axis=0)
    integers = sum(array.nbytes for part, array in arrays.items() if part.endswith("/q"))
    weights = sum(tensor.nbytes for tensor in net.values() if tensor.dim() > 1)
    assert weights == times * integers
    overhead = measure.size(arrays) - integers
    assert measure.size(net) / times == pytest.approx(measure.size(arrays) - overhead, rel=0.03)
    assert overhead < 6000


def test_zero_points_are_stored_where_there_are_any():
    weight = {"w": torch.tensor([[0.0, 1.0, 2.0]])}
    assert "w/zero_point" in formats.pack_quantized(weight, 4)
    assert "w/zero_point" not in formats.pack_quantized(weight, 4, symmetric=True)


@pytest.mark.parametrize("num_bits", [1, 9, 16])
def test_bits_that_no_byte_holds_are_refused(num_bits):
    with pytest.raises(ValueError, match=f"num_bits must lie between 2 and 8, not {num_bits}"):
        formats.pack_quantized(state(), num_bits)


def test_arrays_that_contradict_each_other_are_refused():
    arrays = formats.pack_quantized(state(), 4)
    with pytest.raises(ValueError, match="are not"):
        formats.unpack_quantized(arrays | {"fc.weight/q": arrays["fc.weight/q"][:-1]})


# ---- shared


def shared_state(k, sparsity=0.0):
    """A model's tensors, its weights shared with k values besides the zeros, and the parts."""
    given = state()
    for name in ("fc.weight", "conv.weight"):
        given[name][torch.rand(given[name].shape, generator=torch.Generator()) < sparsity] = 0
    shared = {n: sharing.share(w, k, "density") for n, w in given.items() if w.dim() > 1}
    return given | {name: one.weight for name, one in shared.items()}, shared


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.95, 1])
@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 15, 40])
def test_what_comes_back_is_what_was_shared(k, sparsity, tmp_path):
    given, shared = shared_state(k, sparsity)
    measure.write(tmp_path / "s", formats.pack_shared(given, shared))
    back = formats.unpack_shared(measure.read(tmp_path / "s"))
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in given.items())


def test_a_trained_codebook_is_what_comes_back():
    given, shared = shared_state(4, 0.9)
    one = shared["fc.weight"]
    moved = torch.where(torch.arange(len(one.codebook)) == one.zero, 0, one.codebook + 5)
    shared["fc.weight"] = sharing.Shared(moved, one.assignments, one.zero)
    back = formats.unpack_shared(formats.pack_shared(given, shared))
    assert torch.equal(back["fc.weight"], moved[one.assignments.long()])
    assert torch.equal(back["fc.weight"] == 0, given["fc.weight"] == 0)


@pytest.mark.parametrize(("k", "bits"), [(1, 0), (2, 1), (3, 2), (16, 4), (17, 5), (256, 8)])
def test_numbers_take_as_many_bytes_as_their_bits_and_values_four(k, bits):
    weight = {"w": torch.randn(60, 50, generator=torch.Generator().manual_seed(0))}
    shared = {"w": sharing.share(weight["w"], k, "density")}
    arrays = formats.pack_shared(weight, shared)
    assert arrays["w/numbers"].nbytes == math.ceil(3000 * bits / 8)
    assert arrays["w/codebook"].nbytes == 4 * k
    parts = arrays["w/numbers"].nbytes + arrays["w/codebook"].nbytes
    assert parts == sharing.num_bytes(3000, k)
    assert torch.equal(formats.unpack_shared(arrays)["w"], shared["w"].weight)


@pytest.mark.parametrize(("sparsity", "gaps"), [(0.02, False), (0.9, True)])
def test_zeros_are_left_out_where_that_is_shorter(sparsity, gaps):
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 40, generator=g) * (torch.rand(50, 40, generator=g) >= sparsity)
    shared = {"w": sharing.share(weight, 15)}
    arrays = formats.pack_shared({"w": weight}, shared)
    assert ("w/gaps" in arrays) == gaps
    if gaps:
        entries = int(arrays["w/layout"][0])
        assert (weight != 0).sum() <= entries < 300
        assert arrays["w/numbers"].nbytes == math.ceil(entries * 4 / 8)
        assert arrays["w/gaps"].nbytes == math.ceil(entries * 5 / 8)
    assert torch.equal(formats.unpack_shared(arrays)["w"], shared["w"].weight)


def test_more_values_than_a_byte_tells_apart_are_refused():
    given, shared = {"w": torch.randn(30, 30)}, {}
    shared["w"] = sharing.share(given["w"], 300, "density")
    with pytest.raises(ValueError, match="at most 256 values, not 300"):
        formats.pack_shared(given, shared)
    with pytest.raises(ValueError, match="there is no v among the tensors"):
        formats.pack_shared(given, {"v": shared["w"]})


def test_shared_arrays_that_contradict_each_other_are_refused():
    for k, what in ((5, "numbers of 3 bits are not"), (200, "are not 65 numbers of 8 bits")):
        weight = {"w": state()["fc.weight"]}
        shared = {"w": sharing.Shared(torch.arange(k).float(), torch.zeros(5, 13).byte())}
        arrays = formats.pack_shared(weight, shared)
        with pytest.raises(ValueError, match=what):
            formats.unpack_shared(arrays | {"w/numbers": arrays["w/numbers"][:-1]})
    shared = {"w": sharing.Shared(torch.arange(5.0), torch.full((5, 13), 4).byte())}
    arrays = formats.pack_shared(weight, shared) | {"w/codebook": torch.arange(5.0)}
    arrays["w/numbers"] = torch.full_like(arrays["w/numbers"], 255)
    with pytest.raises(ValueError, match="w: has number 7 of 5 values"):
        formats.unpack_shared(arrays)


# ---- what is no weight, and what is no tensor that a file holds

DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.float8_e4m3fn),
)
WAYS = {
    **{
        format: (
            lambda given, format=format: formats.pack(given, format),
            lambda arrays, format=format: formats.unpack(arrays, format),
        )
        for format in sparse.FORMATS
    },
    "quantized": (lambda given: formats.pack_quantized(given, 8), formats.unpack_quantized),
    "shared": (lambda given: formats.pack_shared(given, {}), formats.unpack_shared),
}


def same(a, b):
    """Bit for bit."""
    bits = [t.contiguous().flatten().view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_weight_comes_back_as_it_is(way, dtype, tmp_path):
    pack, unpack = WAYS[way]
    ids = torch.arange(512)[None] % 251
    given = {"ids": ids.to(dtype), "one": (ids[0] > 3).to(dtype), "scalar": ids[0, 7].to(dtype)}
    given |= {"weight": torch.eye(3), "cube": ids.view(8, 8, 8).to(dtype)}
    measure.write(tmp_path / "file", pack(given))
    back = unpack(measure.read(tmp_path / "file"))
    assert back.keys() == given.keys()
    assert all(same(back[name], tensor) for name, tensor in given.items())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (), (0, 2, 0)], ids=str)
def test_weights_without_numbers_come_back(way, shape, tmp_path):
    pack, unpack = WAYS[way]
    given = {"w": torch.zeros(shape)}
    measure.write(tmp_path / "file", pack(given))
    assert unpack(measure.read(tmp_path / "file"))["w"].shape == shape
    assert unpack(pack({})) == {}


@pytest.mark.parametrize("dtype", formats.FLOATS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_a_weight_comes_back_in_its_type(way, dtype):
    pack, unpack = WAYS[way]
    weight = torch.tensor([[0, 1, 2], [-1, 0, 127]], dtype=dtype)
    back = unpack(pack({"w": weight}))["w"]
    assert back.dtype == dtype and torch.allclose(back, weight, atol=1)


def test_a_float32_weight_has_no_array_of_its_type():
    assert not any("like" in name for name in formats.pack_quantized(state(), 4))


REFUSED = {
    "sparse": (torch.eye(3).to_sparse(), "w: .*sparse_coo"),
    "csr": (torch.eye(3).to_sparse_csr(), "w: .*sparse_csr"),
    "meta": (torch.eye(3, device="meta"), "w: .*meta"),
    "a bias on meta": (torch.ones(3, device="meta"), "w: .*meta"),
    "quantized": (torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "w: .*quantized"),
    "an array": (np.eye(3), "w: .*plain tensor, not a ndarray"),
    "nothing": (None, "w: .*not a NoneType"),
    "of no size yet": (nn.LazyLinear(3).weight, "w: .*UninitializedParameter"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_tensor_is_refused_by_name(way, what):
    tensor, message = REFUSED[what]
    with pytest.raises(TypeError, match=message):
        WAYS[way][0]({"b": torch.ones(2), "w": tensor})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["a/b", "/", "w/", "/w", "", "w/q", 7, None, "a\ud800"])
def test_names_with_a_slash_or_none_are_refused(way, name):
    for tensor in (torch.eye(2), torch.ones(2)):
        with pytest.raises((TypeError, ValueError), match="name"):
            WAYS[way][0]({name: tensor})


def test_a_format_that_is_none_is_refused_without_a_weight_too():
    with pytest.raises(ValueError, match=r"format must be one of dense, .*, not 'zip'"):
        formats.pack({"b": torch.ones(2)}, "zip")
    with pytest.raises(ValueError, match="not 'zip'"):
        formats.unpack({"b": torch.ones(2)}, "zip")
    with pytest.raises(TypeError, match="a state maps names"):
        formats.pack([torch.ones(2)], "csr")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arrays", [None, [1], {7: torch.ones(2)}, {"w/q": [1]}, {"w": None}])
def test_arrays_that_are_none_are_refused(way, arrays):
    with pytest.raises(TypeError, match=r"arrays must map|name is a text|must be a plain tensor"):
        WAYS[way][1](arrays)


def test_numbers_beyond_float32_are_refused_by_name():
    with pytest.raises(ValueError, match=r"w: .*infinite"):
        formats.pack_quantized({"w": torch.full((2, 2), 1e300, dtype=torch.float64)}, 4)


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_under_two_names_takes_the_bytes_of_one(way, tmp_path):
    embedding, head = nn.Embedding(100, 20), nn.Linear(20, 100)
    head.weight = embedding.weight
    given = nn.ModuleDict({"embedding": embedding, "head": head}).state_dict()
    pack, unpack = WAYS[way]
    length = measure.write(tmp_path / "file", pack(given))
    alone = {name: tensor for name, tensor in given.items() if name != "head.weight"}
    assert length < measure.size(pack(alone)) + 500
    back = unpack(measure.read(tmp_path / "file"))
    assert back.keys() == given.keys()
    assert same(back["head.weight"], back["embedding.weight"])


def test_a_shared_weight_that_contradicts_itself_is_refused_by_name():
    weight, numbers = {"w": torch.zeros(2, 2)}, torch.zeros(2, 2).byte()
    values = torch.tensor([0.0, 1.0])
    for one, kind, message in (
        (sharing.Shared(values, numbers, 7), ValueError, "w: the number of the zero .*not 7"),
        (sharing.Shared(values, numbers, -1), ValueError, "w: the number of the zero .*not -1"),
        (sharing.Shared(values, numbers + 2), ValueError, "w: numbers into 2 values"),
        (sharing.Shared(values[None], numbers), ValueError, "w: a codebook has one axis"),
        (sharing.Shared(values, numbers[0]), ValueError, r"w: .*\(2,\) and \(2, 2\)"),
        (sharing.Shared(values, numbers.float()), TypeError, "w: numbers .* integers"),
        (torch.zeros(2, 2), TypeError, "w: must be a Shared, not a Tensor"),
    ):
        with pytest.raises(kind, match=message):
            formats.pack_shared(weight, {"w": one})


def test_the_zero_s_value_comes_back_whatever_it_is():
    numbers = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1]] * 40)
    for value in (0.0, -0.0, 0.5):
        one = sharing.Shared(torch.tensor([value, 2.0]), numbers, 0)
        arrays = formats.pack_shared({"w": one.weight}, {"w": one})
        assert "w/gaps" in arrays and same(formats.unpack_shared(arrays)["w"], one.weight)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w/q": torch.ones(4).char()}, "w: its arrays must be q, scale, layout, not q"),
        ({"w/zip": torch.ones(4)}, "w: its arrays must be q"),
        ({"w/layout": torch.tensor([8, 0, -1])}, "w: "),
        ({"w/layout": torch.tensor([9, 0, 2, 2])}, "w: "),
        ({"w/layout": torch.tensor([8, 0, 2, 3])}, "w: "),
        ({"w/layout": torch.tensor([8, -2, 2, 2])}, "w: "),
        ({"w/layout": torch.tensor([8])}, "w: "),
        ({"w/layout": torch.tensor(8)}, "w: "),
        ({"w/scale": torch.ones(3, 1)}, "w: "),
        ({"w/zero_point": torch.ones(3, 1)}, "w: "),
    ],
    ids=str,
)
def test_foreign_arrays_are_refused_by_name(arrays, message):
    whole = formats.pack_quantized({"w": torch.eye(2)}, 8, symmetric=True)
    given = arrays if len(message) > 3 else whole | arrays
    with pytest.raises(ValueError, match=message):
        formats.unpack_quantized(given)
