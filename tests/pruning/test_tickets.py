"""Rounds of tickets: what each begins with, what it leaves behind, and what is refused."""

import pytest
import torch
from torch import nn

from shrink import pruning
from shrink.classroom import models
from tests.pruning.ticket_nets import Normed, all_true, bits, everything, numbers, oracle


class Eight(nn.Module):
    """Eight weights in two layers and a bias."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0, -6.0]))
        self.b = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.bias = nn.Parameter(torch.tensor([0.5]))


class Trainings:
    """A known training: two steps add to what the masks leave of `a`, and each 1 to the bias."""

    push = torch.tensor([[9.0, 0.0, 0.0, 0.0, -4.5, 0.0], [0.0, 0.0, -2.5, 3.5, 0.0, 5.0]])

    def __init__(self, counted_from=1):
        self.counted_from, self.began, self.held = counted_from, [], []

    @torch.no_grad()
    def __call__(self, model, masks, watch):
        self.began.append({name: p.tolist() for name, p in model.named_parameters()})
        self.held.append(masks)
        for step, push in enumerate(self.push, self.counted_from):
            model.a.add_(torch.where(masks["a"], push, 0))
            model.bias.add_(1)
            watch(step)


MASKS = {"a": torch.ones(6) > 0, "b": torch.ones(2) > 0}
THIRD_AND_HALF = {"a": 1 / 3, "b": 0.5}
INITIAL = [1.0, -2.0, 3.0, -4.0, 5.0, -6.0]
AFTER_ONE = [10.0, -2.0, 3.0, -4.0, 0.5, -6.0]
TRAINED = [10.0, -2.0, 0.5, -0.5, 0.5, -1.0]
T, F = True, False


def where(mask, values):
    return [value if keep else 0.0 for keep, value in zip(mask, values, strict=True)]


def test_three_rounds_by_hand():
    """Of a, 2 of 6 go (the first two of three that tie at 0.5), then 1 of 4, then 1 of 3; of b 1 of
    2, and then none, as round(0.5) is 0. The initial values would rank the other way round."""
    model, train = Eight(), Trainings()
    a = [[T, T, T, T, T, T], [T, T, F, F, T, T], [T, T, F, F, F, T], [T, T, F, F, F, F]]
    b = [[T, T], [F, T], [F, T], [F, T]]
    for found in pruning.find_tickets(model, train, MASKS, THIRD_AND_HALF, rounds=3):
        left = a[found.number], b[found.number]
        assert (found.masks["a"].tolist(), found.masks["b"].tolist()) == left
        assert model.a.tolist() == where(left[0], TRAINED) and model.bias.tolist() == [2.5]
        assert train.began[-1] == {
            "a": where(left[0], INITIAL),
            "b": where(left[1], [1.0, -1.0]),
            "bias": [0.5],
        }
    assert found.number == 3 and len(train.began) == 4
    assert model.a.tolist() == where(a[3], TRAINED)  # and is left as trained


@pytest.mark.parametrize(
    ("rewind_to", "begins", "bias"),
    [(0, INITIAL, 0.5), (1, AFTER_ONE, 1.5), (2, TRAINED, 2.5)],
)
def test_rounds_begin_at_the_step_that_is_named(rewind_to, begins, bias):
    model, train = Eight(), Trainings()
    for found in pruning.find_tickets(model, train, MASKS, 1 / 3, 2, rewind_to=rewind_to):
        if found.number:
            assert train.began[-1]["a"] == where(found.masks["a"].tolist(), begins)
            assert train.began[-1]["bias"] == [bias]
    assert train.began[0]["a"] == INITIAL and len(train.began) == 3


def test_rewound_to_the_end_training_goes_on():
    """No step is rewound, not even to the end of the first training; and no snapshot is taken."""
    model, train = Eight(), Trainings()
    a = [[T, T, T, T, T, T], [T, T, F, F, T, T]]
    for found in pruning.find_tickets(model, train, MASKS, 1 / 3, 2, rewind_to=None):
        if found.number == 1:
            assert found.masks["a"].tolist() == a[1]
            assert train.began[1] == {
                "a": where(a[1], TRAINED),
                "b": [0.0, -1.0],
                "bias": [2.5],
            }
            assert model.a.tolist() == [19.0, -2.0, 0.0, 0.0, -4.0, 4.0]
    assert train.began[2]["a"] == [19.0, 0.0, 0.0, 0.0, -4.0, 4.0]
    assert train.began[2]["bias"] == [4.5]


@pytest.mark.parametrize(("rewind_to", "taken"), [(0, 1), (2, 1), (None, 0)])
def test_one_snapshot_is_taken_and_only_where_it_is_needed(rewind_to, taken, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "shrink.pruning.tickets.snapshot", lambda m: [calls.append(1), pruning.snapshot(m)][1]
    )
    for _ in pruning.find_tickets(Eight(), Trainings(), MASKS, 0.3, 3, rewind_to=rewind_to):
        pass
    assert len(calls) == taken


def test_the_model_is_as_trained_where_rounds_end_early():
    model, train = Eight(), Trainings()
    rounds = pruning.find_tickets(model, train, MASKS, 1 / 3, 5)
    assert not train.began and model.a.tolist() == INITIAL  # nothing before the first is asked for
    first, second = next(rounds), next(rounds)
    rounds.close()
    assert (first.number, second.number, len(train.began)) == (0, 1, 2)
    assert model.a.tolist() == where(second.masks["a"].tolist(), TRAINED)


def test_the_initial_state_is_that_when_the_first_round_is_asked_for():
    model, train = Eight(), Trainings()
    rounds = pruning.find_tickets(model, train, MASKS, 0.5, 1)
    with torch.no_grad():
        model.bias.fill_(7)
    assert [found.number for found in rounds] == [0, 1]
    assert [began["bias"] for began in train.began] == [[7.0], [7.0]]


def test_masks_of_the_first_training_hold_from_the_beginning():
    model, train = Eight(), Trainings()
    masks = {"a": torch.tensor([T, T, F, T, F, T]), "b": torch.tensor([T, F])}
    given = {name: mask.clone() for name, mask in masks.items()}
    found = list(pruning.find_tickets(model, train, masks, 0.5, 1))
    assert train.began[0]["a"] == where(masks["a"].tolist(), INITIAL)
    assert [int(one.masks["a"].sum()) for one in found] == [4, 2]
    assert not (found[1].masks["a"] & ~masks["a"]).any()
    assert all(masks[name].equal(given[name]) for name in masks)
    assert found[0].masks["a"] is not masks["a"]


def test_layers_without_a_mask_are_rewound_and_never_pruned():
    model, train = Eight(), Trainings()
    for found in pruning.find_tickets(model, train, {"a": MASKS["a"]}, 0.5, 2):
        assert list(found.masks) == ["a"]
    assert train.began[-1]["b"] == [1.0, -1.0]


def test_a_training_may_change_the_masks_that_it_is_given():
    """As `prune_gradually` would: the rounds' own are not these."""

    def train(model, masks, watch):
        masks["a"] = torch.zeros(6) > 0
        del masks["b"]

    found = list(pruning.find_tickets(Eight(), train, MASKS, 0.5, 1))
    assert [int(one.masks["a"].sum()) for one in found] == [6, 3]


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"rewind_to": -1}, ValueError, "rewind_to.*-1"),
        ({"rewind_to": True}, TypeError, "rewind_to.*True"),
        ({"rewind_to": 1.0}, TypeError, "rewind_to.*1.0"),
        ({"rounds": -2}, ValueError, "rounds.*-2"),
        ({"rounds": None}, TypeError, "rounds.*None"),
        ({"rates": 1.5}, ValueError, "rates.*1.5"),
        ({"rates": {"a": 0.2}}, ValueError, "no rate for b"),
        ({"rates": {"a": 0.2, "b": 0.1, "bias": 0.1}}, ValueError, "given for bias"),
        ({"masks": {}}, ValueError, "empty"),
        ({"masks": {"c": MASKS["a"]}}, ValueError, "'c'"),
        ({"masks": {"a": MASKS["b"]}}, ValueError, r"mask of a has shape \(2,\)"),
        ({"masks": {"a": torch.ones(6)}}, TypeError, "mask of a.*float32"),
        ({"masks": None}, TypeError, "masks.*NoneType"),
        ({"train": None}, TypeError, "train.*NoneType"),
        ({"model": {"a": 1}}, TypeError, "the model.*dict"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(change, error, named):
    model = Eight()
    train = lambda *_: pytest.fail("trained")  # noqa: E731
    given = {"model": model, "train": train, "masks": MASKS, "rates": 0.5, "rounds": 2} | change
    with pytest.raises(error, match=named):
        pruning.find_tickets(**given)
    assert model.a.tolist() == INITIAL


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_step_that_the_first_training_has_not_is_named_beside_its_last(rounds):
    for steps, rewind_to in ((2, 3), (2, 10**9), (0, 1)):

        def train(model, masks, watch, steps=steps):
            for step in range(steps):
                watch(step + 1)

        tickets = pruning.find_tickets(Eight(), train, MASKS, 0.5, rounds, rewind_to=rewind_to)
        with pytest.raises(ValueError, match=f"rewind to step {rewind_to}: .* {steps} as its last"):
            next(tickets)


def test_later_trainings_need_not_come_by_the_step():
    """They may stop early, as at the least validation loss."""
    lengths = iter([4, 1, 0])

    def train(model, masks, watch):
        for step in range(next(lengths)):
            watch(step + 1)

    assert len(list(pruning.find_tickets(Eight(), train, MASKS, 0.5, 2, rewind_to=3))) == 3


@pytest.mark.parametrize("rewind_to", [0, 1, None])
@pytest.mark.parametrize(
    ("steps", "named"),
    [([0], "at least 1, not 0"), ([1, 1], "at least 2, not 1"), ([3, 2], "at least 4, not 2")],
)
def test_steps_that_are_counted_from_0_or_do_not_rise_are_named(rewind_to, steps, named):
    def train(model, masks, watch):
        for step in steps:
            watch(step)

    tickets = pruning.find_tickets(Eight(), train, MASKS, 0.5, 1, rewind_to=rewind_to)
    with pytest.raises(ValueError, match=f"the step that train reports must be {named}"):
        next(tickets)


def test_a_training_that_does_not_hold_the_masks_is_told_so():
    @torch.no_grad()
    def train(model, masks, watch):
        model.a.add_(1)

    tickets = pruning.find_tickets(Eight(), train, MASKS, 0.5, 2)
    assert next(tickets).number == 0
    with pytest.raises(ValueError, match=r"train must hold the masks, and left 3 .* of a other"):
        next(tickets)


def test_weights_that_are_nan_cannot_be_ranked():
    @torch.no_grad()
    def train(model, masks, watch):
        model.b.fill_(torch.nan)

    tickets = pruning.find_tickets(Eight(), train, MASKS, 0.5, 2)
    next(tickets)
    with pytest.raises(ValueError, match="b holds 2 NaN"):
        next(tickets)


def test_an_error_in_training_is_passed_on_and_ends_the_rounds():
    def train(model, masks, watch):
        raise KeyError("no data")

    tickets = pruning.find_tickets(Eight(), train, MASKS, 0.5, 2)
    with pytest.raises(KeyError, match="no data"):
        next(tickets)
    assert next(tickets, None) is None


# ---- real training


def held_training(steps, optimizers):
    """Adam under masks held, with an optimizer of its own each time."""

    def train(model, masks, watch):
        weights = {name: p for name, p in model.named_parameters() if name in masks}
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizers.append(torch.optim.Adam(trained, lr=0.02))
        x = numbers(6, 1, 5, 5, dtype=trained[0].dtype)
        with pruning.hold_masks(weights, masks, optimizers[-1]):
            for step in range(steps):
                optimizers[-1].zero_grad()
                (model(x) - 1).square().mean().backward()
                optimizers[-1].step()
                watch(step + 1)

    return train


@pytest.mark.parametrize("rewind_to", [0, 3, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_convolution_a_norm_and_a_frozen_layer_are_rewound(dtype, rewind_to):
    """Beside the same rounds written out: each begins with θ_k ⊙ m, its statistics of norms too."""
    rates = {"conv.weight": 0.3, "fc.weight": 0.4}
    model, optimizers = Normed().to(dtype), []
    masks = {name: torch.ones_like(everything(model)[name], dtype=torch.bool) for name in rates}
    by_hand, states = Normed().to(dtype), []
    ones = dict(masks)
    found = []
    for one in pruning.find_tickets(
        model, held_training(5, optimizers), masks, rates, 3, rewind_to=rewind_to
    ):
        found.append({name: bits(t) for name, t in everything(model).items()})
        for name, mask in one.masks.items():
            counts = pruning.count_survivors(mask.numel(), rates[name], 3)
            assert int(mask.sum()) == counts[one.number]
            assert not everything(model)[name][~mask].any()
    assert len({id(optimizer) for optimizer in optimizers}) == 4

    state = pruning.snapshot(by_hand)
    for number in range(4):

        def watch(step, first=number == 0):
            if first and step == rewind_to:
                states.append(pruning.snapshot(by_hand))

        held_training(5, [])(by_hand, ones, watch)
        assert {n: bits(t) for n, t in everything(by_hand).items()} == found[number]
        ones = {
            n: torch.tensor(oracle(everything(by_hand)[n].detach(), ones[n], rates[n]))
            for n in rates
        }
        start = pruning.snapshot(by_hand) if rewind_to is None else (states or [state])[0]
        pruning.rewind(by_hand, start, ones)


def test_five_rounds_of_lenet_have_the_exact_counts():
    model, rates = models.build("lenet-300-100", 0), {"fc1.weight": 0.2, "fc2.weight": 0.2}
    rates["fc3.weight"] = 0.1
    masks = all_true(models.weights(model))

    @torch.no_grad()
    def train(model, masks, watch):
        for seed, (name, w) in enumerate(models.weights(model).items()):
            w.add_(torch.where(masks[name], numbers(*w.shape, seed=seed) / 20, 0))

    for found in pruning.find_tickets(model, train, masks, rates, 5):
        for name, mask in found.masks.items():
            counts = pruning.count_survivors(mask.numel(), rates[name], 5)
            assert int(mask.sum()) == counts[found.number]
    kept = sum(int(mask.sum()) for mask in found.masks.values())
    assert kept / 266_200 == pruning.kept_shares(models.weights(model), rates, 5)[-1]
