"""Whole numbers of Python, numpy and torch are taken wherever one is asked for; a bool never is."""

import numpy as np
import pytest
import torch

from shrink import pruning, sharing
from shrink.arguments import whole
from shrink.classroom import models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train
from shrink.coding import sparse
from shrink.distillation import best_bias, build_regressor

W = torch.tensor([3.0, -1.0, 0.0, 0.5, 2.0, -4.0])
WEIGHT = {"fc1.weight": torch.ones(4, 3), "fc2.weight": torch.ones(2, 4)}


def gradual(every):
    w = torch.nn.Parameter(W.clone())
    sgd = torch.optim.SGD([w], lr=0.1)
    with pruning.prune_gradually({"w": w}, sgd, lambda step: step / 10, every=every) as masks:
        for _ in range(4):
            w.sum().backward()
            sgd.step()
    return masks["w"]


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
    "shuffle_masks seed": (7, lambda n: pruning.shuffle_masks({"w": W > 0}, n)["w"]),
    "prune_gradually every": (2, gradual),
    "strongest_units count": (
        2,
        lambda n: pruning.strongest_units(WEIGHT, ["fc1", "fc2"], [n])[0],
    ),
    "fill_up size": (9, lambda n: pruning.fill_up(W, [n])),
    "best_bias missing": (1, lambda n: best_bias(torch.eye(3), torch.arange(3), n)),
    "build_regressor seed": (4, lambda n: build_regressor([2], [3], seed=n).weight),
    "models.build seed": (4, lambda n: models.build("lenet-300-100", n).fc3.weight),
    "train seed": (2, trained),
    "build_regressor size": (4, lambda n: build_regressor([n], [3]).weight),
}
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
