"""A network that trains for the length of its file."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from shrink.classroom import data, models
from shrink.coding import codec
from shrink.papers import coded_training
from shrink.papers.coded_net import CodedNet
from shrink.papers.coded_training import Rounds, train_coded
from shrink.pruning import units
from shrink.quantization.learned_step import fake_quantize_lsq

NAMES = {"lenet-300-100": (30, 20), "lenet-5": (3, 4, 10)}
each_network = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


def coded(name, hidden=None):
    net = models.build(name, 3, hidden=hidden or NAMES[name])
    model = CodedNet(net.to(memory_format=torch.channels_last))
    model.begin()
    return model


def read(name, parts):
    """The network of full widths that is read from a file."""
    net = models.build(name, 0)
    shapes = {n: t.shape for n, t in net.state_dict().items()}
    tensors = codec.decode(codec.encode(parts))
    net.load_state_dict({n: units.fill_up(t, shapes[n]) for n, t in tensors.items()})
    return net.eval()


@each_network
def test_it_answers_as_the_network_that_is_read_from_its_file(name, digits):
    model = coded(name)
    with torch.no_grad():
        model.log_steps.copy_(model.log_steps.exp().half().float().log())  # as the file has them
        found = model(digits.test.images[:50])
        expected = read(name, model.parts())(digits.test.images[:50])
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


@each_network
def test_its_gradients_are_those_of_learned_steps(name, digits):
    model = coded(name)
    images, labels = torch.randn(40, 1, 28, 28), digits.train.labels[:40]  # no ties in a pool
    steps = model.log_steps.detach().exp().requires_grad_()
    latent = {n: p.detach().clone().requires_grad_() for n, p in model.net.named_parameters()}
    rounded = {
        n: fake_quantize_lsq(p, s, -127, 127, numbers=0)
        for (n, p), s in zip(latent.items(), steps.unbind(), strict=True)
    }
    F.cross_entropy(torch.func.functional_call(model.net, rounded, (images,)), labels).backward()
    F.cross_entropy(model(images), labels).backward()
    for n, p in model.net.named_parameters():
        assert torch.allclose(p.grad, latent[n].grad, rtol=1e-3, atol=1e-6), n
    assert torch.allclose(model.log_steps.grad, steps.grad * steps.detach(), rtol=1e-2, atol=1e-5)


@each_network
def test_units_that_change_nothing_are_left_out_and_the_others_sorted(name, digits):
    model = coded(name)
    first = next(iter(model.net.children()))
    second = list(model.net.children())[1]
    with torch.no_grad():
        first.weight[1] = first.bias[1] = 0
        last = second.weight.unflatten(1, (len(first.weight), -1))
        last[:, 0] = 0
        found = model(digits.test.images[:50])
        model.log_steps.copy_(model.log_steps.exp().half().float().log())
    parts = model.parts()
    weight = parts[model.weights[0]].q
    assert len(weight) == len(first.weight) - 2
    counts = (weight != 0).flatten(1).sum(1).tolist()
    assert counts == sorted(counts, reverse=True)
    with torch.no_grad():
        expected = read(name, parts)(digits.test.images[:50])
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_a_network_of_zeros_keeps_a_unit_in_each_layer():
    model = coded("lenet-300-100")
    with torch.no_grad():
        for p in model.net.parameters():
            p.zero_()
    assert [tuple(part.q.shape) for part in model.parts().values()] == [
        (1, 784), (1,), (1, 1), (1,), (10, 1), (10,),
    ]  # fmt: skip


def train(model, digits, rounds, **options):
    def examples(batch, generator):
        return digits.train.images[batch], digits.train.labels[batch]

    def loss(logits, images, labels):
        return F.cross_entropy(logits, labels)

    train_coded(model, digits.train, rounds, seed=0, loss=loss, examples=examples, **options)
    return model


@pytest.fixture
def often(monkeypatch):
    """With few steps an epoch the price must follow soon."""
    monkeypatch.setattr(coded_training, "RENEWED", 5)


def test_the_file_becomes_as_long_as_it_should_be(digits, often):
    model = CodedNet(models.build("lenet-300-100", 0, hidden=(30, 20)))
    train(model, digits, Rounds(epochs=3))
    assert not model.rounds
    for size in (3000, 1500):
        train(model, digits, Rounds(epochs=20, shrinking=10, bytes=size, batch_size=16))
        assert model.rounds
        assert 0.8 * size < len(codec.encode(model.parts())) < 1.2 * size
    wrong = read("lenet-300-100", model.parts())(digits.test.images).argmax(1) != digits.test.labels
    assert int(wrong.sum()) < 100  # of 400


def test_the_price_rises_while_the_file_is_too_long_and_falls_while_it_is_too_short():
    model = coded("lenet-300-100")
    _, bits = model.costs()
    for size, sign in ((100, 1), (10**6, -1)):
        target = coded_training._Target(model, Rounds(epochs=1, bytes=size), per_epoch=100)
        prices = [float(target.price)]
        for step in range(3 * coded_training.RENEWED):
            assert target.toll(step).item() == pytest.approx(float(target.price) * bits, rel=1e-4)
            prices.append(float(target.price))
        assert sign * (prices[-1] - prices[0]) > 0
        assert len(set(prices)) == 4  # it holds for a while
    middle = Rounds(epochs=4, shrinking=2, bytes=1000)
    target = coded_training._Target(model, middle, per_epoch=10)
    target.toll(0)
    last = 8000 / float(target.beside)
    wanted = [target._wanted(epoch) for epoch in (0, 1, 2, 3)]
    assert wanted == pytest.approx([bits, math.sqrt(bits * last), last, last], rel=1e-6)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_with_the_same_result(digits, often, tmp_path):
    rounds = Rounds(epochs=4, shrinking=2, bytes=4000)
    begun = train(CodedNet(models.build("lenet-300-100", 0, hidden=(30, 20))), digits, Rounds(1))
    whole = train(copy.deepcopy(begun), digits, rounds).state_dict()

    def progress(done, planned):
        if done == 25:
            raise Killed

    path = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        train(copy.deepcopy(begun), digits, rounds, progress=progress, checkpoint=path)
    again = train(copy.deepcopy(begun), digits, rounds, checkpoint=path).state_dict()
    assert all(again[name].equal(whole[name]) for name in whole)
    assert not path.exists()
