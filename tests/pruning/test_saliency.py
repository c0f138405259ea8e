"""What a deletion costs, against the rise of real losses: quadratics, and a trained network's."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.pruning import full_hessian, hessian_diagonal, obd_saliency, predicted_rise

W = {"a": torch.tensor([[1.0, -2.0], [3.0, 0.5]]), "b": torch.tensor([4.0, -1.0])}
H = {"a": torch.tensor([[2.0, 1.0], [0.0, -8.0]]), "b": torch.tensor([0.5, 6.0])}


def masks_of(*kept):
    """Of `W`: which of the six stay, row by row."""
    kept = torch.tensor(kept, dtype=torch.bool)
    return {"a": kept[:4].view(2, 2), "b": kept[4:]}


def test_saliency_is_half_of_h_w_squared_with_its_sign():
    found = obd_saliency(W, H)
    assert found["a"].tolist() == [[1, 2], [0, -1]] and found["b"].tolist() == [4, 3]
    assert obd_saliency(W, H | {"bias": torch.ones(3)}).keys() == W.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_saliency_is_computed_in_float32_at_least(dtype):
    w, h = torch.tensor([300.0, -0.001], dtype=dtype), torch.tensor([4.0, 0.5], dtype=dtype)
    found = obd_saliency({"w": nn.Parameter(w)}, {"w": h})["w"]
    assert found.dtype == torch.promote_types(dtype, torch.float32) and not found.requires_grad
    assert found.tolist() == pytest.approx([180000, 0.25e-6], rel=1e-2)


def quadratic(seed, n=6):
    """A loss ½(v - w)ᵀH(v - w) + g(v - w), at its place w."""
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=draw, dtype=torch.float64)
    w, g = torch.randn(2, n, generator=draw, dtype=torch.float64)
    hessian = root @ root.T - torch.eye(n)
    return hessian, w, g, lambda v: (v - w) @ hessian @ (v - w) / 2 + g @ (v - w)


@pytest.mark.parametrize("seed", range(4))
def test_the_rise_on_a_quadratic_is_the_real_one_for_any_set(seed):
    hessian, w, g, loss = quadratic(seed)
    weights = {"a": w[:4].view(2, 2), "b": w[4:]}
    gradients = {"a": g[:4].view(2, 2), "b": g[4:]}
    kept = torch.rand(6, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks = masks_of(*kept.tolist())
    real = loss(torch.where(kept, w, 0)).item()
    assert predicted_rise(weights, masks, hessian, gradients) == pytest.approx(real, rel=1e-12)
    flat = real - g @ torch.where(kept, 0, -w)
    assert predicted_rise(weights, masks, hessian) == pytest.approx(flat.item(), rel=1e-12)


def test_with_a_diagonal_the_rise_is_the_sum_of_what_goes():
    masks = masks_of(0, 1, 1, 0, 0, 1)
    assert predicted_rise(W, masks, H) == 1 - 1 + 4
    whole = torch.cat([h.flatten() for h in H.values()]).diag()
    assert predicted_rise(W, masks, whole) == 4
    g = {"a": torch.full((2, 2), 10.0), "b": torch.zeros(2)}
    assert predicted_rise(W, masks, H, g) == 4 - 10 - 5


def test_a_weight_without_a_mask_stays():
    assert predicted_rise(W, {"b": torch.tensor([True, False])}, H) == 3
    whole = torch.ones(6, 6)
    assert predicted_rise(W, {"b": torch.tensor([True, False])}, whole) == 0.5
    assert predicted_rise(W, {}, whole) == 0


def test_a_tensor_under_two_names_goes_once():
    weights, h = {"a": W["b"], "again": W["b"]}, {"a": H["b"], "again": H["b"]}
    gone = torch.tensor([False, True])
    for masks in ({"a": gone, "again": gone}, {"again": gone}):
        assert predicted_rise(weights, masks, h) == 4
        assert predicted_rise(weights, masks, torch.eye(2)) == 8


def network():
    """A small tanh network, images, the loss and its gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    images = torch.randn(40, 4, dtype=torch.float64)
    labels = (images[:, 0] > 0).long() + (images[:, 1] > 0.5).long()
    loss = F.cross_entropy(model(images), labels)
    names = [name for name, _ in model.named_parameters()]
    gradients = dict(zip(names, torch.autograd.grad(loss, [*model.parameters()]), strict=True))
    return model, images, labels, gradients


def rise_without(model, images, labels, steps):
    """How much the loss rises when so much is taken from each parameter."""

    def loss():
        return F.cross_entropy(model(images), labels).item()

    with torch.no_grad():
        before = loss()
        for name, p in model.named_parameters():
            p -= steps.get(name, 0)
        after = loss()
        for name, p in model.named_parameters():
            p += steps.get(name, 0)
    return after - before


def test_single_deletions_of_tiny_weights_raise_the_loss_as_predicted():
    """A weight of which 0.001 is deleted: the third order is a thousandth of the second."""
    model, images, labels, gradients = network()
    exact = hessian_diagonal(model, images, labels, "exact")
    for name, p in model.named_parameters():
        tiny = {name: torch.full_like(p, 1e-3)}
        for place in range(p.numel()):
            mask = torch.ones_like(p, dtype=torch.bool)
            mask.view(-1)[place] = False
            real = rise_without(model, images, labels, {name: tiny[name] * ~mask})
            predicted = predicted_rise(tiny, {name: mask}, exact, gradients)
            assert predicted == pytest.approx(real, abs=1e-9)
            first = -1e-3 * gradients[name].flatten()[place].item()
            assert predicted - first == pytest.approx(
                obd_saliency(tiny, exact)[name].flatten()[place]
            )


def test_the_whole_hessian_sees_what_weights_do_together():
    model, images, labels, gradients = network()
    tiny = {name: torch.full_like(p, 1e-3) for name, p in model.named_parameters()}
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in tiny.items()}
    real = rise_without(model, images, labels, tiny)
    hessian = full_hessian(model, images, labels)
    assert predicted_rise(tiny, masks, hessian, gradients) == pytest.approx(real, abs=3e-8)
    diagonal = hessian_diagonal(model, images, labels, "exact")
    assert abs(predicted_rise(tiny, masks, diagonal, gradients) - real) > 3e-7


# ---- what is refused

KEEP = masks_of(1, 1, 1, 1, 1, 1)
NAN = torch.tensor([1.0, math.nan])
BAD = [
    ((W, None), TypeError, "second derivatives must map names to tensors, not be a NoneType"),
    ((W, {"a": H["a"]}), ValueError, "b has no second derivatives; they are there for a"),
    ((W, H | {"b": torch.ones(3)}), ValueError, r"of b have shape \(3,\), its weight \(2,\)"),
    ((W, H | {"b": torch.ones(2).int()}), TypeError, "second derivatives of b must be floating"),
    ((W, H | {"b": NAN}), ValueError, "second derivatives of b holds 1 NaN of 2"),
    (({}, H), ValueError, "weights is empty"),
    (([], H), TypeError, "weights must map names to tensors, not be a list"),
    ((W | {"b": NAN}, H), ValueError, "b holds 1 NaN"),
    ((W | {"b": torch.ones(2).to_sparse()}, H), TypeError, "b must be a dense tensor"),
]
BAD_MASKS = [
    (({"c": KEEP["b"]}, H), ValueError, "a mask is named 'c', a weight is not: a, b"),
    (({"b": torch.ones(2)}, H), TypeError, r"mask of b must be a bool tensor, not torch\.float32"),
    (({"b": KEEP["a"]}, H), ValueError, r"mask of b has shape \(2, 2\), its weight \(2,\)"),
    ((None, H), TypeError, "masks must map names to tensors, not be a NoneType"),
    ((KEEP, torch.eye(5)), ValueError, r"Hessian is \(5, 5\), .* of 6 weights it must be \(6, 6\)"),
    ((KEEP, torch.eye(6)[:, :5]), ValueError, r"Hessian is \(6, 5\)"),
    ((KEEP, torch.eye(6) * math.nan), ValueError, "the Hessian holds 36 NaN"),
    ((KEEP, torch.eye(6).int()), TypeError, "the Hessian must be floating point"),
    ((KEEP, H, {"a": H["a"]}), ValueError, "b has no gradient"),
    ((KEEP, H, {"a": H["a"], "b": torch.ones(1)}), ValueError, r"gradient of b have shape \(1,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "said"), BAD)
def test_bad_weights_and_diagonals_are_named(given, error, said):
    with pytest.raises(error, match=said):
        obd_saliency(*given)
    weights, curvature = given
    with pytest.raises(error, match=said):
        predicted_rise(weights, {}, curvature)


@pytest.mark.parametrize(("given", "error", "said"), BAD_MASKS)
def test_bad_masks_and_hessians_are_named(given, error, said):
    with pytest.raises(error, match=said):
        predicted_rise(W, *given)
