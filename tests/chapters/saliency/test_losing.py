"""Guesses why the diagonal loses: each way scores as its name says, and is measured once."""

import pytest
import torch
import torch.nn.functional as F

from shrink import pruning
from shrink.chapters.saliency import deletions, losing
from shrink.classroom import models
from shrink.classroom.baselines import RECIPES, baseline
from shrink.classroom.data import Dataset, Split
from shrink.classroom.training import Recipe


@pytest.fixture(autouse=True)
def short(tmp_path, monkeypatch):
    """Few steps and images, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, (losing.NAME, "digits"), Recipe(1, weight_decay=0.1))
    monkeypatch.setattr(losing, "SPARSITIES", (0.5, 0.9))
    monkeypatch.setattr(losing, "FEW", 2)


@pytest.fixture(scope="module")
def few():
    g = torch.Generator().manual_seed(0)
    return Dataset("digits", *(_split(g) for _ in range(3)))


def _split(g):
    return Split(torch.rand(20, 1, 28, 28, generator=g), torch.randint(10, (20,), generator=g))


def test_what_is_compared_is_what_pruning_does(few, monkeypatch):
    found = losing.compared("magnitude", few, [0])
    net = baseline(losing.NAME, few)
    weights = deletions.weights_of(net)
    with torch.no_grad():
        whole = F.cross_entropy(net(few.train.images), few.train.labels).item()
        for place, share in enumerate(losing.SPARSITIES):
            masks = pruning.global_masks(weights, share)
            other = models.build(losing.NAME, 0)
            other.load_state_dict({**net.state_dict(), **pruning.apply_masks(weights, masks)})
            rise = F.cross_entropy(other(few.train.images), few.train.labels).item() - whole
            right = (other(few.validation.images).argmax(1) == few.validation.labels).float().mean()
            moved = sum(((w * ~masks[n]) ** 2).sum().item() for n, w in weights.items()) ** 0.5
            assert found.rise[0, place] == pytest.approx(rise, abs=1e-5)
            assert found.right[0, place] == pytest.approx(100 * right.item(), abs=1e-3)
            assert found.moved[0, place] == pytest.approx(moved, rel=1e-4)
    monkeypatch.setattr(losing, "_right", lambda *_: pytest.fail("it is measured again"))
    assert (losing.compared("magnitude", few, [0]).rise == found.rise).all()


def test_parts_add_up_to_the_rise_that_is_compared(few):
    (parts,) = losing.parts("OBD", few, [0])
    rises = losing.compared("OBD", few, [0]).rise[0]
    assert [part.actual for part in parts] == pytest.approx(rises.tolist(), abs=1e-5)


def test_the_network_without_decay_has_larger_weights(few):
    norms = [
        sum(float(w.square().sum()) for w in deletions.weights_of(net).values())
        for net in (losing.network(few, 0, decay) for decay in (True, False))
    ]
    assert norms[0] < 0.97 * norms[1]


def test_ways_score_as_their_names_say(few):
    net = baseline(losing.NAME, few)
    weights = deletions.weights_of(net)

    def diagonal(images, by="backpropagated", net=net):
        return pruning.hessian_diagonal(net, images, few.train.labels[: len(images)], by)

    def saliency(h):
        return pruning.obd_saliency(weights, h)["fc2.weight"]

    found = {name: way.score(net, few)["fc2.weight"] for name, way in losing.WAYS.items()}
    plain = diagonal(few.train.images)
    assert torch.allclose(found["OBD"], saliency(plain))
    exact = diagonal(few.train.images[:2], "gauss-newton")
    assert torch.allclose(found["OBD, exact diagonal"], saliency(exact))
    held_out = deletions.order_of(net, few.validation, "OBD")["fc2.weight"]
    assert torch.allclose(found["OBD, held-out images"], held_out)
    assert not torch.allclose(held_out, found["OBD"])
    mean = torch.cat([plain[name].flatten() for name in weights]).mean()
    damped = saliency({name: plain[name] + 10 * mean for name in weights})
    assert torch.allclose(found["OBD, a constant added to h"], damped)
    with torch.no_grad():
        softer = models.build(losing.NAME, 0)
        softer.load_state_dict(net.state_dict())
        for p in softer.fc3.parameters():
            p /= losing.TEMPERATURE  # logits of a quarter, made in another way
    softened = saliency(diagonal(few.train.images, net=softer))
    assert torch.allclose(found["OBD, softened logits"], softened, atol=1e-9, rtol=1e-3)
    assert found["magnitude"].equal(weights["fc2.weight"].abs())
    steps = {way.steps for name, way in losing.WAYS.items() if "anew" in name}
    assert steps == {losing.STEPS} and not losing.WAYS["OBD, trained without decay"].decay
