"""Sums, means and norms are taken in float32 at least and rounded once; the oracle is float64."""

import pytest
import torch
from torch import nn

from shrink import distillation, pruning, sharing
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train
from shrink.sharing import Shared, centroid_gradient, hold_shared

N = 20_000
NARROW = {torch.float16: 1e-3, torch.bfloat16: 8e-3}  # half the distance of two numbers, relative


def numbers(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.5


FEW = torch.arange(N) % 3  # which value each of N weights has
LABELS = torch.arange(N) % 5


def attention(x):
    return distillation.attention_map(x.view(2, -1, 4)).square().sum(1)


# What a function makes of N numbers, as a number or some: the same must come of float64.
SUMS = {
    "centroid_gradient": lambda x: centroid_gradient(x, FEW, 3),
    "centroid_gradient's mean": lambda x: centroid_gradient(x, FEW, 3, "mean"),
    "centroid_gradient of one value": lambda x: centroid_gradient(x, torch.zeros_like(FEW), 1),
    "distortion": lambda x: torch.tensor(sharing.distortion(x, torch.tensor([0.6, 1.2]))),
    "fit_codebook": lambda x: sharing.fit_codebook(x, 2),
    "share": lambda x: sharing.share(x, 3).codebook,
    "optimal_codebook": lambda x: sharing.optimal_codebook(x, 4),
    "strongest_units": lambda x: pruning.strongest_units(
        {"a.weight": 90 * x[: N // 2].view(4, -1), "b.weight": 90 * x[N // 2 :].view(-1, 4)},
        ["a", "b"],
        [2],
    )[0],
    "soft_loss": lambda x: distillation.soft_loss(
        9 * x.view(-1, 5), distillation.soften(x.view(-1, 5).flip(1).double(), 2), 2
    ),
    "distillation_loss": lambda x: distillation.distillation_loss(
        9 * x.view(-1, 5), x.view(-1, 5).flip(1), LABELS[: N // 5], 2, 0.5
    ),
    "average_targets": lambda x: distillation.average_targets([x.view(-1, 5)] * 3, 2).sum(0),
    "hint_loss": lambda x: distillation.hint_loss(x, 2 * x.flip(0), nn.Identity()),
    "attention_map": attention,
    "attention_transfer_loss": lambda x: distillation.attention_transfer_loss(
        x.view(2, -1, 4), x.flip(0).view(2, -1, 4)
    ),
    "distance_loss": lambda x: distillation.distance_loss(x.view(20, -1), x.view(20, -1) ** 3),
    "angle_loss": lambda x: distillation.angle_loss(x.view(20, -1), x.view(20, -1) ** 3),
}


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("what", SUMS)
def test_sums_of_16_bits_are_those_of_float64(what, dtype):
    x = numbers(N).to(dtype)
    found, exact = SUMS[what](x), SUMS[what](x.double())
    allowed = NARROW[dtype] if found.dtype == dtype else 1e-3
    assert torch.allclose(found.double(), exact.double(), rtol=allowed, atol=1e-6)


@pytest.mark.parametrize(("dtype", "number"), [(torch.bfloat16, 200), (torch.float16, 200)])
def test_twenty_thousand_hundredths_are_two_hundred(dtype, number):
    x = torch.full((N,), 0.01, dtype=dtype)
    found = centroid_gradient(x, torch.zeros(N, dtype=torch.long), 1)
    assert found.dtype == dtype and found.item() == pytest.approx(number, rel=0.005)
    mean = centroid_gradient(x, torch.zeros(N, dtype=torch.long), 1, "mean")
    assert mean.equal(x[:1])


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_a_gradient_that_is_not_floating_point_is_named(dtype):
    with pytest.raises(TypeError, match=f"gradient must be floating point of .*, not {dtype}"):
        centroid_gradient(torch.ones(4, dtype=dtype), torch.zeros(4, dtype=torch.long), 1)


@pytest.mark.parametrize(
    ("numbers", "k", "error", "said"),
    [
        (torch.tensor([0, 1, 3]), 3, ValueError, "0 to 2, not 0 to 3"),
        (torch.tensor([0, -1, 1]), 3, ValueError, "0 to 2, not -1 to 1"),
        (torch.tensor([0.0, 1.0, 1.0]), 3, TypeError, "whole numbers, not torch.float32"),
        (torch.tensor([True, False, True]), 3, TypeError, "whole numbers, not torch.bool"),
        (torch.tensor([0, 0, 0]), 0, ValueError, "k must lie between 1 and 65536, not 0"),
    ],
)
def test_assignments_that_have_no_value_are_named(numbers, k, error, said):
    with pytest.raises(error, match=said):
        centroid_gradient(torch.ones(3), numbers, k)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", NARROW)
def test_a_codebook_of_16_bit_weights_moves_by_the_whole_gradient(dtype, reduction):
    one = Shared(torch.tensor([1.0]), torch.zeros(N, dtype=torch.uint8))
    w = nn.Parameter(torch.ones(N, dtype=dtype))
    shared = {"w": one}
    sgd = torch.optim.SGD([w], lr=1 if reduction == "mean" else 1 / 200)
    with hold_shared({"w": w}, shared, sgd, reduction):
        (0.01 * w).sum().backward()
        sgd.step()
    moved = 1 if reduction == "sum" else 0.01
    assert shared["w"].codebook.item() == pytest.approx(1 - moved, abs=0.01)


def test_numbers_beyond_float32_have_no_codebook():
    with pytest.raises(ValueError, match="1 of 3 values are NaN or infinite"):
        sharing.fit_codebook(torch.tensor([0.0, 1.0, 1e300], dtype=torch.float64), 2)


@pytest.mark.parametrize("dtype", NARROW)
def test_losses_under_autocast_are_those_of_float32(dtype):
    x, y = numbers(12, 300), numbers(12, 300, seed=1)
    for loss in (distillation.distance_loss, distillation.angle_loss):
        exact = loss(x, y)
        with torch.autocast("cpu", dtype=dtype):
            assert loss(x, y).equal(exact)


def test_an_epochs_loss_is_the_mean_though_each_is_of_16_bits():
    images, model = torch.rand(4000, 1, 2, 2), nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    def loss(logits, images, labels):
        return (0 * logits.sum() + 1.01).bfloat16()

    recipe = Recipe(epochs=1, batch_size=4)
    did = train(model, Split(images, torch.zeros(4000).long()), recipe, loss=loss)
    assert did.losses[0] == pytest.approx(1.01, rel=0.004)
