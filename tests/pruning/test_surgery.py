"""Units removed: the smaller model computes what the masked one does, and is a model like any."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.pruning import dependency_groups, mask_filters, mask_units, remove_units
from tests import depth
from tests.pruning.cases import (
    LARGE,
    RIGHT,
    answers,
    assert_same,
    built,
    groups_of,
    off,
    some,
)
from tests.pruning.nets import state_of

SEEDS = depth.seeds(30, few=1)
EXACT = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest output


# ---- the same outputs


@pytest.mark.parametrize("name", RIGHT)
def test_the_model_without_units_is_the_one_with_them_masked(name):
    for seed in SEEDS:
        for dtype in (torch.float64, torch.float32):
            model, x = built(RIGHT[name], dtype, seed)
            groups = groups_of(name)
            kept = some(groups, seed)
            smaller = remove_units(model, groups, kept)
            expected = answers(mask_units(model, groups, kept), x)
            assert off(answers(smaller, x), expected) < EXACT[dtype]
        if any(len(units) < groups[name].units for name, units in kept.items()):
            assert sum(p.numel() for p in smaller.parameters()) < sum(
                p.numel() for p in model.parameters()
            )


@pytest.mark.gpu
@pytest.mark.parametrize("name", RIGHT)
def test_on_cuda_too(name):
    model, x = built(RIGHT[name], torch.float64)
    model, x = model.cuda(), x.cuda()
    groups = dependency_groups(model, x)
    kept = {name: units.cuda() for name, units in some(groups, 1).items()}
    smaller = remove_units(model, groups, kept)
    assert all(t.is_cuda for t in smaller.state_dict().values())
    assert off(answers(smaller, x), answers(mask_units(model, groups, kept), x)) < 1e-9


@pytest.mark.parametrize("name", LARGE)
def test_masked_are_the_entries_of_those_units_and_no_others(name):
    model, _ = built(LARGE[name])
    groups = groups_of(name)
    kept = some(groups, 3)
    expected = {name: t.clone() for name, t in model.state_dict().items()}
    for group, units in kept.items():
        for member in groups[group].members:
            for entry, unit in enumerate(member.units.tolist()):
                if unit >= 0 and unit not in units.tolist():
                    expected[member.tensor].select(member.axis, entry).zero_()
    found = mask_units(model, groups, kept).state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in found)


# ---- a unit is all of its members, and nothing else


@pytest.mark.parametrize("name", LARGE)
def test_a_member_forgotten_is_another_model_or_none(name):
    model, x = built(LARGE[name], torch.float64)
    groups = groups_of(name)
    for group in random.Random(0).sample([*groups.values()], len(groups) if depth.DEEP else 2):
        for member in group.members:
            gone = member.units[member.units >= 0][0]
            kept = {group.name: torch.tensor([u for u in range(group.units) if u != gone])}
            expected = answers(mask_units(model, groups, kept), x)
            assert off(answers(remove_units(model, groups, kept), x), expected) < 1e-9
            members = tuple(m for m in group.members if m is not member)
            less = copy.copy(group)
            object.__setattr__(less, "members", members)
            try:
                found = answers(remove_units(model, {group.name: less}, kept), x)
            except (RuntimeError, ValueError):
                continue
            assert off(found, expected) > 1e-3, member


# ---- filters alone


@pytest.mark.parametrize("name", ["residual", "separable", "resnet"])
def test_zero_filters_are_no_removed_units_where_a_norm_follows(name):
    model, x = built(LARGE[name])
    groups = groups_of(name)
    kept = {name: torch.arange(group.units)[::2] for name, group in groups.items()}
    filters = mask_filters(model, groups, kept)
    assert off(answers(filters, x), answers(remove_units(model, groups, kept), x)) > 0.05
    expected = {name: t.clone() for name, t in model.state_dict().items()}
    for group, units in kept.items():
        for member in groups[group].members:
            if member.role == "makes":
                gone = ~torch.isin(member.units, units) & (member.units >= 0)
                expected[member.tensor][gone] = 0
    found = filters.state_dict()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_zero_filters_are_removed_units_where_no_norm_follows():
    model, x = built(LARGE["lenet-5"], torch.float64)
    groups = groups_of("lenet-5")
    kept = some(groups, 0)
    found = answers(mask_filters(model, groups, kept), x)
    assert off(found, answers(remove_units(model, groups, kept), x)) < 1e-9


# ---- the model that was given, and the new one


def places(model):
    tensors = [*model.parameters(), *model.buffers()]
    return {t.untyped_storage().data_ptr() for t in tensors if t.numel()}


@pytest.mark.parametrize("name", [*LARGE, "a layer of two names", "a scale per channel"])
def test_the_model_stays_as_it_was_and_shares_nothing(name):
    model, _ = built(RIGHT[name])
    model.train()
    next(iter(model.children())).eval()
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    before, groups = state_of(model), groups_of(name)
    parts = [*model.modules()]
    for how in (remove_units, mask_units, mask_filters):
        for kept in ({}, some(groups, 1)):
            new = how(model, groups, kept)
            assert_same(before, state_of(model))
            assert not places(model) & places(new)
            assert not {id(part) for part in parts} & {id(part) for part in new.modules()}
            assert [part.training for part in new.modules()] == [part.training for part in parts]
            assert [*new.state_dict()] == [*model.state_dict()]
            for mine, theirs in zip(new.parameters(), model.parameters(), strict=True):
                assert type(mine) is type(theirs) and mine.is_leaf and mine.is_contiguous()
                assert mine.requires_grad is theirs.requires_grad
                assert mine.grad is None or mine.grad.shape == mine.shape


@pytest.mark.parametrize("name", RIGHT)
def test_layers_know_their_new_sizes(name):
    model, _ = built(RIGHT[name])
    groups = groups_of(name)
    smaller = remove_units(model, groups, some(groups, 2))
    for part in smaller.modules():
        if isinstance(part, nn.Linear):
            assert (part.out_features, part.in_features) == part.weight.shape
        elif isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            assert part.out_channels == len(part.weight)
            assert part.in_channels == part.weight.shape[1] * part.groups
            assert part.out_channels % part.groups == 0
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            tensors = [*part.parameters(), *(b for b in part.buffers() if b.dim())]
            assert all(len(t) == part.num_features for t in tensors)
        elif isinstance(part, nn.PReLU):
            assert part.num_parameters == len(part.weight)


@pytest.mark.parametrize("name", LARGE)
def test_the_new_model_is_trained_copied_and_cut_again(name):
    model, x = built(LARGE[name])
    groups = groups_of(name)
    smaller = remove_units(model, groups, some(groups, 4)).train()
    before = copy.deepcopy(smaller.state_dict())
    optimizer = torch.optim.SGD(smaller.parameters(), lr=0.01)
    F.cross_entropy(smaller(x), torch.arange(len(x)) % 5).backward()
    assert all(p.grad.shape == p.shape and p.grad.isfinite().all() for p in smaller.parameters())
    optimizer.step()
    after = smaller.state_dict()
    moved = [not before[name].equal(t) for name, t in after.items() if name.endswith("weight")]
    assert sum(moved) > len(moved) / 2
    again = copy.deepcopy(smaller).eval()
    assert answers(again, x).equal(answers(smaller.eval(), x))
    groups = dependency_groups(smaller, x)
    kept = some(groups, 5)
    found = answers(remove_units(smaller, groups, kept), x)
    assert off(found, answers(mask_units(smaller, groups, kept), x)) < 1e-4


HIDDEN = {
    "lenet-300-100": ("fc1", "fc2"),
    "lenet-5": ("conv1", "conv2", "fc1"),
    "residual": ("stem", "conv1", "down", "conv3"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_left_loads_into_a_network_of_those_widths(name):
    model, x = built(LARGE[name])
    groups = groups_of(name)
    assert [*groups] == [*HIDDEN[name]]
    kept = {
        name: torch.arange(group.units)[:: 2 + i] for i, (name, group) in enumerate(groups.items())
    }
    smaller = remove_units(model, groups, kept)
    fresh = models.build(name, seed=1, hidden=tuple(len(kept[name]) for name in HIDDEN[name]))
    fresh.load_state_dict(smaller.state_dict())
    assert answers(fresh.eval(), x).equal(answers(smaller, x))
    assert str(fresh) == str(smaller)


def test_all_units_kept_is_the_same_model():
    model, _ = built(LARGE["residual"])
    groups = groups_of("residual")
    kept = {name: torch.arange(group.units) for name, group in groups.items()}
    for how in (remove_units, mask_units, mask_filters):
        found = how(model, groups, kept).state_dict()
        assert all(found[name].equal(t) for name, t in model.state_dict().items())


def test_the_order_of_the_kept_units_is_that_of_the_model():
    model, _ = built(LARGE["residual"])
    groups = groups_of("residual")
    one, other = (
        remove_units(model, groups, {"stem": torch.tensor(kept)}).state_dict()
        for kept in ([2, 5, 9], [9, 2, 5])
    )
    assert all(one[name].equal(other[name]) for name in one)
