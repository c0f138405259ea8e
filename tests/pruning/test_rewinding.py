"""Rewinding bit for bit, and the other starts: the signs alone, and an initialisation anew."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from shrink import pruning
from shrink.classroom import models
from tests.pruning.ticket_nets import Normed, bits, everything, masks_of, numbers, train_a_little


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rewinding_is_bit_for_bit_biases_and_statistics_of_norms_too(dtype):
    model = Normed().to(dtype)
    before = {name: bits(t) for name, t in everything(model).items()}
    state, masks = pruning.snapshot(model), masks_of(model)
    train_a_little(model)
    moved = {name for name, t in everything(model).items() if bits(t) != before[name]}
    assert moved >= {"norm.running_mean", "norm.num_batches_tracked", "norm.bias", "steps"}
    pruning.rewind(model, state, masks)
    for name, tensor in everything(model).items():
        if name not in masks:
            assert bits(tensor) == before[name], name
        else:
            kept = torch.where(masks[name], state[name], torch.zeros_like(state[name]))
            assert bits(tensor) == bits(kept), name
    assert list(masks) == ["conv.weight", "fc.weight"]


@pytest.mark.parametrize("flush", [False, True])
def test_every_bit_pattern_survives_and_pruned_is_plus_zero(flush):
    """-0.0, infinities, denormals and NaN of any payload stay; pruned is 0.0 in all of its bits."""
    patterns = [0, -(2**31), 0x7F800000, -0x800000, 1, -(2**31) + 1, 0x7FC00000, 0x7F800001, -1, 5]
    odd = torch.tensor(patterns, dtype=torch.int32)
    model = nn.Linear(10, 1)
    with torch.no_grad():
        model.weight.copy_(odd.view(torch.float32))
    assert model.weight.view(torch.int32).tolist() == [patterns]
    state = pruning.snapshot(model)
    try:
        if flush and not torch.set_flush_denormal(True):
            pytest.skip("this processor keeps its denormals")
        for mask in (torch.ones(1, 10) > 0, torch.arange(10)[None] % 2 == 0):
            nn.init.ones_(model.weight)
            pruning.rewind(model, state, {"weight": mask})
            expected = torch.where(mask, odd, 0)
            assert model.weight.view(torch.int32).equal(expected)
    finally:
        torch.set_flush_denormal(False)


def test_a_snapshot_is_no_reference_and_not_part_of_the_graph():
    model = Normed()
    state = pruning.snapshot(model)
    kept = {name: bits(t) for name, t in state.items()}
    assert state.keys() == everything(model).keys()
    assert not any(t.requires_grad or isinstance(t, nn.Parameter) for t in state.values())
    train_a_little(model)
    pruning.rewind(model, state, masks_of(model))
    train_a_little(model)
    assert {name: bits(t) for name, t in state.items()} == kept


def test_rewinding_keeps_parameters_modes_and_gradients():
    model = Normed().train()
    model.norm.eval()
    state = pruning.snapshot(model)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    model(numbers(6, 1, 5, 5)).sum().backward()
    own, grads = dict(model.named_parameters()), {n: p.grad for n, p in model.named_parameters()}
    places = {name: p.data_ptr() for name, p in own.items()}
    sgd.step()
    pruning.rewind(model, state, masks_of(model))
    for name, p in model.named_parameters():
        assert p is own[name] and p.grad is grads[name] and p.is_leaf
        assert p.data_ptr() == places[name]
        assert p.requires_grad == (not name.startswith("frozen"))
    assert [model.training, model.norm.training, model.fc.training] == [True, False, True]
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    before = bits(model.fc.bias)
    sgd.step()
    assert bits(model.fc.bias) != before  # an optimizer made before still trains them


def test_masks_that_are_not_contiguous_fit_weights_that_are_not():
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    model[0].weight = nn.Parameter(numbers(4, 3).t())
    state, mask = pruning.snapshot(model), (numbers(4, 3, seed=1) > 0).t()
    nn.init.ones_(model[0].weight)
    pruning.rewind(model, state, {"0.weight": mask})
    assert model[0].weight.equal(numbers(4, 3).t() * mask) and mask.any() and not mask.all()


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda s: s.pop("norm.running_mean"), ValueError, "has no norm.running_mean"),
        (lambda s: s.pop("steps"), ValueError, "has no steps"),
        (lambda s: s.update(fc2=torch.ones(1)), ValueError, "this one has no fc2"),
        (lambda s: s.update({"fc.weight": torch.ones(4, 5)}), ValueError, r"fc.weight.*\(4, 5\)"),
        (lambda s: s.update({"fc.bias": s["fc.bias"].double()}), ValueError, "fc.bias.*float64"),
        (lambda s: s.update({"fc.bias": s["fc.bias"].to("meta")}), ValueError, "fc.bias.*meta"),
        (lambda s: s.update({"fc.bias": [0.0] * 5}), TypeError, "fc.bias.*list"),
        (lambda s: s.update({"fc.bias": s["fc.bias"].to_sparse()}), TypeError, "fc.bias.*sparse"),
    ],
)
def test_the_state_of_another_model_is_named_and_nothing_is_changed(change, error, named):
    model = Normed()
    state = pruning.snapshot(model)
    train_a_little(model)
    before = {name: (id(t), t._version, bits(t)) for name, t in everything(model).items()}
    change(state)
    with pytest.raises(error, match=named):
        pruning.rewind(model, state, masks_of(model))
    assert {n: (id(t), t._version, bits(t)) for n, t in everything(model).items()} == before


@pytest.mark.parametrize(
    ("masks", "error", "named"),
    [
        ({"fc.bias": torch.ones(4) > 0}, ValueError, r"fc.bias has shape \(4,\)"),
        ({"conv": torch.ones(4, 1, 3, 3) > 0}, ValueError, "'conv'"),
        ({"fc.bias": torch.ones(5)}, TypeError, "fc.bias.*float32"),
        ([torch.ones(5) > 0], TypeError, "masks.*list"),
        (None, TypeError, "masks.*NoneType"),
    ],
)
def test_masks_that_do_not_fit_are_named_and_nothing_is_changed(masks, error, named):
    model = Normed()
    state = pruning.snapshot(model)
    train_a_little(model)
    before = {name: bits(t) for name, t in everything(model).items()}
    with pytest.raises(error, match=named):
        pruning.rewind(model, state, masks)
    assert {n: bits(t) for n, t in everything(model).items()} == before


def test_a_live_reference_is_refused():
    """The mistake of public code: `state_dict()` is the model's own, so nothing would go back."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"0\.weight of the state is the model's own.*snapshot"):
        pruning.rewind(model, model.state_dict(), {})
    half_copied = {**pruning.snapshot(model), "1.running_var": model[1].running_var}
    with pytest.raises(ValueError, match=r"1\.running_var of the state is the model's own"):
        pruning.rewind(model, half_copied, {})


def test_models_without_values_are_refused():
    with pytest.raises(ValueError, match=r"weight has no values.*meta"):
        pruning.snapshot(nn.Linear(3, 2, device="meta"))
    with pytest.raises(TypeError, match="weight has no shape yet"):
        pruning.snapshot(nn.LazyLinear(3))
    for odd in ({"weight": torch.ones(1)}, None, nn.Linear):
        with pytest.raises(TypeError, match=r"must be an nn\.Module"):
            pruning.snapshot(odd)
        with pytest.raises(TypeError, match=r"must be an nn\.Module"):
            pruning.rewind(odd, {}, {})


def test_an_expanded_buffer_cannot_be_set_and_nothing_is_changed():
    model = nn.Linear(2, 2)
    model.register_buffer("many", torch.ones(1).expand(3))
    state = pruning.snapshot(model)
    nn.init.zeros_(model.weight)
    with pytest.raises(ValueError, match="many is expanded"):
        pruning.rewind(model, state, {})
    assert not model.weight.any()


def test_rewound_to_the_same_state_the_same_training_follows():
    """So nothing that training depends on is left behind."""
    model = Normed()
    state, masks, found = pruning.snapshot(model), masks_of(Normed()), []
    for _ in range(2):
        pruning.rewind(model, state, masks)
        train_a_little(model, steps=5)
        found.append({name: bits(t) for name, t in everything(model).items()})
    assert found[0] == found[1]


# ---- signs only


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_of_initial_values_the_sign_is_left_and_the_layers_spread(dtype):
    weights = {name: w.detach().to(dtype) for name, w in initial(0).items()}
    for name, w in pruning.signed_constants(weights).items():
        assert w.dtype == dtype and w.shape == weights[name].shape
        assert w.sign().equal(weights[name].sign())
        spread, few_digits = np.std(weights[name].double().numpy()), dtype.itemsize < 4
        assert np.allclose(w.double().abs(), spread, rtol=1e-2 if few_digits else 1e-5)


def initial(seed):
    return models.weights(models.build("lenet-300-100", seed))


def test_the_constant_is_that_of_the_layers_initialisation():
    """PyTorch draws a layer of n inputs from -1/√n to 1/√n: a standard deviation of 1/√(3n)."""
    for w in pruning.signed_constants(initial(7)).values():
        inputs = w.shape[1]
        near = 4 / math.sqrt(w.numel())  # the relative spread of a deviation is below 1/√N
        assert w.abs().max().item() == pytest.approx((3 * inputs) ** -0.5, rel=near)
        assert w.abs().unique().numel() == 1


def test_a_zero_has_no_sign_and_nothing_is_changed():
    w = torch.tensor([[3.0, 0.0], [-0.0, -3.0]])
    found = pruning.signed_constants({"w": w})["w"]
    assert (found == 0).tolist() == [[False, True], [True, False]]
    assert found[0, 0] == -found[1, 1] == pytest.approx(math.sqrt(4.5))
    assert bits(w) == bits(torch.tensor([[3.0, 0.0], [-0.0, -3.0]]))
    parameter = nn.Parameter(w)
    assert not pruning.signed_constants({"w": parameter})["w"].requires_grad


@pytest.mark.parametrize(
    ("weight", "named"),
    [
        (torch.full((3,), 2.0), "w has no standard deviation.*it is 0"),
        (torch.tensor([5.0]), "it is 0"),
        (torch.zeros(4), "it is 0"),
        (torch.tensor([1.0, math.inf]), "it is nan"),
    ],
)
def test_a_layer_without_spread_is_named(weight, named):
    with pytest.raises(ValueError, match=named):
        pruning.signed_constants({"v": torch.arange(3.0), "w": weight})


# ---- initialised anew


def test_another_seed_draws_the_same_initialisation_and_other_values():
    """What re-initialised stands for: uniform from -1/√n to 1/√n, not correlated with θ₀."""
    for name, w in initial(1000).items():
        n, drawn = w.shape[1] ** -0.5, w.detach().flatten().double().numpy()
        assert stats.kstest(drawn, stats.uniform(-n, 2 * n).cdf).pvalue > 1e-3
        correlation = np.corrcoef(drawn, initial(0)[name].detach().flatten().numpy())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(w.numel())
