"""Rewinding a deeper network to step 0, to a later one, or with new initial values."""

import numpy as np
import pytest
import torch

from shrink.chapters.tickets import late
from shrink.classroom import data
from shrink.classroom.training import Recipe, accuracy


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """Two rounds of four steps each, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    small = {"ROUNDS": 2, "TRAINED": 80, "RECIPE": Recipe(2, 0.4, 0, batch_size=40)}
    small["STARTS"] = {"step 0": 0, "step 60": 2, "new initial values": 0}
    for name, value in small.items():
        monkeypatch.setattr(late, name, value)
    return data.load("digits", announce=False)


def state_of(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


@pytest.mark.parametrize("start", list(late.STARTS))
def test_each_round_begins_where_its_start_says(digits, start, monkeypatch):
    train, seen = late.train, []

    def noted(net, split, recipe, *, progress, **options):
        states = {0: state_of(net)}

        def after(step, planned):
            progress(step, planned)
            states[step] = state_of(net)

        train(net, split, recipe, progress=after, **options)
        seen.append((states, accuracy(net, digits.validation)))

    monkeypatch.setattr(late, "train", noted)
    found = late.accuracies(digits, start, 5)
    tickets = seen
    if start == "new initial values":
        tickets, others = seen[:2] + seen[3:4], seen[2::2]
        anew = late.initial(5 + late.APART).state_dict()
        assert all(states[0]["output.bias"].equal(anew["output.bias"]) for states, _ in others)
        assert found[1:].tolist() == [100 * right for _, right in others]
    else:
        assert found.tolist() == [100 * right for _, right in seen]
    first = seen[0][0]
    for number, (states, _) in enumerate(tickets):
        begun = states[0]
        rewound = first[late.STARTS[start]]
        weights = [name for name, t in begun.items() if t.dim() == 2]
        for name, t in begun.items():
            mask = begun[name] != 0 if name in weights else torch.ones_like(t, dtype=torch.bool)
            assert t.equal(torch.where(mask, rewound[name] if number else t, 0))
            if name in weights and number:
                left = int(mask.sum()) / mask.numel()
                assert left == pytest.approx(late.kept_shares()[number], abs=0.001)
    assert np.array_equal(found, late.accuracies(digits, start, 5))


def test_a_start_that_is_none_is_refused(digits):
    with pytest.raises(ValueError, match="'step 7'"):
        late.accuracies(digits, "step 7", 0)


def test_all_is_prepared_beforehand(digits, monkeypatch):
    monkeypatch.setattr(late, "SEEDS", (0,))
    for make in late.trainings(digits):
        make()
    monkeypatch.setattr(late, "new_bar", None)
    assert all(len(late.accuracies(digits, start, 0)) == 3 for start in late.STARTS)
