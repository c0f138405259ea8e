"""Quantized and shared weights in a file: back comes what was stored, in as many bytes as said."""

import math

import pytest
import torch

from shrink import quantization, sharing
from shrink.classroom import formats, measure, models

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
    with pytest.raises(ValueError, match=f"2 to 8 bits, got {num_bits}"):
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
    with pytest.raises(ValueError, match="w has number 7 of 5 values"):
        formats.unpack_shared(arrays)
