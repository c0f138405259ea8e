"""Prepared networks of few bits: where each begins, what trains, and what is told of it."""

import copy

import numpy as np
import pytest
import torch

from shrink.chapters.few_bits import folding, latents, networks, trainings, yours
from shrink.classroom import models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy, train
from shrink.quantization import aware
from shrink.quantization.conversion import fold_batch_norm
from shrink.quantization.learned_step import least_squares_step

SMALL = {
    "lenet-300-100": {"hidden": (12, 8)},
    "lenet-5": {"hidden": (3, 4, 8)},
    "separable": {},
}
RECIPE = Recipe(epochs=2, learning_rate=0.1, weight_decay=0, batch_size=40)  # 6 steps
SHORT = Recipe(epochs=1, learning_rate=1e-3, weight_decay=0, batch_size=60)  # 2 steps
CONTROL = "trained on, then rounded"


@pytest.fixture(scope="module")
def begun(digits):
    """Small networks as they begin: LeNet-300-100 trained a little, norms with statistics."""
    nets = {name: models.build(name, 7, **options) for name, options in SMALL.items()}
    train(nets["lenet-300-100"], shown(digits), Recipe(epochs=8), seed=1)
    for part in nets["separable"].modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for numbers in (part.running_var, part.weight.data, part.bias.data):
                numbers.copy_(torch.linspace(0.5, 2, len(numbers)))
    return {name: net.eval() for name, net in nets.items()}


@pytest.fixture(autouse=True)
def small(begun, tmp_path, monkeypatch):
    """Few images and steps, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setattr(networks, "TRAINED", 120)
    monkeypatch.setitem(networks.RECIPES, "lenet-300-100", RECIPE)
    monkeypatch.setitem(networks.RECIPES, "separable", SHORT)
    for module in (networks, folding):
        monkeypatch.setattr(module, "baseline", lambda name, *_, **__: copy.deepcopy(begun[name]))


def shown(digits):
    return Split(digits.train.images[:120], digits.train.labels[:120])


def wrong(net, digits):
    return 1 - accuracy(net, digits.validation)


def with_weights(net, rounded):
    """A copy of a plain network with `rounded` of each weight."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for w in models.weights(net).values():
            w.copy_(rounded(w))
    return net


def min_max(w, bits):
    q_max = 2 ** (bits - 1) - 1
    scale = w.abs().max() / q_max
    return (w / scale).round() * scale


def least_squares(w, bits):
    if bits == 1:
        return torch.where(w >= 0, 1, -1) * w.abs().mean()
    q_max = 2 ** (bits - 1) - 1
    step = least_squares_step(w, -q_max, q_max)
    return (w / step).round().clamp(-q_max, q_max) * step


@pytest.mark.parametrize("bits", [3, 1])
def test_ways_that_round_at_the_end_differ_in_scale_and_in_the_steps_before(begun, digits, bits):
    net = begun["lenet-300-100"]
    longer = copy.deepcopy(net)
    train(longer, shown(digits), RECIPE, seed=5)
    at_the_end = min_max if bits > 1 else least_squares
    for way, floats, rounded in (
        ("after training, min-max", net, at_the_end),
        ("after training", net, least_squares),
        (CONTROL, longer, least_squares),
    ):
        found = trainings.outcome(digits, way, bits, 5)
        assert found.floats == pytest.approx(wrong(floats, digits))
        by_hand = with_weights(floats, lambda w, rounded=rounded: rounded(w, bits))
        assert found.error == pytest.approx(wrong(by_hand, digits))
        assert found.moved == 0 and trainings.error(digits, way, bits, 5) == found.error


@pytest.mark.parametrize("way", trainings.AWARE)
def test_ways_that_round_at_each_step_tell_of_their_latent_floats_and_integers(begun, digits, way):
    net = aware.prepare(begun["lenet-300-100"], weight_bits=2, scale=way)
    layers = aware.aware_layers(net).values()
    q = [part.weight_quantizer.integers(part.layer.weight)[0] for part in layers]
    train(net, shown(digits), RECIPE, seed=5)
    found = trainings.outcome(digits, way, 2, 5)
    assert found.error == pytest.approx(wrong(net, digits))
    changed = [
        part.weight_quantizer.integers(part.layer.weight)[0] != before
        for part, before in zip(layers, q, strict=True)
    ]
    assert found.moved == pytest.approx(
        float(torch.cat([c.flatten() for c in changed]).float().mean())
    )
    floats = copy.deepcopy(begun["lenet-300-100"])
    floats.load_state_dict(
        {
            f"{n}.{p}": getattr(m.layer, p)
            for n, m in aware.aware_layers(net).items()
            for p in ("weight", "bias")
        }
    )
    assert found.floats == pytest.approx(wrong(floats, digits))


def test_norms_are_folded_before_the_steps(begun, digits):
    net = networks.folded(digits, 0, "separable")
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in net.modules())
    x = digits.validation.images[:50]
    assert torch.allclose(net(x), begun["separable"](x), atol=1e-4)
    by_channel = trainings.outcome(digits, "learned", 3, 0, "separable", per_channel=True)
    by_hand = aware.prepare(begun["separable"], weight_bits=3, per_channel=True)
    train(by_hand, shown(digits), SHORT, seed=0)
    assert by_channel.error == pytest.approx(wrong(by_hand, digits), abs=0.01)


def test_other_networks_are_what_their_names_say(begun, digits):
    net = begun["lenet-300-100"]
    unscaled = with_weights(net, lambda w: torch.where(w >= 0, 1.0, -1.0))
    found = trainings.other(digits, "signs without a scale, after training", 3)
    assert found.error == pytest.approx(wrong(unscaled, digits))
    for name, way in (
        ("ternary", aware.TernaryWeights),
        ("trained ternary", aware.TrainedTernaryWeights),
    ):
        by_hand = aware.prepare(net, weights=way)
        train(by_hand, shown(digits), RECIPE, seed=3)
        assert trainings.other(digits, name, 3).error == pytest.approx(wrong(by_hand, digits))
    seen = digits.train.images[:500]
    for name, range, steps in (
        ("activations too, after training", "learned", False),
        ("activations too, learned", "learned", True),
        ("activations too, clipped", "clipped", True),
    ):
        options = {"activation_bits": 2, "calibration_data": seen, "range": range}
        by_hand = aware.prepare(net, weight_bits=2, **options)
        if steps:
            train(by_hand, shown(digits), RECIPE, seed=3)
        assert trainings.other(digits, name, 3).error == pytest.approx(wrong(by_hand, digits))


def test_what_is_not_prepared_is_refused_by_name(digits):
    with pytest.raises(ValueError, match=r"'separable' with one scale per layer, 'learned'.*not 2"):
        trainings.outcome(digits, "learned", 2, 0, "separable")
    with pytest.raises(ValueError, match="'by magic': prepared are none"):
        trainings.error(digits, "by magic", 4, 0)
    with pytest.raises(ValueError, match="no network 'quaternary'; there are"):
        trainings.other(digits, "quaternary", 0)
    with pytest.raises(ValueError, match="1 or 2 bits are watched, not of 3"):
        latents.trails(digits, 3)
    with pytest.raises(ValueError, match="3 bits with one scale per layer are not prepared"):
        folding.folded_afterwards(digits, 3, False, 0)
    with pytest.raises(ValueError, match="no way 'halved' to few bits"):
        networks.options("halved", 4)


@pytest.mark.parametrize("bits", [1, 2])
def test_trails_are_weights_of_the_first_steps_of_a_training(begun, digits, bits, monkeypatch):
    monkeypatch.setattr(latents, "WATCHED", 4)
    found = latents.trails(digits, bits)
    assert found.latent.shape == found.rounded.shape == (5, 3) and found.scale.shape == (5,)
    net = aware.prepare(
        begun["lenet-300-100"], **networks.options(latents.WATCHED_WAYS[bits], bits)
    )
    (layer, *_), all_latent = aware.aware_layers(net).values(), []

    def watch(*_):
        all_latent.append(layer.layer.weight.detach().flatten().numpy().copy())

    watch()
    train(net, shown(digits), RECIPE, seed=0, progress=watch)
    every = np.stack(all_latent[:5])
    places = [int(np.abs(every - trail[:, None]).sum(0).argmin()) for trail in found.latent.T]
    assert np.array_equal(every[:, places], found.latent)
    changes = (np.diff(found.rounded / found.scale[:, None], axis=0).round() != 0).sum(0)
    assert changes[0] >= changes[1] and list(changes[1:]) == [1, 0]
    if bits == 1:
        assert found.scale == pytest.approx(np.abs(every).mean(1), rel=1e-5)
        assert (np.sign(found.rounded) == np.where(found.latent >= 0, 1, -1)).all()


@pytest.mark.parametrize(("rate", "flips"), [(0.1, False), (1, True)])
def test_without_latents_no_sign_flips_but_by_steps_as_large_as_the_scale(
    begun, digits, rate, flips, monkeypatch
):
    recipe = Recipe(epochs=8, learning_rate=rate, weight_decay=0, batch_size=40)
    monkeypatch.setitem(networks.RECIPES, "lenet-300-100", recipe)
    found = latents.without_latents(digits, 0)
    signs = with_weights(begun["lenet-300-100"], lambda w: least_squares(w, 1))
    assert found.before == pytest.approx(wrong(signs, digits))
    assert (found.flipped > 0) == flips
    assert trainings.outcome(digits, "fixed", 1, 0).moved > 0  # with latent weights


def test_folding_afterwards_only_rescales_channels(begun, digits):
    by_channel = folding.folded_afterwards(digits, 3, True, 0)
    assert by_channel.apart == pytest.approx(by_channel.folded, abs=0.01)
    by_layer = folding.folded_afterwards(digits, 4, False, 0)
    net = copy.deepcopy(begun["separable"])
    names = [n for n, part in net.named_modules() if hasattr(part, "weight") and "norm" not in n]
    for name in names:
        layer = net.get_submodule(name)
        quantizer = aware.UniformWeights(layer.weight.detach(), num_bits=4)
        net.set_submodule(name, aware.AwareLayer(layer, quantizer))
    train(net, shown(digits), SHORT, seed=0)
    assert by_layer.apart == pytest.approx(wrong(net.eval(), digits))
    for i, name in enumerate(names):
        part = net.get_submodule(name)
        with torch.no_grad():
            part.layer.weight.copy_(part.weight_quantizer(part.layer.weight))
        layer = fold_batch_norm(part.layer, net.get_submodule(f"norm{i}")) if i < 5 else part.layer
        with torch.no_grad():
            layer.weight.copy_(least_squares(layer.weight, 4))
        net.set_submodule(name, layer)
        if i < 5:
            net.set_submodule(f"norm{i}", torch.nn.Identity())
    assert by_layer.folded == pytest.approx(wrong(net, digits), abs=0.01)


def test_what_the_text_and_the_explorer_need_is_made_once(digits, monkeypatch):
    monkeypatch.setattr(latents, "WATCHED", 4)
    monkeypatch.setattr(trainings, "SEEDS", (0,))
    for make in trainings.trainings(digits):
        make()

    def refused(*args, **options):
        raise AssertionError("trains again")

    monkeypatch.setattr(networks, "take_steps", refused)
    monkeypatch.setattr(networks, "baseline", refused)
    for (model, per_channel), ways in trainings.PREPARED.items():
        for way, all_bits in ways.items():
            for bits in all_bits:
                trainings.outcome(digits, way, bits, 0, model, per_channel)
    for name in trainings.OTHERS:
        trainings.other(digits, name, 0)
    for bits, per_channel in folding.PREPARED:
        folding.folded_afterwards(digits, bits, per_channel, 0)
    latents.without_latents(digits, 0)
    latents.trails(digits, 1), latents.trails(digits, 2)


def test_a_students_network_takes_as_many_steps_in_both_series(digits, monkeypatch):
    monkeypatch.setattr(yours, "FIRST", RECIPE)
    monkeypatch.setattr(yours, "LENET", "lenet-300-100")
    found = yours.in_few_bits(digits, 11)
    net = models.build("lenet-300-100", 11)
    train(net, shown(digits), RECIPE, seed=11)
    learned = aware.prepare(net, weight_bits=2)
    for one in (net, learned):
        train(one, shown(digits), RECIPE, seed=11)
    rounded = with_weights(net, lambda w: least_squares(w, 2))
    after, trained = (found[series] for series in yours.SERIES)
    assert list(after) == list(trained) == [4, 3, 2, 1]
    assert after[2] == pytest.approx(100 - 100 * wrong(rounded, digits))
    assert trained[2] == pytest.approx(100 - 100 * wrong(learned, digits))
    assert yours.in_few_bits(digits, 12) != found
