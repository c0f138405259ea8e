"""What only exercises 1 to 3 of chapter 09 hold: their oracles, and inputs that hide no mistake."""

import random
from itertools import product

import pytest
import torch
from scipy import stats

from shrink.chapters.tickets import chance, control_mistakes, controls, survivor_masks, ticket
from tests.chapters.judging import judge


def test_all_masks_are_right_that_drop_the_smallest_survivors():
    weight, mask = torch.tensor([2.0, 9, -2, 0, 2, -5]), torch.tensor([1, 1, 1, 0, 1, 1]).bool()
    right = survivor_masks.right_masks({"w": weight}, {"w": mask}, {"w": 0.4})  # two of five
    found = [
        keep
        for keep in product([False, True], repeat=6)
        if right == survivor_masks.listed({"w": torch.tensor(keep)})
    ]
    ties = [(0, 2), (0, 4), (2, 4)]
    assert sorted(found) == sorted(tuple(i not in (*pair, 3) for i in range(6)) for pair in ties)


@pytest.mark.parametrize("seed", range(3))
def test_training_changes_every_tensor_that_is_rewound(seed):
    for model, train, prune in ticket._cases(random.Random(seed)):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        train(model)
        kept = [name for name, t in model.state_dict().items() if torch.equal(t, before[name])]
        assert kept == []
        assert prune(model).keys() <= before.keys()


def test_the_distance_from_the_uniform_distribution_is_that_of_scipy():
    numbers = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for values in (numbers, numbers**1.1, 0.4 + numbers / 2):
        assert chance.distance(values) == pytest.approx(stats.kstest(values, "uniform").statistic)


def test_a_model_that_nothing_trained_has_the_values_of_its_seed():
    cases = [case for case in controls._cases(random.Random(0)) if case[1].keys() == {"fc1.weight"}]
    ((model, _, seed),) = cases
    made = control_mistakes.drawn_anew(model, seed).state_dict()
    assert all(torch.equal(tensor, made[name]) for name, tensor in model.state_dict().items())


def test_chance_is_called_chance():
    """Of many draws none is called related, uneven or of another distribution."""
    model, masks, seed = next(controls._cases(random.Random(1)))
    for number in range(seed + 1, seed + 40):
        net, shuffled = controls.make_controls.reference(model, masks, number)
        assert chance.of_net(net, model, masks, seed) is None
        assert chance.of_masks(shuffled, masks) is None


@pytest.mark.parametrize(
    ("after", "outcome"),
    [(lambda: 1 / 0, "raised ZeroDivisionError"), (lambda: None, "return a pair")],
)
def test_controls_that_go_wrong_with_another_seed_alone_are_told(after, outcome):
    right, calls = controls.make_controls.reference, []

    def once_too_far(model, masks, seed):
        calls.append(seed)
        return after() if seed - 1 in calls else right(model, masks, seed)

    told = judge(controls.make_controls, once_too_far, 0)
    assert told.state == "wrong" and outcome in told.message


def test_a_sparse_mask_is_no_mask_to_return():
    def answer(model, train, prune):
        masks = ticket.find_ticket.reference(model, train, prune)
        return {name: mask.to_sparse() for name, mask in masks.items()}

    told = judge(ticket.find_ticket, answer, 0)
    assert told.state == "wrong" and "return the masks too" in told.message
