"""Diagonals of the Hessian against torch's own, Jacobians by hand, and loops over single images."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.utils import parametrizations, prune

from shrink.classroom import models
from shrink.pruning import DIAGONALS, full_hessian, hessian_diagonal
from shrink.pruning import curvature as module
from tests.pruning.nets import state_of


def perceptron(act=nn.Tanh, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), act(), nn.Linear(4, 3), act(), nn.Linear(3, 3)).double()


def convolutional(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).double()


def normed(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()


def tied(seed=0):
    torch.manual_seed(seed)
    twice = nn.Linear(5, 5)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.ReLU(), nn.Linear(5, 3)).double()


def of_tokens(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


MADE = {
    "tanh": (perceptron, (5,)),
    "relu": (lambda: perceptron(nn.ReLU), (5,)),
    "gelu": (lambda: perceptron(nn.GELU), (5,)),
    "convolutional": (convolutional, (1, 10, 10)),
    "normed": (normed, (5,)),
    "tied": (tied, (5,)),
    "tokens": (of_tokens, (2, 5)),
}


def given(name, n=7):
    make, shape = MADE[name]
    model = make()
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(n, *shape, generator=draw, dtype=torch.float64)
    return model, images, torch.randint(3, (n,), generator=draw)


def joined(diagonal):
    return torch.cat([d.flatten() for d in diagonal.values()])


def hessian_of_torch(model, images, labels):
    """By `torch.autograd.functional`, which differentiates twice from the loss back."""
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    model.eval()

    def loss(flat):
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        values = {name: part.view(p.shape) for (name, p), part in parts}
        return F.cross_entropy(functional_call(model, values, (images,)), labels)

    flat = torch.cat([p.detach().flatten() for p in parameters.values()])
    return torch.autograd.functional.hessian(loss, flat)


# ---- what they are


@pytest.mark.parametrize("name", MADE)
def test_the_whole_hessian_is_that_of_torch_and_the_exact_diagonal_its_diagonal(name):
    model, images, labels = given(name)
    expected = hessian_of_torch(model, images, labels)
    found = full_hessian(model, images, labels)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    diagonal = hessian_diagonal(model, images, labels, "exact")
    torch.testing.assert_close(joined(diagonal), expected.diagonal(), rtol=1e-9, atol=1e-12)
    assert [*diagonal] == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("name", MADE)
def test_gauss_newton_is_the_losss_hessian_between_two_jacobians(name):
    model, images, labels = given(name)
    model.eval()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    p = model(images).softmax(1).detach()
    jacobian = jacrev(lambda values: functional_call(model, values, (images,)))(parameters)
    found = hessian_diagonal(model, images, labels, "gauss-newton")
    for name, j in jacobian.items():
        at_logits = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        j = j.flatten(2)
        expected = torch.einsum("ncw,ncd,ndw->w", j, at_logits, j) / len(images)
        torch.testing.assert_close(found[name].flatten(), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", MADE)
def test_fisher_is_the_mean_of_squared_gradients_of_single_images(name):
    model, images, labels = given(name)
    model.eval()
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        for n, p in model.named_parameters():
            expected[n] += p.grad**2 / len(images)
    found = hessian_diagonal(model, images, labels, "fisher")
    for n in expected:
        torch.testing.assert_close(found[n], expected[n], rtol=1e-9, atol=1e-14)


def test_gauss_newton_is_exact_where_logits_are_linear_in_each_weight():
    """One weight of a ReLU network moves its logits along straight lines."""
    model, images, labels = given("relu")
    exact = joined(hessian_diagonal(model, images, labels, "exact"))
    found = joined(hessian_diagonal(model, images, labels, "gauss-newton"))
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("by", DIAGONALS)
def test_images_are_averaged_whatever_is_computed_at_once(by, monkeypatch):
    model, images, labels = given("convolutional", n=9)
    whole = joined(hessian_diagonal(model, images, labels, by))
    parts = [
        joined(hessian_diagonal(model, images[i : i + 1], labels[i : i + 1], by)) for i in range(9)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).mean(0))
    monkeypatch.setattr(module, "COLUMNS", 4)
    monkeypatch.setattr(module, "IMAGES", 2)
    monkeypatch.setattr("shrink.pruning.backpropagated.BATCH", 2)
    torch.testing.assert_close(joined(hessian_diagonal(model, images, labels, by)), whole)
    monkeypatch.setattr(module, "NUMBERS", 1)
    torch.testing.assert_close(joined(hessian_diagonal(model, images, labels, by)), whole)


@pytest.mark.parametrize("by", ["exact", "gauss-newton", "backpropagated"])
def test_diagonals_are_what_a_small_step_along_one_weight_shows(by):
    """At the last layer all three are exact: the loss there and back, less twice the loss."""
    model, images, labels = given("tanh")
    found, weight, step = (
        hessian_diagonal(model, images, labels, by)["4.weight"],
        model[4].weight,
        1e-4,
    )

    def loss(i, by):
        with torch.no_grad():
            weight.view(-1)[i] += by
            value = F.cross_entropy(model(images), labels)
            weight.view(-1)[i] -= by
        return value.item()

    for i in range(weight.numel()):
        curve = (loss(i, step) - 2 * loss(i, 0) + loss(i, -step)) / step**2
        assert found.flatten()[i].item() == pytest.approx(curve, abs=1e-6)


def test_an_image_that_is_all_but_certain_keeps_its_digits():
    """p·(1 - p) at p = 1 - e⁻⁴⁰, which float32 rounds to 1."""
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[40.0], [0.0]])
    for by in ("backpropagated", "gauss-newton"):
        h = hessian_diagonal(model, torch.ones(1, 1), torch.tensor([0]), by)["weight"]
        assert h.flatten().tolist() == pytest.approx([math.exp(-40)] * 2, rel=1e-5)
    h = hessian_diagonal(model, torch.ones(1, 1), torch.tensor([0]), "fisher")["weight"]
    assert h.flatten().tolist() == pytest.approx([math.exp(-80)] * 2, rel=1e-5, abs=0)


# ---- how the model is treated


@pytest.mark.parametrize("by", DIAGONALS)
def test_the_model_is_asked_in_use_and_left_as_it_was(by):
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 3)).train()
    model[0].weight.requires_grad_(False)
    model[0].bias.grad = torch.ones(4)
    images, labels = torch.rand(6, 5), torch.arange(6) % 3
    before, modes = state_of(model), [part.training for part in model.modules()]
    found = hessian_diagonal(model, images, labels, by)
    again = hessian_diagonal(model.eval(), images, labels, by)
    model.train()
    assert all(found[name].equal(again[name]) for name in found)  # nothing was dropped
    assert [part.training for part in model.modules()] == modes
    assert not model[0].weight.requires_grad and model[0].bias.grad.equal(torch.ones(4))
    assert model[3].weight.grad is None and model[3].weight.requires_grad
    after = state_of(model)
    assert all(before[1][name].equal(after[1][name]) for name in before[1])
    assert not any(h.requires_grad for h in found.values())


@pytest.mark.parametrize(
    ("by", "name"), [*((by, "convolutional") for by in DIAGONALS), ("fisher", "tanh")]
)
def test_gradients_may_be_off_where_it_is_asked(by, name):
    model, images, labels = given(name)
    expected = joined(hessian_diagonal(model, images, labels, by))
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert joined(hessian_diagonal(model, images, labels, by)).equal(expected)


@pytest.mark.parametrize("by", DIAGONALS)
def test_dtypes_are_those_of_the_parameters(by):
    images, labels = torch.rand(4, 5), torch.arange(4) % 3
    exact = hessian_diagonal(perceptron(), images, labels, by)
    for dtype, off in ((torch.float32, 1e-4), (torch.bfloat16, 0.05), (torch.float16, 0.02)):
        found = hessian_diagonal(perceptron().to(dtype), images, labels, by)
        for name, h in found.items():
            assert h.dtype == dtype and h.shape == exact[name].shape
            assert (h - exact[name]).abs().max() < off * exact[name].abs().max()


def test_buffers_are_computed_with_in_float64_too():
    model, images, labels = given("normed")
    model[1].running_var.fill_(0.1)
    rounded = model.float().double()
    expected = full_hessian(rounded, images.float(), labels)
    torch.testing.assert_close(full_hessian(model.float(), images.float(), labels), expected)


@pytest.mark.parametrize("by", DIAGONALS)
def test_a_parameter_that_takes_no_part_has_no_curvature(by):
    model = perceptron()
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    model.forward = lambda x: nn.Sequential(*[*model.children()]).forward(x)
    images, labels = torch.rand(4, 5), torch.arange(4) % 3
    assert hessian_diagonal(model, images, labels, by)["unused"].tolist() == [0, 0]


# ---- what is refused


def lazy():
    return nn.Sequential(nn.LazyLinear(3))


def with_nan():
    model = nn.Linear(5, 3)
    model.weight.data[0, 0] = math.nan
    return model


def pruned():
    model = nn.Sequential(nn.Linear(5, 3))
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


X, Y = torch.rand(4, 5), torch.arange(4) % 3
BAD = {
    "no module": (dict, X, Y, TypeError, r"must be an nn\.Module, not a dict"),
    "no parameter": (nn.Flatten, X, Y, ValueError, "no parameter"),
    "lazy": (lazy, X, Y, TypeError, "0.weight has no shape yet"),
    "meta": (lambda: nn.Linear(5, 3, device="meta"), X, Y, ValueError, "weight has no values"),
    "NaN": (with_nan, X, Y, ValueError, "weight holds 1 NaN of 15"),
    "computed": (pruned, X, Y, ValueError, r"weight of 0, .* run torch.*prune\.remove"),
    "parametrized": (
        lambda: parametrizations.weight_norm(nn.Linear(5, 3)), X, Y, ValueError, "is computed at"),
    "scripted": (
        lambda: torch.jit.script(nn.Linear(5, 3)), X, Y, ValueError, "the model is scripted"),
    "parallel": (
        lambda: nn.DataParallel(nn.Linear(5, 3)), X, Y, ValueError, "the model is parallel"),
    "images of numbers": (None, [1.0], Y, TypeError, "images must be a tensor, not a list"),
    "whole images": (None, X.int(), Y, TypeError, "images must be floating point"),
    "sparse images": (None, X.to_sparse(), Y, TypeError, "images must be a dense tensor"),
    "no image": (None, X[:0], Y[:0], ValueError, r"images .* not \(0, 5\)"),
    "one image in no batch": (None, X[0], Y[:1], ValueError, r"images .* not \(5,\)"),
    "image of NaN": (None, X * math.nan, Y, ValueError, "images hold 20 NaN or infinite"),
    "infinite": (None, X / 0, Y, ValueError, "images hold 20 NaN or infinite values of 20"),
    "fewer labels": (None, X, Y[:3], ValueError, r"one label for each of 4 images, not \(3,\)"),
    "one-hot labels": (None, X, F.one_hot(Y), ValueError, r"of 4 images, not \(4, 3\)"),
    "labels of bool": (None, X, Y > 0, TypeError, "labels must be a dense tensor of whole numbers"),
    "label too large": (None, X, Y + 1, ValueError, "labels hold 3, and .* classes are 0 to 2"),
    "label to ignore": (None, X, torch.full((4,), -100), ValueError, "labels hold -100"),
    "no logits": (
        lambda: nn.Sequential(nn.Linear(5, 3), nn.Unflatten(1, (3, 1))), X, Y, ValueError,
        r"logits \(n, classes\), and of one image gives \(1, 3, 1\)"),
    "several outputs": (lambda: nn.LSTM(5, 3), X, Y, ValueError, "of one image gives tuple"),
}  # fmt: skip


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    make, images, labels, error, said = BAD[name]
    for ask in (hessian_diagonal, full_hessian):
        with pytest.raises(error, match=said):
            ask((make or (lambda: nn.Linear(5, 3)))(), images, labels)


def test_an_unknown_diagonal_is_named():
    with pytest.raises(ValueError, match=r"by must be one of exact, .* not 'hutchinson'"):
        hessian_diagonal(nn.Linear(5, 3), X, Y, "hutchinson")


def test_large_models_are_refused_a_hessian_with_their_count():
    model = models.build("lenet-300-100", seed=0)
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])
    for ask in (full_hessian, lambda *given: hessian_diagonal(*given, "exact")):
        with pytest.raises(ValueError, match=r"266610 parameters, .* at most 5000"):
            ask(model, images, labels)
