"""Sensitivity of one layer at a time, beside its definition, and the model as it was."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.pruning.curvature import hessian_diagonal
from shrink.quantization import fake_quantize, qparams_of
from shrink.quantization.sensitivity import (
    answer_sensitivity,
    hessian_trace,
    kl_divergence,
    weight_sensitivity,
)


def images(n=40, seed=0):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def separable():
    """With statistics of its norms that are not those of a new network."""
    net = models.build("separable", 0)
    net(images(64, seed=1))
    return net


def coarse(weight, bits):
    return fake_quantize(weight.detach(), qparams_of(weight.detach(), bits, symmetric=True))


def variants(net, widths=(2, 4, 8)):
    return {n: {b: coarse(p, b) for b in widths} for n, p in models.weights(net).items()}


def test_kl_is_torchs():
    generator = torch.Generator().manual_seed(0)
    logits, of = (3 * torch.randn(50, 10, generator=generator) for _ in range(2))
    theirs = F.kl_div(logits.log_softmax(1), of.log_softmax(1), log_target=True, reduction="none")
    torch.testing.assert_close(kl_divergence(logits, of), theirs.sum(1))
    assert kl_divergence(of, of).abs().max() < 1e-6


def test_each_layer_alone_by_replacing_it():
    net, x = separable(), images()
    forms = variants(net)
    found = answer_sensitivity(net, x, forms, batch_size=16)
    net.eval()
    with torch.no_grad():
        before = net(x)
        for name, options in forms.items():
            for bits, weight in options.items():
                other = copy.deepcopy(net)
                other.get_parameter(name).copy_(weight)
                expected = kl_divergence(other(x), before).mean()
                assert found[name][bits] == pytest.approx(float(expected), rel=1e-4, abs=1e-7)


def test_a_layers_input_may_be_rounded_too():
    net, x = separable(), images()

    def rounding(given):
        return fake_quantize(given, qparams_of(given, 2))

    weight = net.fc.weight.detach()
    found = answer_sensitivity(net, x, {"fc.weight": {"w": weight, "x": (weight, rounding)}})
    with torch.no_grad():
        net.eval()
        seen = []
        handle = net.fc.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        before = net(x)
        handle.remove()
        expected = kl_divergence(net.fc(rounding(seen[0])), before).mean()
    assert found["fc.weight"]["w"] == 0
    assert found["fc.weight"]["x"] == pytest.approx(float(expected), rel=1e-4)
    assert not net.fc._forward_pre_hooks


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    net = separable().train(training)
    net.norm0.eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    forms = variants(net)
    answer_sensitivity(net, images(), forms)
    weight_sensitivity(net, forms)
    hessian_trace(net, images(8), torch.arange(8), probes=2)
    after = net.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [m.training for m in net.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_rounding_that_fails_leaves_no_hook():
    net = separable()

    def fails(given):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        answer_sensitivity(net, images(), {"fc.weight": {2: (net.fc.weight.detach(), fails)}})
    assert not net.fc._forward_pre_hooks


def test_errors_of_weights_are_squared_and_weighed():
    net = separable()
    forms = variants(net)
    plain = weight_sensitivity(net, forms)
    weighed = weight_sensitivity(net, forms, dict.fromkeys(forms, 0.25))
    for name, options in forms.items():
        for bits, weight in options.items():
            error = float((weight - net.get_parameter(name).detach()).square().sum())
            assert plain[name][bits] == pytest.approx(error, rel=1e-5, abs=1e-12)
            assert weighed[name][bits] == pytest.approx(error / 4, rel=1e-5, abs=1e-12)


def test_the_trace_is_near_that_of_the_exact_diagonal():
    net, x = models.build("tiny-tanh", 0), images(30)
    labels = torch.arange(30) % 10
    exact = hessian_diagonal(net, x, labels, by="exact")
    found = hessian_trace(net, x, labels, probes=200)
    assert list(found) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    scale = max(abs(float(exact[name].sum())) for name in found)
    for name, trace in found.items():
        assert trace == pytest.approx(float(exact[name].sum()), abs=0.2 * scale), name


def test_a_probe_sees_none_or_twice_the_trace_and_many_see_it():
    """Two classes and one input at a time: no two of these weights share an example and a class."""
    net = nn.Linear(3, 2, bias=False)
    labels = torch.tensor([0, 1, 0])
    exact = float(hessian_diagonal(net, torch.eye(3), labels, by="exact")["weight"].sum())
    found = [hessian_trace(net, torch.eye(3), labels, 1, seed)["weight"] for seed in range(8)]
    # of each input's 2x2 block [[a, -a], [-a, a]] a probe sees 0 or 4a, for a trace of 2a
    assert all(-1e-6 <= f <= 2 * exact + 1e-6 for f in found)
    assert hessian_trace(net, torch.eye(3), labels, 1000)["weight"] == pytest.approx(exact, rel=0.1)


def test_the_seed_alone_decides_and_torchs_own_is_left():
    net, x = models.build("tiny-tanh", 0), images(10)
    labels = torch.arange(10)
    state = torch.random.get_rng_state()
    a, b, c = (hessian_trace(net, x, labels, 2, seed) for seed in (0, 0, 1))
    assert a == b != c
    assert torch.equal(torch.random.get_rng_state(), state)


NET = models.build("tiny-tanh", 0)
W = NET.fc1.weight.detach()
REFUSED = {
    "another name": ({"fc9.weight": {2: W}}, "no parameter 'fc9.weight'; it has fc1.weight"),
    "another shape": (
        {"fc1.weight": {2: W.T}},
        r"fc1.weight at 2 .*\(49, 24\), and not \(24, 49\)",
    ),
    "integers": ({"fc1.weight": {2: W.int()}}, "fc1.weight at 2"),
}


@pytest.mark.parametrize("way", ["answers", "weights"])
@pytest.mark.parametrize(("forms", "message"), REFUSED.values(), ids=REFUSED)
def test_other_names_and_shapes_are_refused(forms, message, way):
    with pytest.raises((TypeError, ValueError), match=message):
        if way == "answers":
            answer_sensitivity(NET, images(), forms)
        else:
            weight_sensitivity(NET, forms)


def test_no_images_no_curvature_and_no_probes_are_refused():
    with pytest.raises(ValueError, match="got none"):
        answer_sensitivity(NET, images(0), {"fc1.weight": {2: W}})
    with pytest.raises(ValueError, match=r"batch_size .*0"):
        answer_sensitivity(NET, images(), {"fc1.weight": {2: W}}, batch_size=0)
    with pytest.raises(ValueError, match=r"fc1\.weight has no curvature; there are fc2\.weight"):
        weight_sensitivity(NET, {"fc1.weight": {2: W}}, {"fc2.weight": 1.0})
    with pytest.raises(ValueError, match=r"probes .*0"):
        hessian_trace(NET, images(3), torch.arange(3), probes=0)
    with pytest.raises(ValueError, match="one label for each"):
        hessian_trace(NET, images(3), torch.arange(4))
