"""Prepared rounds: which weights are left, what each arm begins with, and what is asked when."""

import threading
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.chapters.tickets import rounds
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.masked_training import train_masked

SMALL = {"ROUNDS": 3, "SHOWN": (1, 3), "TRAINED": 120, "EPOCHS": 2, "LEARNING_RATE": 0.02}
SMALL |= {"WATCHED": (0, 1, 3, 4), "REWINDS": (0, 2, None), "ASKED": 50, "SEEDS": (0,)}
STEPS = 4


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Three rounds of a small network, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    for name, value in SMALL.items():
        monkeypatch.setattr(rounds, name, value)
    net = partial(models.LeNet300100, hidden=(12, 8))
    monkeypatch.setattr(rounds, "LeNet300100", net)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


def weights_of(net):
    return {name: p.detach().clone() for name, p in net.named_parameters() if p.dim() == 2}


def set_to(net, state, masks):
    """By hand: the state, with zeros where the masks are False."""
    net.load_state_dict({n: t * masks[n] if n in masks else t for n, t in state.items()})


def by_hand(digits, rewind_to):
    """Of each round the masks, and accuracy and loss before and after training."""
    few = Split(digits.train.images[:120], digits.train.labels[:120])
    net, states = rounds.initial(7), {}
    state = start = {n: t.clone() for n, t in net.state_dict().items()}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights_of(net).items()}
    for number in range(SMALL["ROUNDS"] + 1):
        set_to(net, start, masks)
        first = asked(net, digits.validation, SMALL["ASKED"])

        def after(step, planned, net=net):
            states[step] = {n: t.clone() for n, t in net.state_dict().items()}

        options = {"epochs": 2, "learning_rate": 0.02, "batch_size": 60, "seed": 7}
        train_masked(net, masks, few, **options, progress=after)
        yield masks, first, asked(net, digits.validation, None)
        if not number and rewind_to:
            state = states[rewind_to]
        start = states[STEPS] if rewind_to is None else state
        pruned = {}
        for name, w in weights_of(net).items():
            left = masks[name].flatten().nonzero().flatten()
            order = left[w.flatten()[left].abs().argsort(stable=True)]
            pruned[name] = masks[name].clone()
            pruned[name].view(-1)[order[: round(rounds.RATES[name] * len(left))]] = False
        masks = pruned


def asked(net, split, count):
    logits = net(split.images[:count]).detach()
    right = (logits.argmax(1) == split.labels[:count]).double().mean()
    return float(right), float(F.cross_entropy(logits, split.labels[:count]))


@pytest.mark.parametrize("rewind_to", [0, 2, None])
def test_a_chain_is_rounds_of_training_pruning_and_rewinding(digits, rewind_to):
    found = rounds.chain(digits, 7, rewind_to)
    oracle = list(by_hand(digits, rewind_to))
    assert len(found.curves) == len(oracle) == 4
    for number, (masks, first, last) in enumerate(oracle):
        curve = found.curves[number]
        assert (curve.accuracy[0], curve.loss[0]) == pytest.approx(first, rel=1e-5)
        assert (curve.accuracy[-1], curve.loss[-1]) == pytest.approx(last, rel=1e-5)
        assert len(curve.accuracy) == len(curve.loss) == len(rounds.WATCHED)
        if rewind_to == 0:
            own = found.masks(number)
            assert all(own[name].equal(mask) for name, mask in masks.items())
            share = sum(int(m.sum()) for m in own.values()) / sum(m.numel() for m in own.values())
            assert rounds.kept_share(number) == share
    again = rounds.chain(digits, 7, rewind_to)
    assert all(
        np.array_equal(a.loss, b.loss) for a, b in zip(found.curves, again.curves, strict=True)
    )


def test_masks_are_kept_only_where_rounds_begin_at_step_0(digits):
    with pytest.raises(ValueError, match="step 0"):
        rounds.chain(digits, 7, None).masks(1)
    for number in (-1, 4):
        with pytest.raises(ValueError, match=f"rounds 0 to 3, not {number}"):
            rounds.chain(digits, 7).masks(number)


def test_validation_images_are_asked_at_the_steps_that_are_named(digits):
    net, states = rounds.initial(1), {}
    whole = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights_of(net).items()}

    def note(step):
        states[step] = {n: t.clone() for n, t in net.state_dict().items()}

    note(0)
    curve = rounds.trained(net, whole, digits, 1, note)
    assert list(states) == [0, 1, 2, 3, 4]
    other = rounds.initial(2)
    for place, step in enumerate(rounds.WATCHED):
        other.load_state_dict(states[step])
        oracle = asked(other, digits.validation, SMALL["ASKED"] if step < STEPS else None)
        assert (curve.accuracy[place], curve.loss[place]) == pytest.approx(oracle, rel=1e-5)


def test_a_training_can_be_stopped(digits):
    net, stop = rounds.initial(1), threading.Event()
    whole = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights_of(net).items()}

    def watch(step):
        if step == 3:
            stop.set()

    curve = rounds.trained(net, whole, digits, 1, watch, stop)
    assert len(curve.accuracy) == 3  # after 0, 1 and 3 steps


def test_each_arm_changes_one_thing(digits):
    own = rounds.chain(digits, 7).masks(3)
    first = rounds.initial(7).state_dict()
    for arm in rounds.ARMS:
        net, masks = rounds.started(arm, 7, own)
        same_masks = all(masks[name].equal(mask) for name, mask in own.items())
        same_state = [net.state_dict()[name].equal(t) for name, t in first.items()]
        assert same_masks == (arm != "random places")
        assert all(same_state) == (arm in ("ticket", "random places"))
        assert [int(m.sum()) for m in masks.values()] == [int(m.sum()) for m in own.values()]
        if arm == "signs only":
            for name, w in weights_of(net).items():
                assert w.sign().equal(first[name].sign())
                assert w.abs().unique().numel() == 1
                assert float(w.abs().max()) == pytest.approx(float(first[name].std(correction=0)))
            assert all(net.state_dict()[n].equal(t) for n, t in first.items() if t.dim() == 1)
        if arm == "re-initialised":
            assert not any(same_state)


def test_new_values_and_places_are_drawn_apart_from_the_network(digits):
    own = rounds.chain(digits, 7).masks(3)
    anew, _ = rounds.started("re-initialised", 7, own)
    assert anew.fc1.weight.equal(rounds.initial(7 + rounds.APART).fc1.weight)
    assert not anew.fc1.weight.equal(rounds.initial(7).fc1.weight)
    places = [rounds.started("random places", seed, own)[1]["fc1.weight"] for seed in (7, 8)]
    assert not places[0].equal(places[1])


@pytest.mark.parametrize("arm", rounds.ARMS[1:])
def test_the_curve_of_an_arm_is_its_training_under_the_masks_of_the_round(digits, arm):
    curve = rounds.curve(digits, arm, 3, 7)
    net, masks = rounds.started(arm, 7, rounds.chain(digits, 7).masks(3))
    alone = rounds.trained(net, masks, digits, 7)
    assert curve.loss == pytest.approx(alone.loss, rel=1e-4)  # sums in another order
    assert not np.array_equal(curve.loss, rounds.curve(digits, arm, 1, 7).loss)
    dense = rounds.chain(digits, 7).curves[0]
    assert np.array_equal(rounds.curve(digits, arm, 0, 7).loss, dense.loss)


def test_what_is_not_prepared_is_refused_by_name(digits):
    assert rounds.prepared("ticket") == rounds.prepared("random places") == (1, 2, 3)
    assert rounds.prepared("signs only") == (1, 3)
    with pytest.raises(ValueError, match="signs only is prepared of rounds 0, 1, 3, not of 2"):
        rounds.curve(digits, "signs only", 2, 7)
    for refused in (
        lambda: rounds.curve(digits, "lucky", 1, 7),
        lambda: rounds.prepared("lucky"),
        lambda: rounds.started("lucky", 7, {}),
    ):
        with pytest.raises(ValueError, match="'lucky'"):
            refused()


def test_all_that_is_prepared_is_trained_beforehand(digits, monkeypatch):
    for make in rounds.trainings(digits):
        make()

    def refused(what, count=None, **options):
        raise AssertionError(f"{what} is not prepared")

    monkeypatch.setattr(rounds, "_bar", refused)
    for rewind_to in rounds.REWINDS:
        rounds.chain(digits, 0, rewind_to)
    for arm in rounds.ARMS:
        for number in rounds.prepared(arm):
            rounds.curve(digits, arm, number, 0)
    monkeypatch.setattr(rounds, "new_bar", refused)
    rounds.dense_as_long(digits, rounds.SHOWN[1], 0)
    with pytest.raises(AssertionError, match="seed 1, rewound to step 0 is not prepared"):
        rounds.chain(digits, 1)


@pytest.mark.parametrize("arm", ["ticket", "re-initialised", "random places"])
def test_rounds_that_halve_are_those_of_the_class(digits, arm, monkeypatch):
    trained, seen = rounds.trained, []

    def noted(net, masks, *args):
        seen.append((net.fc1.weight.detach().clone(), dict(masks)))
        return trained(net, masks, *args)

    monkeypatch.setattr(rounds, "trained", noted)
    curves = list(rounds.halved(digits, arm, 7))
    assert len(curves) == len(rounds.HALVED)
    assert np.array_equal(curves[0].loss, rounds.chain(digits, 7).curves[0].loss)
    tickets = seen[:6] if arm == "ticket" else seen[:1] + seen[1:11:2]
    for share, (start, masks) in zip(rounds.HALVED, tickets, strict=True):
        left = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
        assert 100 * left == pytest.approx(share, rel=0.05)  # the layers' sizes are others
        assert start.equal(rounds.initial(7).fc1.weight * masks["fc1.weight"])
    pairs = [] if arm == "ticket" else zip(seen[1:11:2], seen[2:11:2], strict=True)
    for (_, ticket), (start, masks) in pairs:
        assert [int(m.sum()) for m in masks.values()] == [int(m.sum()) for m in ticket.values()]
        if arm == "re-initialised":
            assert start.equal(rounds.initial(7 + rounds.APART).fc1.weight)
    with pytest.raises(ValueError, match="'lucky'"):
        next(rounds.halved(digits, "lucky", 7))


def test_a_dense_network_gets_all_steps_of_the_rounds(digits):
    few = Split(digits.train.images[:120], digits.train.labels[:120])
    net = rounds.initial(7)
    options = {"epochs": 2 * 4, "learning_rate": 0.02, "batch_size": 60, "seed": 7}
    assert train_masked(net, {}, few, **options).steps == 4 * STEPS
    oracle, _ = asked(net, digits.validation, None)
    assert rounds.dense_as_long(digits, 3, 7) == pytest.approx(oracle, rel=1e-6)


def test_pixels_count_the_weights_that_they_have_left():
    mask = torch.zeros(12, 784, dtype=torch.bool)
    mask[3, 0] = mask[4, 0] = mask[5, 29] = True
    pixels = rounds.surviving_pixels({"fc1.weight": mask})
    assert pixels[0, 0] == 2 and pixels[1, 1] == 1 and pixels.sum() == 3
