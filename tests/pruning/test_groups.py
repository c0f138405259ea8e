"""The groups that are found are those that one finds by hand."""

import copy

import pytest
import torch
from torch import nn

from shrink.classroom import models
from shrink.pruning import dependency_groups
from tests.pruning import corners
from tests.pruning.cases import LARGE, RIGHT, assert_same, built, groups_of
from tests.pruning.nets import images, state_of

# name: units, the layers that make, scale and read them. Of what makes: axis 0 of weight and bias;
# of what scales: axis 0 of all; of what reads: axis 1 of the weight.
BY_HAND = {
    "lenet-300-100": {"fc1": (300, "fc1", "", "fc2"), "fc2": (100, "fc2", "", "fc3")},
    "lenet-5": {
        "conv1": (20, "conv1", "", "conv2"),
        "conv2": (50, "conv2", "", "fc1"),
        "fc1": (500, "fc1", "", "fc2"),
    },
    "separable": {
        "stem": (16, "stem", "norm0 depthwise1 norm1", "pointwise1"),
        "pointwise1": (32, "pointwise1", "norm2 depthwise2 norm3", "pointwise2"),
        "pointwise2": (64, "pointwise2", "norm4", "fc"),
    },
    "residual": {
        "stem": (16, "stem conv2", "norm0 norm2", "conv1 down"),
        "conv1": (16, "conv1", "norm1", "conv2"),
        "down": (32, "down conv4", "norm3 norm5", "conv3 fc"),
        "conv3": (32, "conv3", "norm4", "conv4"),
    },
    "vgg": {
        "features.0": (6, "features.0", "features.1", "features.3"),
        "features.3": (8, "features.3", "features.4", "features.7"),
        "features.7": (7, "features.7", "features.8", "classifier.0"),
        "classifier.0": (12, "classifier.0", "", "classifier.3"),
        "classifier.3": (9, "classifier.3", "classifier.4", "classifier.7"),
    },
    "resnet": {
        "conv1": (6, "conv1", "bn1", "layer1.0.conv1 layer1.0.downsample.0"),
        "layer1.0.downsample.0": (
            8,
            "layer1.0.downsample.0 layer1.0.conv3 layer1.1.conv3",
            "layer1.0.downsample.1 layer1.0.bn3 layer1.1.bn3",
            "layer1.1.conv1 layer2.0.conv1 layer2.0.downsample.0",
        ),
        "layer1.0.conv1": (4, "layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"),
        "layer1.0.conv2": (4, "layer1.0.conv2", "layer1.0.bn2", "layer1.0.conv3"),
        "layer1.1.conv1": (4, "layer1.1.conv1", "layer1.1.bn1", "layer1.1.conv2"),
        "layer1.1.conv2": (4, "layer1.1.conv2", "layer1.1.bn2", "layer1.1.conv3"),
        "layer2.0.downsample.0": (
            10,
            "layer2.0.downsample.0 layer2.0.conv3 layer2.1.conv3",
            "layer2.0.downsample.1 layer2.0.bn3 layer2.1.bn3",
            "layer2.1.conv1 fc",
        ),
        "layer2.0.conv1": (5, "layer2.0.conv1", "layer2.0.bn1", "layer2.0.conv2"),
        "layer2.0.conv2": (5, "layer2.0.conv2", "layer2.0.bn2", "layer2.0.conv3"),
        "layer2.1.conv1": (5, "layer2.1.conv1", "layer2.1.bn1", "layer2.1.conv2"),
        "layer2.1.conv2": (5, "layer2.1.conv2", "layer2.1.bn2", "layer2.1.conv3"),
    },
    "two groups": {"stem": (4, "stem", "norm", "a"), "a": (3, "a", "", "fc")},
    "depthwise, two filters a channel": {"stem": (5, "stem", "norm two", "fc")},
    "depthwise in a residual": {
        "stem": (4, "stem project", "norm bn3", "expand fc"),
        "expand": (7, "expand", "bn1 depthwise bn2", "project"),
    },
    "squeeze and excitation": {
        "stem": (8, "stem up", "norm", "down fc"),
        "down": (3, "down", "", "up"),
    },
    "a gate for all channels": {"stem": (8, "stem", "norm", "gate fc")},
    "the same layer twice": {"stem": (6, "stem a", "norm", "a fc")},
    "a slope per channel": {"stem": (8, "stem", "norm act", "fc")},
    "a scale per channel": {"stem": (8, "stem a", "norm gamma", "a fc")},
    "dense connections": {
        "stem": (4, "stem", "norm bn", "a b fc"),
        "a": (3, "a", "bn", "b fc"),
        "b": (2, "b", "bn", "fc"),
    },
    "put together with the images": {"a": (6, "a", "", "b")},
    "sum with the images": {"a": (6, "a", "", "b")},
    "sum of what is put together": {"stem": (8, "stem a b", "norm", "a b fc")},
    "features answered as well": {"fc1": (8, "fc1", "", "fc2")},
    "patches as tokens": {
        "patch": (6, "patch two", "", "one head"), "one": (10, "one", "", "two"),
    },
    "channel shuffle": {
        "stem": (4, "stem conv3", "norm", "conv1 fc"), "conv1": (3, "conv1", "conv2", "conv3"),
    },
    "one layer": {},
    "only classes": {},
    "an unused layer": {"stem": (6, "stem", "norm", "fc")},
}  # fmt: skip
ROLES = ("makes", "scales", "reads")


def layer(member):
    return member.tensor.rpartition(".")[0] or member.tensor


@pytest.mark.parametrize("name", BY_HAND)
def test_groups_are_those_found_by_hand(name):
    groups = groups_of(name)
    found = {
        key: (group.units, *({layer(m) for m in group.members if m.role == r} for r in ROLES))
        for key, group in groups.items()
    }
    assert found == {
        key: (units, *(set(layers.split()) for layers in by_role))
        for key, (units, *by_role) in BY_HAND[name].items()
    }
    assert [*groups] == [*BY_HAND[name]]
    assert all(key == group.name for key, group in groups.items())


@pytest.mark.parametrize("name", BY_HAND)
def test_members_are_all_tensors_of_their_layers(name):
    model, _ = built(RIGHT[name])
    state = model.state_dict()
    for group in groups_of(name).values():
        found = {(m.tensor, m.axis, m.role) for m in group.members}
        assert len(found) == len(group.members)
        for role in ROLES:
            layers = {layer(m) for m in group.members if m.role == role}
            expected = {
                (tensor, 1 if role == "reads" else 0, role)
                for tensor in state
                if (tensor.rpartition(".")[0] or tensor) in layers
                and state[tensor].dim()
                and not (role == "reads" and tensor.endswith("bias"))
            }
            assert {m for m in found if m[2] == role} == expected


@pytest.mark.parametrize("name", RIGHT)
def test_units_are_numbered_and_each_has_its_entries(name):
    model, _ = built(RIGHT[name])
    groups = groups_of(name)
    state = model.state_dict(keep_vars=True)
    taken = {}
    for group in groups.values():
        for m in group.members:
            assert m.units.dtype == torch.int64 and m.units.device.type == "cpu"
            assert m.units.shape == (state[m.tensor].shape[m.axis],)
            assert m.units.min() >= -1 and m.units.max() < group.units
            ours = set((m.units >= 0).nonzero().flatten().tolist())
            others = taken.setdefault((m.tensor, m.axis), set())
            assert ours and not ours & others
            others |= ours
        made = torch.cat([m.units for m in group.members if m.role == "makes"])
        assert set(made.tolist()) - {-1} == set(range(group.units))


def test_a_channel_of_residual_net_is_nine_columns_of_fc():
    groups = groups_of("residual")
    expected = {
        "stem": {
            ("stem.weight", 0), ("conv2.weight", 0), ("conv1.weight", 1), ("down.weight", 1),
            *((f"norm{i}.{t}", 0) for i in (0, 2) for t in NORM),
        },
        "conv1": {("conv1.weight", 0), ("conv2.weight", 1), *((f"norm1.{t}", 0) for t in NORM)},
        "down": {
            ("down.weight", 0), ("conv4.weight", 0), ("conv3.weight", 1), ("fc.weight", 1),
            *((f"norm{i}.{t}", 0) for i in (3, 5) for t in NORM),
        },
        "conv3": {("conv3.weight", 0), ("conv4.weight", 1), *((f"norm4.{t}", 0) for t in NORM)},
    }  # fmt: skip
    assert {k: {(m.tensor, m.axis) for m in g.members} for k, g in groups.items()} == expected
    for group in groups.values():
        for member in group.members:
            one = torch.arange(group.units)
            wanted = one.repeat_interleave(9) if member.tensor == "fc.weight" else one
            assert member.units.equal(wanted)


NORM = ("weight", "bias", "running_mean", "running_var")


def test_places_first_is_a_column_every_so_many():
    (group,) = groups_of("flattened with the places first").values()
    (reads,) = (m for m in group.members if m.role == "reads")
    assert reads.units.equal(torch.arange(6).repeat(30))


def test_side_by_side_each_branch_has_its_columns_and_the_images_have_none():
    (group,) = groups_of("put together with the images").values()
    reads = {m.tensor: m.units.tolist() for m in group.members if m.role == "reads"}
    assert reads == {"b.weight": [-1, -1, -1, 0, 1, 2, 3, 4, 5]}
    groups = groups_of("dense connections")
    columns = {
        name: next(m.units.tolist() for m in g.members if m.tensor == "fc.weight")
        for name, g in groups.items()
    }
    n = [-1]
    assert columns == {
        "stem": [0, 1, 2, 3] + 5 * n, "a": 4 * n + [0, 1, 2] + 2 * n, "b": 7 * n + [0, 1],
    }  # fmt: skip


def test_inception_has_a_group_for_each_branch_and_a_sum_ties_them():
    groups = groups_of("inception")
    inner = {name for name in groups if name.startswith("block1")}
    assert {(name, groups[name].units) for name in inner} == {
        ("block1.branch1.conv", 3), ("block1.branch2.0.conv", 5), ("block1.branch2.1.conv", 4),
        ("block1.branch3.0.conv", 3), ("block1.branch3.1.conv", 4), ("block1.branch3.2.conv", 2),
        ("block1.pool.conv", 3),
    }  # fmt: skip
    readers = {"block2.branch1.conv", "block2.branch2.0.conv", "block2.branch3.0.conv"}
    readers |= {"block2.pool.conv", "project"}
    for name in ("branch1.conv", "branch2.1.conv", "branch3.2.conv", "pool.conv"):
        found = {layer(m) for m in groups[f"block1.{name}"].members if m.role == "reads"}
        assert found == readers
    tied = [group for group in groups.values() if "project" in {layer(m) for m in group.members}]
    assert sum(g.units for g in tied if g.name.startswith("block2") or g.name == "project") == 12


def test_which_images_are_given_makes_no_difference():
    model, x = built(LARGE["resnet"])
    first = dependency_groups(model, x)
    for other in (x[:1], torch.zeros(1, 3, 20, 31), images((2, 3, 9, 9), 7), x.clone().fill_(1e4)):
        found = dependency_groups(model, other)
        assert str(found) == str(first)
    model.train()
    assert str(dependency_groups(model, x)) == str(first)
    with torch.inference_mode():
        assert str(dependency_groups(model, x)) == str(first)


def test_a_model_that_changes_its_images_in_place_is_given_copies():
    class Scaled(nn.Sequential):
        def forward(self, x):
            x -= 0.5
            return super().forward(x)

    x = images((2, 4))
    given = x.clone()
    groups = dependency_groups(Scaled(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), x)
    assert groups["0"].units == 6 and x.equal(given)


@pytest.mark.parametrize("name", LARGE)
def test_the_model_is_left_as_it_was(name):
    model, x = built(LARGE[name])
    model.train()
    next(iter(model.children())).eval()
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    before = state_of(model)
    dependency_groups(model, x)
    assert_same(before, state_of(model))


def test_weights_of_zero_do_not_hide_a_unit():
    model, x = built(LARGE["residual"])
    first = str(dependency_groups(model, x))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert str(dependency_groups(model, x)) == first


def test_random_numbers_are_left_alone():
    model, x = built(LARGE["vgg"])
    model.train()
    torch.manual_seed(0)
    dependency_groups(model, x)
    found = torch.rand(3)
    torch.manual_seed(0)
    assert torch.rand(3).equal(found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_have_the_same_groups(dtype):
    model, x = built(LARGE["residual"])
    first = str(dependency_groups(model, x))
    assert str(dependency_groups(copy.deepcopy(model).to(dtype), x.to(dtype))) == first


BAD = [
    (None, TypeError, "images"),
    ([[1.0]], TypeError, "images"),
    (torch.zeros(0, 1, 28, 28), ValueError, "image"),
    (torch.tensor(1.0), ValueError, "image"),
    (torch.zeros(1, 1, 28, 28).to_sparse(), TypeError, "dense"),
]


@pytest.mark.parametrize(("x", "error", "said"), BAD)
def test_what_are_no_images_is_refused(x, error, said):
    with pytest.raises(error, match=said):
        dependency_groups(models.build("residual", 0), x)


def test_what_is_no_model_is_refused_and_an_error_leaves_the_model():
    with pytest.raises(TypeError, match=r"must be an nn\.Module"):
        dependency_groups(lambda x: x, torch.zeros(1, 3))
    model = models.build("residual", 0).train()
    with pytest.raises(RuntimeError):
        dependency_groups(model, torch.zeros(1, 2, 28, 28))
    assert model.training and not any(part._forward_hooks for part in model.modules())
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_a_model_that_takes_the_whole_batch_as_one_is_followed():
    """The batch may be folded into the places: units are followed one by one."""
    net = corners.Made(
        lambda m, x: m.fc(m.one(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2]).mean(1)),
        one=nn.Linear(6, 8),
        fc=nn.Linear(8, 5),
    )
    (group,) = dependency_groups(net, torch.zeros(corners.TOKENS)).values()
    assert group.units == 8
