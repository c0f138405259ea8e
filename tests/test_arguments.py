"""Whole numbers of Python, numpy and torch are taken wherever one is asked for; a bool never is."""

import numpy as np
import pytest
import torch

from shrink import cost, latency, pruning, quantization, sharing
from shrink.arguments import whole
from shrink.classroom import formats, models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, predict, train
from shrink.coding import ans, huffman, sparse
from shrink.distillation import best_bias, build_regressor
from shrink.quantization.calibration import Calibrator, entropy_threshold
from shrink.quantization.conversion import quantize_dynamically, quantize_model
from shrink.quantization.integer import wrap

W = torch.tensor([3.0, -1.0, 0.0, 0.5, 2.0, -4.0])
PACKED = quantization.pack_bits(torch.arange(200) % 8, 3)
LAYER = cost.Layer("fc", macs=600, parameters=800, inputs=30, outputs=20)
WEIGHT = {"fc1.weight": torch.ones(4, 3), "fc2.weight": torch.ones(2, 4)}
COUNTS, SYMBOLS = torch.tensor([90, 0, 9, 1]), torch.tensor([0, 2, 3])
HUFFMAN = huffman.encode(SYMBOLS, lengths := huffman.code_lengths(COUNTS)), lengths
ANS = ans.encode(SYMBOLS, frequencies := ans.quantize_counts(COUNTS, 4)), frequencies


def gradual(every):
    w = torch.nn.Parameter(W.clone())
    sgd = torch.optim.SGD([w], lr=0.1)
    with pruning.prune_gradually({"w": w}, sgd, lambda step: step / 10, every=every) as masks:
        for _ in range(4):
            w.sum().backward()
            sgd.step()
    return masks["w"]


def tickets(rounds=2, rewind_to=0, reports=1):
    """The masks of the last round, and the weights that it began with."""
    net, began = torch.nn.Linear(6, 1, bias=False), []
    net.weight = torch.nn.Parameter(W[None].clone())

    @torch.no_grad()
    def train(net, masks, watch):
        began.append(net.weight.tolist())
        net.weight.mul_(2)
        watch(reports)

    masks = {"weight": torch.ones(1, 6, dtype=torch.bool)}
    found = list(pruning.find_tickets(net, train, masks, 0.3, rounds, rewind_to=rewind_to))
    return found[-1].masks["weight"].tolist(), began


def quantized(**options):
    """What is left of W in a few bits, and so of all that its integers and their range are."""
    return quantization.fake_quantize(W, quantization.qparams_of(W, **options))


def converted(how, **options):
    layer = torch.nn.Linear(6, 1)
    torch.nn.init.constant_(layer.weight, 0.3)
    torch.nn.init.zeros_(layer.bias)
    return how(layer, **options)(W[None])


def statically(layer, **options):
    return quantize_model(layer, W.repeat(5, 1), **options)


def calibrated(method, num_bits):
    calibrator = Calibrator(method, num_bits)
    calibrator.see(W)
    return calibrator.qparams().scale


def trained(seed):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2, bias=False))
    torch.nn.init.ones_(model[1].weight)
    split = Split(torch.arange(8.0).view(8, 1, 1, 1) / 8, torch.arange(8) % 2)
    train(model, split, Recipe(epochs=1, batch_size=2), seed=seed)
    return model[1].weight


# For each argument that is a whole number: a number that is right, and what is made with it.
ASKED = {
    "share k": (2, lambda n: sharing.share(W, n).assignments),
    "share seed": (3, lambda n: sharing.share(W, 2, "random", seed=n).codebook),
    "fit_codebook k": (3, lambda n: sharing.fit_codebook(W, n)),
    "initial_codebook k": (200, lambda n: sharing.initial_codebook(W, n)),
    "initial_codebook seed": (5, lambda n: sharing.initial_codebook(W, 2, "random", seed=n)),
    "optimal_codebook k": (2, lambda n: sharing.optimal_codebook(W, n)),
    "optimal_codebooks most": (2, lambda n: sharing.optimal_codebooks(W, n)[-1]),
    "num_bytes count": (200, lambda n: sharing.num_bytes(n, 16)),
    "num_bytes k": (200, lambda n: sharing.num_bytes(1000, n)),
    "centroid_gradient k": (
        2,
        lambda n: sharing.centroid_gradient(W, torch.tensor([0, 0, 1, 1, 0, 0]), n),
    ),
    "encode gap_bits": (3, lambda n: sparse.encode(W, "relative", n)["gaps"]),
    "encode_relative gap_bits": (3, lambda n: sparse.encode_relative(W, n)["values"]),
    "relative_indices gap_bits": (8, lambda n: sparse.relative_indices(W, n)[0]),
    "break_even rows": (100, lambda n: sparse.break_even("csr", n, 7)),
    "break_even columns": (100, lambda n: sparse.break_even("bitmap", 7, n)),
    "break_even value_bits": (64, lambda n: sparse.break_even("relative", 7, 9, n)),
    "break_even gap_bits": (5, lambda n: sparse.break_even("relative", 7, 9, 32, n)),
    "huffman max_length": (4, lambda n: huffman.code_lengths(COUNTS, n)),
    "huffman count": (3, lambda n: huffman.decode(*HUFFMAN, n)),
    "ans precision": (8, lambda n: ans.quantize_counts(COUNTS, n)),
    "ans count": (3, lambda n: ans.decode(*ANS, n)),
    "shuffle_masks seed": (7, lambda n: pruning.shuffle_masks({"w": W > 0}, n)["w"]),
    "prune_gradually every": (2, gradual),
    "count_survivors size": (9, lambda n: pruning.count_survivors(n, 0.2, 3)),
    "count_survivors rounds": (4, lambda n: pruning.count_survivors(50, 0.2, n)),
    "kept_shares rounds": (4, lambda n: pruning.kept_shares(WEIGHT, 0.2, n)),
    "find_tickets rounds": (2, lambda n: tickets(rounds=n)),
    "find_tickets rewind_to": (1, lambda n: tickets(rewind_to=n)),
    "find_tickets step": (4, lambda n: tickets(reports=n)),
    "strongest_units count": (
        2,
        lambda n: pruning.strongest_units(WEIGHT, ["fc1", "fc2"], [n])[0],
    ),
    "fill_up size": (9, lambda n: pruning.fill_up(W, [n])),
    "best_bias missing": (1, lambda n: best_bias(torch.eye(3), torch.arange(3), n)),
    "build_regressor seed": (4, lambda n: build_regressor([2], [3], seed=n).weight),
    "models.build seed": (4, lambda n: models.build("lenet-300-100", n).fc3.weight),
    "train seed": (2, trained),
    "Recipe epochs": (3, lambda n: repr(Recipe(n))),
    "Recipe batch_size": (3, lambda n: repr(Recipe(1, batch_size=n))),
    "predict batch_size": (
        2,
        lambda n: predict(models.build("lenet-300-100", 0), torch.ones(3, 1, 28, 28), n),
    ),
    "qparams_of num_bits": (8, lambda n: quantized(num_bits=n)),
    "qparams_of unsigned num_bits": (8, lambda n: quantized(num_bits=n, signed=False)),
    "qparams_of axis": (0, lambda n: quantized(axis=n)),
    "qparams_of group": (4, lambda n: quantized(group=n)),
    "pack_bits num_bits": (7, lambda n: quantization.pack_bits(torch.arange(100), n)),
    "unpack_bits num_bits": (3, lambda n: quantization.unpack_bits(PACKED, n, 200)),
    "unpack_bits count": (200, lambda n: quantization.unpack_bits(PACKED, 3, n)),
    "wrap num_bits": (8, lambda n: wrap(torch.arange(300), n)),
    "calibrator num_bits": (8, lambda n: calibrated("entropy", n)),
    "calibrator num_bits, squared error": (8, lambda n: calibrated("squared error", n)),
    "entropy_threshold levels": (4, lambda n: entropy_threshold(np.array([5, 9, 2, 7, 0, 1]), n)),
    "dynamic weight_bits": (8, lambda n: converted(quantize_dynamically, weight_bits=n)),
    "dynamic activation_bits": (8, lambda n: converted(quantize_dynamically, activation_bits=n)),
    "static weight_bits": (8, lambda n: converted(statically, weight_bits=n)),
    "static activation_bits": (8, lambda n: converted(statically, activation_bits=n)),
    "static batch_size": (2, lambda n: converted(statically, batch_size=n)),
    "pack_quantized num_bits": (
        8,
        lambda n: formats.pack_quantized({"w": W.view(2, 3)}, n)["w/q"],
    ),
    "intensity batch": (200, lambda n: cost.intensity(LAYER, n)),
    "intensity num_bits": (16, lambda n: cost.intensity(LAYER, 100, n)),
    "prices num_bits": (8, lambda n: cost.prices(8192, n).mac),
    "energy batch": (200, lambda n: cost.energy([LAYER], 4000, n)),
    "energy num_bits": (32, lambda n: cost.energy([LAYER], 4000, num_bits=n)),
    "layer_energy batch": (200, lambda n: cost.layer_energy(LAYER, cost.prices(8192), 9, n)),
    "share_room batch": (200, lambda n: cost.share_room([LAYER], 900, n)[0][0]),
    "conv_macs size": (100, lambda n: cost.conv_macs(torch.nn.Conv2d(3, 40, 3), (n, n))),
    "time_call runs": (2, lambda n: len(latency.time_call(lambda: None, 0, n))),
    "time_call warm_up": (2, lambda n: len(latency.time_call(lambda: None, n, 1))),
    "build_regressor size": (4, lambda n: build_regressor([n], [3]).weight),
}
OPTIONAL = {
    "find_tickets rewind_to",
    "qparams_of axis",
    "qparams_of group",
    "huffman max_length",
}  # None is no number
KINDS = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int32": np.int32,
    "int64": np.int64,
    "an array without axes": np.array,
    "a tensor without axes": torch.tensor,
    "a tensor of int16": lambda n: torch.tensor(n, dtype=torch.int16),
}
NO_WHOLE_NUMBERS = {
    "True": lambda n: True,
    "numpy's True": lambda n: np.True_,
    "torch's True": lambda n: torch.tensor(True),
    "a float": float,
    "numpy's float": np.float32,
    "torch's float": lambda n: torch.tensor(float(n)),
    "text": str,
    "a list": lambda n: [n],
    "a tensor with an axis": lambda n: torch.tensor([n]),
    "None": lambda n: None,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ASKED)
def test_whole_numbers_of_every_kind_are_taken(what, kind):
    number, make = ASKED[what]
    if kind == "int8" and number > 127:
        pytest.skip("too large for this type")
    found, right = make(KINDS[kind](number)), make(number)
    assert type(found) is type(right)
    assert found.equal(right) if isinstance(right, torch.Tensor) else found == right


@pytest.mark.parametrize("kind", NO_WHOLE_NUMBERS)
@pytest.mark.parametrize("what", ASKED)
def test_what_is_no_whole_number_is_named(what, kind):
    if kind == "None" and what in OPTIONAL:
        pytest.skip("this argument need not be given")
    number, make = ASKED[what]
    bad = NO_WHOLE_NUMBERS[kind](number)
    with pytest.raises((TypeError, ValueError)) as caught:
        make(bad)
    assert str(bad) in str(caught.value)


def test_a_count_in_eight_bits_does_not_wrap():
    assert whole(np.uint8(200)) * 4 == 800
    assert sharing.num_bytes(np.uint8(200), np.uint8(200)) == 200 + 800


def test_sparsities_are_real_numbers():
    for number in (0.5, np.float16(0.5), np.float64(0.5)):
        assert pruning.magnitude_mask(W, number).sum() == 3
    assert pruning.cubic_sparsity(np.int64(2), end=np.int32(4), final=np.float32(0.5)) > 0
    for bad in ({"end": True, "final": 0.5}, {"end": 4, "final": "0.5"}, {"end": None, "final": 1}):
        with pytest.raises(TypeError, match="must be a number, not"):
            pruning.cubic_sparsity(2, **bad)
