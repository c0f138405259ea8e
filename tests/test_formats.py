"""Quantized weights in a file: back comes what was quantized, from as many bytes as it says."""

import math

import pytest
import torch

from shrink import quantization
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
