"""The oracles of chapter 11's exercises 1 to 3 agree with others, and the text's examples hold."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import LinearConstraint, milp
from torch import nn
from torch.func import functional_call

from shrink.chapters.mixed import allocating, layer_bytes, sensitivities
from shrink.chapters.mixed.allocating_oracle import right_allocation, total
from shrink.chapters.mixed.layer_bytes import right_bytes
from shrink.chapters.mixed.sensitivities_oracle import right_sensitivities


def by_milp(costs, sizes, budget):
    """The least cost: a variable of 0 or 1 for each option, one of them in each layer."""
    options = [(name, bits) for name in costs for bits in costs[name]]
    one_each = np.array([[name == layer for name, _ in options] for layer in costs], float)
    used = np.array([[sizes[name][bits] for name, bits in options]], float)
    found = milp(
        [costs[name][bits] for name, bits in options],
        integrality=np.ones(len(options)),
        bounds=(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(used, 0, budget)],
        options={"mip_rel_gap": 0},
    )
    return found.fun


@pytest.mark.parametrize("seed", range(3))
def test_all_allocations_tried_cost_as_little_as_an_integer_program_finds(seed):
    for draw in allocating._cases(random.Random(seed)):
        costs, sizes, budget = draw()
        found = right_allocation(costs, sizes, budget)
        assert total(sizes, found) <= budget
        assert total(costs, found) == pytest.approx(by_milp(costs, sizes, budget))


def test_more_bits_take_more_bytes_and_may_cost_more():
    bumps = 0
    for draw in allocating._cases(random.Random(0)):
        costs, sizes, _ = draw()
        for name, options in sizes.items():
            steps = list(pairwise(sorted(options)))
            assert all(options[fewer] < options[more] for fewer, more in steps)
            bumps += any(costs[name][fewer] < costs[name][more] for fewer, more in steps)
    assert bumps > 5


def test_bytes_are_those_of_packed_bits_and_float32_scales():
    for draw in list(layer_bytes._cases(random.Random(0)))[:-1]:  # without the one of 100 million
        shapes, bits, per_channel = draw()
        held = 0
        for name, shape in shapes.items():
            if name in bits:
                held += np.packbits(np.zeros((*shape, bits[name]), np.uint8).ravel()).nbytes
                held += np.zeros(shape[0] if per_channel else 1, np.float32).nbytes
            else:
                held += np.zeros(shape, np.float32).nbytes
        assert right_bytes(shapes, bits, per_channel) == held


def test_sensitivities_are_the_divergence_that_torch_finds():
    for draw in sensitivities._cases(random.Random(0)):
        model, images, rounded = draw()
        right = right_sensitivities(model, images, rounded)
        model, images = model.double().eval(), images.double()
        for name, weight in rounded.items():
            changed = functional_call(model, {name: weight.double()}, images)
            p, q = (logits.log_softmax(1) for logits in (model(images), changed))
            by_torch = F.kl_div(q, p, reduction="batchmean", log_target=True).item()
            assert right[name] == pytest.approx(by_torch, abs=1e-9)


def test_the_examples_of_the_text():
    shapes, bits = {"conv": (4, 1, 3, 3), "fc": (3, 7)}, {"conv": 3, "fc": 2}
    assert [right_bytes(shapes, bits, per_channel) for per_channel in (False, True)] == [28, 48]
    assert right_bytes(shapes, {"conv": 3}, False) == 18 + 84

    net = nn.Sequential(nn.Linear(1, 2, bias=False))
    net[0].weight.data.copy_(torch.tensor([[1.0], [0.0]]))
    rounded = {"0.weight": torch.tensor([[0.5], [0.0]])}
    each = [right_sensitivities(net, torch.tensor([[x]]), rounded) for x in (0.0, 2.0)]
    assert [round(found["0.weight"], 3) for found in each] == [0, 0.067]
    both = right_sensitivities(net, torch.tensor([[0.0], [2.0]]), rounded)
    assert round(both["0.weight"], 3) == 0.034

    costs = {"a": {2: 5.0, 4: 1.0}, "b": {2: 3.0, 4: 0.5, 8: 0.25}}
    sizes = {"a": {2: 10, 4: 20}, "b": {2: 4, 4: 8, 8: 16}}
    assert right_allocation(costs, sizes, 28) == {"a": 4, "b": 4}
    others = [{"a": 4, "b": 4}, {"a": 4, "b": 2}, {"a": 2, "b": 8}, {"a": 4, "b": 8}]
    assert [total(costs, found) for found in others[:3]] == [1.5, 4.0, 5.25]
    assert [total(sizes, found) for found in others] == [28, 24, 26, 36]
