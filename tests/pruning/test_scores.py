"""What a unit is worth, against torch's structured pruning and against loops over its layers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from shrink.classroom import models
from shrink.pruning import (
    Group,
    Member,
    dependency_groups,
    group_scores,
    keep_across_groups,
    keep_per_group,
    keep_strongest,
    mask_units,
    remove_units,
    weight_scores,
)
from shrink.pruning.scores import SCORES
from tests import depth

IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def residual():
    """The chapter's network, small, with batch norms that have seen something."""
    model = models.build("residual", seed=0, hidden=(6, 4, 8, 5))
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.copy_(torch.randn(len(part.weight)))
                part.running_mean.copy_(torch.randn(len(part.weight)))
    return model.eval()


@pytest.fixture(scope="module")
def groups():
    """Its groups: they are of its shape, and the same whatever its numbers are."""
    return dependency_groups(models.build("residual", seed=0, hidden=(6, 4, 8, 5)), IMAGES)


# --- one weight ----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("norm", [1, 2])
def test_the_units_of_a_weight_are_ranked_as_by_torch(norm, axis):
    torch.manual_seed(0)
    layer = nn.Conv2d(7, 9, (5, 6))
    scores = weight_scores(layer.weight, norm, axis)
    units = layer.weight.shape[axis]
    assert scores.shape == (units,) and not scores.requires_grad
    prune.ln_structured(layer, "weight", amount=2, n=norm, dim=axis)
    kept = layer.weight_mask.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    assert keep_strongest(scores, units - 2).equal(kept)


def test_norms_that_can_be_checked_by_hand():
    weight = torch.tensor([[[3.0], [-4.0]], [[0.0], [-1.0]]])
    assert weight_scores(weight).tolist() == [7, 1]
    assert weight_scores(weight, norm=2).tolist() == [5, 1]
    assert weight_scores(weight, axis=1).tolist() == [3, 5]
    assert weight_scores(torch.tensor([-2.0, 3.0]), norm=2).tolist() == [2, 3]
    assert weight_scores(weight[..., 0].t(), norm=2).tolist() == pytest.approx([3, 17**0.5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_weights_are_added_up_in_float32(dtype):
    scores = weight_scores(torch.full((2, 5000), 100.0, dtype=dtype), norm=2)
    assert scores.dtype == torch.float32
    assert scores.allclose(torch.tensor(100 * math.sqrt(5000)))
    assert weight_scores(torch.ones(2, 2, dtype=torch.float64)).dtype == torch.float64


BAD_WEIGHTS = [
    ((torch.tensor([[1.0, math.nan]]),), ValueError, "weight holds 1 NaN of 2"),
    ((torch.ones(2, 2).int(),), TypeError, "weight must be floating point"),
    ((torch.ones(0, 2),), ValueError, "weight is empty"),
    ((torch.tensor(1.0),), ValueError, "weight is a single number"),
    ((torch.eye(2).to_sparse(),), TypeError, "weight must be a dense tensor"),
    ((torch.ones(2, 2), 3), ValueError, "norm must lie between 1 and 2, not 3"),
    ((torch.ones(2, 2), 1.5), TypeError, "norm must be a whole number, not 1.5"),
    ((torch.ones(2, 2), 1, 2), ValueError, "axis must lie between -2 and 1, not 2"),
    ((torch.ones(2, 2), 1, "0"), TypeError, "axis must be a whole number, not '0'"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD_WEIGHTS)
def test_a_weight_without_scores_is_named(given, error, said):
    with pytest.raises(error, match=said):
        weight_scores(*given)


# --- a group, by its weights ----------------------------------------------------------------


@pytest.mark.parametrize("norm", [1, 2])
def test_a_unit_is_scored_by_the_weights_of_all_layers_that_make_it(residual, groups, norm):
    made_by = {
        "stem": ["stem", "conv2"],
        "conv1": ["conv1"],
        "down": ["down", "conv4"],
        "conv3": ["conv3"],
    }
    for name, group in groups.items():
        scores = group_scores(residual, group, f"l{norm}")
        for unit in range(group.units):
            weights = torch.cat(
                [residual.get_submodule(m).weight[unit].flatten() for m in made_by[name]]
            )
            assert scores[unit].item() == pytest.approx(weights.norm(p=norm).item(), rel=1e-5)


def test_biases_do_not_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    (group,) = dependency_groups(model, torch.ones(1, 3)).values()
    before = group_scores(model, group, "l1")
    model[0].bias.data += 100
    assert group_scores(model, group, "l1").equal(before)
    assert before.equal(weight_scores(model[0].weight))


class Picture(nn.Module):
    """A linear layer whose outputs become 3 channels of 4 places each, as a decoder has."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 12)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(self.norm(self.fc(x).view(len(x), -1, 2, 2)))


def test_several_rows_of_a_weight_may_be_one_unit():
    model = Picture()
    (group,) = dependency_groups(model, torch.randn(2, 5)).values()
    rows = model.fc.weight.detach().view(3, 20)
    for norm in (1, 2):
        scores = group_scores(model, group, f"l{norm}")
        assert scores.allclose(rows.norm(p=norm, dim=1))


class Tied(nn.Module):
    """Two convolutions with one weight, and a third behind them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1, bias=False)
        self.a = nn.Conv2d(4, 4, 1, bias=False)
        self.b = nn.Conv2d(4, 4, 1, bias=False)
        self.b.weight = self.a.weight
        self.fc = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.fc(self.b(self.a(self.stem(x)).relu()))


def test_a_tied_weight_counts_once_and_takes_in_what_all_its_layers_do():
    torch.manual_seed(0)
    model = Tied()
    x = torch.rand(3, 1, 2, 2)
    (group,) = dependency_groups(model, x).values()
    both = torch.cat([model.stem.weight, model.a.weight], 1).detach()
    assert group_scores(model, group, "l1").allclose(both.abs().sum((1, 2, 3)))

    first = model.stem(x)
    second = model.a(first).relu()
    third = model.b(second)
    by_a = torch.stack([h.abs().mean((0, 2, 3)) for h in (first, second)]).mean(0)
    by_fc = third.abs().mean((0, 2, 3))
    scores = group_scores(model, group, "activation", images=x)
    assert scores.allclose((by_a + by_fc) / 2)


# --- by batch norm -------------------------------------------------------------------------


def test_gamma_is_the_mean_magnitude_of_all_norms_behind_the_unit(residual, groups):
    both = torch.stack([residual.norm0.weight, residual.norm2.weight]).detach().abs()
    assert group_scores(residual, groups["stem"], "gamma").allclose(both.mean(0))
    alone = residual.norm4.weight.detach().abs()
    assert group_scores(residual, groups["conv3"], "gamma").equal(alone)


def test_gamma_is_no_weight_of_a_depthwise_convolution():
    model = models.build("separable", seed=0)
    groups = dependency_groups(model, IMAGES)
    assert "depthwise1" in groups["stem"].layers("scales")
    assert group_scores(model, groups["stem"], "gamma").equal(torch.ones(16))


@pytest.mark.parametrize(
    "norm", [nn.ReLU(), nn.BatchNorm1d(4, affine=False), nn.PReLU(4)], ids=["none", "bare", "prelu"]
)
def test_gamma_is_refused_where_no_batch_norm_has_one(norm):
    model = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    (group,) = dependency_groups(model, torch.randn(2, 3)).values()
    with pytest.raises(ValueError, match="units of 0 have no batch norm with a weight"):
        group_scores(model, group, "gamma")


class HalfNormed(nn.Module):
    """Two halves of units, which a sum makes one group, and a norm over one half alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.whole = nn.Linear(3, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(torch.cat([self.norm(self.a(x)), self.b(x)], 1) + self.whole(x))


def test_a_unit_without_a_batch_norm_is_named():
    model = HalfNormed()
    (group,) = dependency_groups(model, torch.randn(2, 3)).values()
    with pytest.raises(ValueError, match="unit 2 of a has no batch norm"):
        group_scores(model, group, "gamma")


# --- by what comes out ---------------------------------------------------------------------


def test_activation_is_the_mean_of_what_the_layers_behind_take_in(residual, groups):
    with torch.no_grad():
        m, x = residual, IMAGES
        stem = F.relu(m.norm0(m.stem(x)))
        inside = F.relu(m.norm1(m.conv1(stem)))
        added = F.relu(stem + m.norm2(m.conv2(inside)))
        down = F.relu(m.norm3(m.down(added)))
        inside2 = F.relu(m.norm4(m.conv3(down)))
        last = F.relu(down + m.norm5(m.conv4(inside2)))
        pooled = F.max_pool2d(last, 2)

    def mean(h):
        return h.mean((0, 2, 3))

    expected = {
        "stem": (mean(stem) + mean(added)) / 2,  # conv1 and down take them in
        "conv1": mean(inside),
        "down": (mean(down) + 9 * mean(pooled)) / 10,  # nine columns of fc for each
        "conv3": mean(inside2),
    }
    for name, group in groups.items():
        scores = group_scores(residual, group, "activation", images=IMAGES)
        assert scores.allclose(expected[name], rtol=1e-4), name


def test_activation_counts_negative_numbers_by_their_magnitude():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[-3.0], [2.0]])
    (group,) = dependency_groups(model, torch.ones(1, 1)).values()
    x = torch.tensor([[1.0], [-1.0]])
    assert group_scores(model, group, "activation", images=x).tolist() == [3, 2]


def test_a_grouped_convolution_takes_in_a_unit_once_for_each_of_its_groups():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.Conv2d(6, 4, 1, groups=2), nn.Conv2d(4, 2, 1))
    x = torch.rand(3, 1, 4, 4)
    first = dependency_groups(model, x)["0"]
    assert first.units == 3
    taken = model[0](x).abs().mean((0, 2, 3)).view(2, 3).mean(0)
    assert group_scores(model, first, "activation", images=x).allclose(taken)
    assert group_scores(model, first, "l1").allclose(
        weight_scores(model[0].weight).view(2, 3).sum(0)
    )


def test_tokens_and_single_images_have_their_channels_on_other_axes():
    torch.manual_seed(0)
    tokens = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.rand(2, 7, 3)
    (group,) = dependency_groups(tokens, x).values()
    expected = tokens[:2](x).mean((0, 1))
    assert group_scores(tokens, group, "activation", images=x).allclose(expected)

    convs = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    (group,) = dependency_groups(convs, torch.rand(1, 1, 3, 3)).values()
    x = torch.rand(1, 3, 3)  # no batch
    expected = convs[:2](x).mean((1, 2))
    assert group_scores(convs, group, "activation", images=x).allclose(expected)


class SideBySide(nn.Module):
    """Two groups of units, whose norm and reader are one."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.norm(torch.cat([self.a(x), self.b(x)], 1)))


def test_units_side_by_side_are_each_scored_by_their_own_entries():
    torch.manual_seed(0)
    model, x = SideBySide().eval(), torch.rand(5, 3)
    model.norm.weight.data = torch.tensor([-1.0, 2.0, -3.0, 4.0, -5.0, 6.0])
    first, second = dependency_groups(model, x).values()
    assert group_scores(model, first, "gamma").tolist() == [1, 2]
    assert group_scores(model, second, "gamma").tolist() == [3, 4, 5, 6]
    taken = model.norm(torch.cat([model.a(x), model.b(x)], 1)).abs().mean(0)
    assert group_scores(model, first, "activation", images=x).allclose(taken[:2])
    assert group_scores(model, second, "activation", images=x).allclose(taken[2:])
    assert group_scores(model, second, "l1").allclose(weight_scores(model.b.weight))


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(input=self.fc1(input=x).relu())


def test_what_a_layer_takes_in_by_name_counts_too():
    model, x = ByName(), torch.rand(5, 3)
    (group,) = dependency_groups(model, x).values()
    expected = model.fc1(x).relu().mean(0)
    assert group_scores(model, group, "activation", images=x).allclose(expected)


def test_a_model_is_called_in_use_and_left_as_it_was(residual, groups):
    residual.train()
    residual.norm1.eval()
    before = {name: t.clone() for name, t in residual.state_dict().items()}
    modes = [part.training for part in residual.modules()]
    for by in ("l1", "l2", "gamma", "activation", "random"):
        scores = group_scores(residual, groups["stem"], by, images=IMAGES, seed=0)
        assert scores.shape == (6,) and scores.dtype == torch.float32 and not scores.requires_grad
    with pytest.raises(RuntimeError):
        group_scores(residual, groups["stem"], "activation", images=IMAGES[:, :, :1])
    assert all(t.equal(before[name]) for name, t in residual.state_dict().items())
    assert [part.training for part in residual.modules()] == modes
    assert not any(part._forward_pre_hooks for part in residual.modules())


class OwnForward(nn.Module):
    """The weight of a layer that may do anything to its input first."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4))

    def forward(self, x):
        return F.linear(x.relu(), self.weight)


def test_what_an_unknown_layer_takes_in_is_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 4), OwnForward())
    (group,) = dependency_groups(model, torch.rand(1, 3)).values()
    with pytest.raises(ValueError, match=r"1.weight is the weight of a OwnForward"):
        group_scores(model, group, "activation", images=torch.rand(1, 3))
    assert group_scores(model, group, "l1").equal(weight_scores(model[0].weight))


class SometimesShort(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(self.fc1(x)) if len(x) < 2 else x


def test_a_layer_that_these_images_do_not_reach_is_named():
    model = SometimesShort()
    (group,) = dependency_groups(model, torch.rand(1, 3)).values()
    with pytest.raises(ValueError, match="fc2 takes in nothing"):
        group_scores(model, group, "activation", images=torch.rand(2, 3))


# --- at random -----------------------------------------------------------------------------


def test_random_scores_come_from_the_seed_and_the_group_alone(residual, groups):
    first = group_scores(residual, groups["stem"], "random", seed=3)
    residual.stem.weight.data.zero_()
    torch.manual_seed(9)
    assert group_scores(residual, groups["stem"], "random", seed=3).equal(first)
    assert not group_scores(residual, groups["stem"], "random", seed=4).equal(first)
    larger = models.build("residual", seed=0, hidden=(6, 6, 6, 6))
    drawn = [
        group_scores(larger, g, "random", seed=3)
        for g in dependency_groups(larger, IMAGES).values()
    ]
    assert len({tuple(scores.tolist()) for scores in drawn}) == 4


def test_each_unit_stays_equally_often_at_random():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    (group,) = dependency_groups(model, torch.rand(1, 3)).values()
    draws, stays = len(depth.seeds(4000, few=400)), torch.zeros(8)
    for seed in range(draws):
        stays[keep_strongest(group_scores(model, group, "random", seed=seed), 2)] += 1
    spread = math.sqrt(draws * 0.25 * 0.75)
    assert (stays - draws / 4).abs().max() < 4 * spread


# --- from scores to a smaller network ------------------------------------------------------


@pytest.mark.parametrize("by", SCORES)
def test_surgery_takes_what_scores_keep(residual, groups, by):
    scores = {
        name: group_scores(residual, group, by, images=IMAGES, seed=0)
        for name, group in groups.items()
    }
    for keep in (keep_per_group, keep_across_groups):
        kept = keep(scores, 0.5, multiple_of=2)
        smaller = remove_units(residual, groups, kept)
        masked = mask_units(residual, groups, kept)
        assert all(len(numbers) % 2 == 0 for numbers in kept.values())
        assert len(smaller.stem.weight) == len(kept["stem"])
        assert smaller(IMAGES).allclose(masked(IMAGES), atol=1e-4)


# --- bad input -----------------------------------------------------------------------------


def test_bad_input_is_named(residual, groups):
    stem = groups["stem"]
    with pytest.raises(ValueError, match=r"by must be one of l1, l2, gamma, .* not 'l3'"):
        group_scores(residual, stem, "l3")
    with pytest.raises(ValueError, match="by='activation' needs images"):
        group_scores(residual, stem, "activation")
    with pytest.raises(TypeError, match="images must be a tensor, not a list"):
        group_scores(residual, stem, "activation", images=[1.0])
    with pytest.raises(ValueError, match=r"images \(0, 1, 28, 28\) has none"):
        group_scores(residual, stem, "activation", images=IMAGES[:0])
    with pytest.raises(ValueError, match="by='random' needs a seed"):
        group_scores(residual, stem, "random")
    with pytest.raises(TypeError, match=r"seed must be a whole number, not 0.5"):
        group_scores(residual, stem, "random", seed=0.5)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, not a OrderedDict"):
        group_scores(residual.state_dict(), stem, "l1")
    other = models.build("residual", seed=0, hidden=(5, 4, 8, 5))
    for by in ("l1", "gamma", "activation", "random"):
        with pytest.raises(ValueError, match=r"groups are of another model: stem.weight"):
            group_scores(other, stem, by, images=IMAGES, seed=0)
    with pytest.raises(ValueError, match="the mean activation of stem holds 6 NaN of 6"):
        group_scores(residual, stem, "activation", images=IMAGES * math.nan)
    residual.conv2.weight.data[1, 2, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"conv2.weight holds 1 NaN of 216"):
        group_scores(residual, stem, "l1")


def test_a_group_that_nothing_makes_has_no_weights_to_score(residual):
    group = Group("odd", 6, (Member("norm0.weight", 0, torch.arange(6), "scales"),))
    with pytest.raises(ValueError, match="the units of odd have no weights that make it"):
        group_scores(residual, group, "l1")
    with pytest.raises(ValueError, match="the units of odd have no layer that takes it in"):
        group_scores(residual, group, "activation", images=IMAGES)


@pytest.mark.gpu
def test_scores_on_cuda_are_those_on_the_cpu(residual, groups):
    here = {
        by: group_scores(residual, groups["down"], by, images=IMAGES, seed=1)
        for by in ("l1", "l2", "gamma", "activation", "random")
    }
    residual.cuda()
    for by, expected in here.items():
        there = group_scores(residual, groups["down"], by, images=IMAGES.cuda(), seed=1)
        assert there.is_cuda and there.cpu().allclose(expected, rtol=1e-4)
