"""Chapter 08's exercises 3, 4 and 6: what their oracles say, against PyTorch and the library."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink import pruning
from shrink.chapters.saliency import breaking, by_hand, chains, flow, steps
from shrink.chapters.saliency.score_functions import Score, synflow_of
from tests import depth


def numbers(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain_model(*matrices):
    """The matrices as linear layers without bias, in float64."""
    layers = [nn.Linear(*m.shape[::-1], bias=False, dtype=torch.float64) for m in matrices]
    for layer, matrix in zip(layers, matrices, strict=True):
        layer.weight.data.copy_(matrix)
    return nn.Sequential(*layers)


# --- exercise 3 ----------------------------------------------------------------------------


def test_a_convolution_is_the_matrix_of_the_oracle():
    conv = nn.Conv2d(2, 3, (2, 3), bias=False).double()
    x = numbers(0, 2, 4, 5)
    (step,) = by_hand.steps_of(nn.Sequential(conv), (2, 4, 5))
    outputs = step.matrix @ x.flatten().numpy()
    right = F.conv2d(x[None], conv.weight.abs()).flatten()
    assert outputs == pytest.approx(right.detach().numpy())
    assert step.shape == (3, 3, 3)


@pytest.mark.parametrize("seed", depth.seeds(10))
def test_the_scores_by_hand_are_conserved_at_each_hidden_unit(seed):
    sizes = (5, 4, 6, 3, 2)
    layers = flow.linear_layers(*sizes)
    model = flow.filled(torch.Generator().manual_seed(seed), layers)
    scores = list(by_hand.by_hand(model, (5,)).values())
    for into, out_of in itertools.pairwise(scores):
        assert into.sum(1).tolist() == pytest.approx(out_of.sum(0).tolist())
    assert scores[0].sum() == pytest.approx(scores[-1].sum())


def test_the_scores_by_hand_are_those_of_the_text():
    model = flow.filled(torch.Generator(), flow.linear_layers(1, 2, 1))
    model.fc1.weight.data = torch.tensor([[1.0], [-2.0]])
    model.fc2.weight.data = torch.tensor([[3.0, -1.0]])
    first, second = by_hand.by_hand(model, (1,)).values()
    assert (first.tolist(), second.tolist()) == ([[3], [2]], [[3, 2]])


# --- exercise 4 ----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 2, 2), (4, 3, 5, 2), (2, 5, 3, 4, 1)])
def test_at_one_weight_for_each_layer_synflow_leaves_each_layer_its_own(sizes):
    layers = len(sizes) - 1
    score = synflow_of(*sizes)
    for seed in depth.seeds(20):
        weights = numbers(seed, score.weights)
        mask = steps.pruned(score, weights, keep=layers, steps=100)
        left = chains.parted(mask, sizes)
        assert [int(part.sum()) for part in left] == [1] * layers
        assert chains.paths(left) == 1


def test_pruning_in_steps_is_what_the_library_does():
    for seed in depth.seeds(20):
        matrices = [numbers(seed, 4, 5), numbers(seed + 100, 3, 4), numbers(seed + 200, 2, 3)]
        weights, sizes = chains.joined(matrices), (5, 4, 3, 2)
        model = chain_model(*matrices)
        theirs = pruning.prune_by_score(
            model, lambda net: pruning.synflow_scores(net, (5,)), 1 - 9 / 38, steps=4
        )
        mine = steps.pruned(synflow_of(*sizes), weights, 9, 4)
        assert mine.equal(chains.joined(list(theirs.values())))


def test_every_choice_among_equal_scores_is_right():
    score = Score("magnitude", torch.abs, 4)
    right = steps.right_masks(score, torch.tensor([1.0, -1.0, 1.0, 3.0]), 2, 1)
    assert right.masks == {(i == 0, i == 1, i == 2, True) for i in range(3)}


# --- exercise 6 ----------------------------------------------------------------------------

TEXT = ([[1, 1, 1, 9], [1, 1, 1, 1]], [[5, 1]])
BROKEN = ([[4, 3, 1, 1], [4, 3, 1, 1]], [[6, 5]])


def ways(net):
    """By name, how many paths each of the six ways leaves, for each of its choices."""
    found = {way.name: way(net) for way in breaking.BREAKABLE} | {"right": breaking.right(net)}
    return {
        name: [breaking.number_of_paths(mask) for mask in masks] for name, masks in found.items()
    }


def test_on_the_pair_of_the_text_all_ways_leave_a_path():
    assert set(map(tuple, ways(breaking.read(TEXT)).values())) == {(1,)}


def test_on_another_pair_only_the_right_way_does():
    left = ways(breaking.read(BROKEN))
    assert {name for name, paths in left.items() if any(paths)} == {"right"}


def test_the_scores_are_those_by_hand():
    """W1 @ image is 17 for both units; each first-layer weight flows times its unit's 6 or 5."""
    net = breaking.read(BROKEN)
    first, second = breaking.snip(net)
    assert first[0].tolist() == [24, 36, 18, 24] and second.tolist() == [[102, 85]]
    first, second = chains.synflow(net)
    assert first[0].tolist() == [24, 18, 6, 6] and second.tolist() == [[54, 45]]


@pytest.mark.parametrize("seed", depth.seeds(20))
def test_the_ways_are_those_of_the_library(seed):
    net = (numbers(seed, 2, 4), numbers(seed + 50, 1, 2))
    model = chain_model(*net)

    def synflow(net):
        return pruning.synflow_scores(net, (4,))

    def left(step, steps, final):
        return final * step / steps

    image = torch.tensor([breaking.IMAGE], dtype=torch.float64)
    gradients = torch.autograd.grad(model(image).sum(), list(model.parameters()))
    named = dict(model.named_parameters())
    snip = {n: (g * w).detach().abs() for (n, w), g in zip(named.items(), gradients, strict=True)}
    theirs = {
        "magnitude": pruning.global_masks(named, 0.8),
        "gradient": pruning.masks_from_scores(
            {name: g.abs() for name, g in zip(named, gradients, strict=True)}, 0.8
        ),
        "SNIP": pruning.masks_from_scores(snip, 0.8),
        "one shot": pruning.prune_by_score(model, synflow, 0.8),
        "linear": pruning.prune_by_score(model, synflow, 0.8, steps=2, schedule=left),
        "right": pruning.prune_by_score(model, synflow, 0.8, steps=2),
    }
    mine = {way.name: way(net) for way in breaking.BREAKABLE} | {"right": breaking.right(net)}
    for name, masks in theirs.items():
        mask = chains.joined(list(masks.values()))
        assert any(mask.equal(one) for one in mine[name]), name


def test_paths_are_counted_one_by_one():
    masks = [torch.tensor([[1, 0, 1], [1, 1, 0]]) > 0, torch.tensor([[1, 1], [0, 1]]) > 0]
    found = [
        (i, h, o)
        for i, h, o in itertools.product(range(3), range(2), range(2))
        if masks[0][h, i] and masks[1][o, h]
    ]
    assert chains.paths(masks) == len(found) == 6
