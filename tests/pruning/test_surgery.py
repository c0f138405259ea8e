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
from tests.pruning import corners, refused
from tests.pruning.nets import IMAGES, NETS, images, shaken, state_of

DIGITS = (2, 1, 28, 28)
SEEDS = depth.seeds(30, few=1)


def course(kind):
    return lambda: (kind(), DIGITS)


def other(kind):
    return lambda: (kind(), IMAGES)


LARGE = {
    **{name: course(kind) for name, kind in models.MODELS.items()},
    **{name: other(kind) for name, kind in NETS.items()},
}
RIGHT = {**LARGE, **corners.CONVOLUTIONS, **corners.GROUPED, **corners.BETWEEN}
EXACT = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest output


def built(make, dtype=torch.float32, seed=0):
    """The model with every number of it drawn, in use, and its input."""
    model, shape = make()
    model = shaken(copy.deepcopy(model), seed)
    return model.to(dtype), images(shape, seed, dtype)


def some(groups, seed):
    """Of most groups, units at random, at least one of each layer."""
    draw = random.Random(seed)
    kept = {}
    for name, group in groups.items():
        if draw.random() < 0.8:
            chosen = set(draw.sample(range(group.units), draw.randint(1, group.units)))
            for member in group.members:
                units = set(member.units.tolist()) - {-1}
                chosen |= set() if units & chosen else {draw.choice(sorted(units))}
            kept[name] = torch.tensor(sorted(chosen))
    return kept


def flat(y):
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in flat(part)]


def off(found, expected):
    """How far the outputs are from each other, as a part of the largest."""
    found, expected = flat(found), flat(expected)
    assert [y.shape for y in found] == [y.shape for y in expected]
    assert all(y.isfinite().all() for y in [*found, *expected])
    pairs = zip(found, expected, strict=True)
    return max(((a - b).abs().max() / (1e-9 + b.abs().max())).item() for a, b in pairs)


def answers(model, x):
    with torch.no_grad():
        return model(x)


# ---- the same outputs


@pytest.mark.parametrize("name", RIGHT)
def test_the_model_without_units_is_the_one_with_them_masked(name):
    for seed in SEEDS:
        for dtype in (torch.float64, torch.float32):
            model, x = built(RIGHT[name], dtype, seed)
            groups = dependency_groups(model, x)
            kept = some(groups, seed)
            smaller = remove_units(model, groups, kept)
            expected = answers(mask_units(model, groups, kept), x)
            assert off(answers(smaller, x), expected) < EXACT[dtype]
        if any(len(units) < groups[name].units for name, units in kept.items()):
            assert sum(p.numel() for p in smaller.parameters()) < sum(
                p.numel() for p in model.parameters()
            )


@pytest.mark.parametrize("name", refused.EITHER)
def test_what_may_be_a_trap_is_refused_or_comes_out_right(name):
    make = refused.EITHER[name]
    model, x = built(make, torch.float64)
    before = state_of(model)
    try:
        groups = dependency_groups(model, x)
    except ValueError as error:
        assert len(str(error)) > 20
        return
    finally:
        assert_same(before, state_of(model))
    for seed in depth.seeds(30, few=4):
        kept = some(groups, seed)
        expected = answers(mask_units(model, groups, kept), x)
        assert off(answers(remove_units(model, groups, kept), x), expected) < 1e-9


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
    model, x = built(LARGE[name])
    groups = dependency_groups(model, x)
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


def layers_of(model, kinds=(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
    return {name: part for name, part in model.named_modules() if isinstance(part, kinds)}


@pytest.mark.parametrize("name", LARGE)
def test_a_member_forgotten_is_another_model_or_none(name):
    model, x = built(LARGE[name], torch.float64)
    groups = dependency_groups(model, x)
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


def is_depthwise(part):
    return isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1


def reached(model, x, group, unit):
    """Of each layer, its inputs that change with what the unit's makers say: not by the groups.

    All other layers say what they said before, so that a change goes no further than to the next.
    """
    layers = {n: part for n, part in layers_of(model).items() if not is_depthwise(part)}
    said, takes = {}, {}
    makers = {m.tensor.rpartition(".")[0]: m.units for m in group.members if m.role == MAKES}

    def run(change):
        handles = []
        for name, layer in layers.items():

            def after(_, args, y, name=name):
                takes.setdefault(name, []).append(args[0])
                if change is None:
                    said.setdefault(name, y.clone())
                    return None
                axis = -1 if isinstance(layers[name], nn.Linear) else 1
                y = said[name].clone()
                for entry in (makers[name] == unit).nonzero() if name in makers else ():
                    y.select(axis, int(entry)).add_(change(y.select(axis, int(entry)), name))
                return y

            handles.append(layer.register_forward_hook(after))
        answers(model, x)
        for handle in handles:
            handle.remove()

    run(None)
    for bits in range(8):  # of three makers every choice of signs: a ReLU lets one of them through
        signs = {name: (-1) ** (bits >> i % 3) for i, name in enumerate(makers)}
        run(lambda y, name, signs=signs: signs[name] * 0.1 * 1000 ** torch.rand_like(y))
    found = {}
    for name, (before, *others) in takes.items():
        axis = before.dim() - 1 if isinstance(layers[name], nn.Linear) else 1
        rows = [(y - before).abs().movedim(axis, 0).flatten(1).amax(1) for y in others]
        if entries := set((sum(rows) > 1e-6).nonzero().flatten().tolist()):
            found[name] = entries
    return found


MAKES, READS = "makes", "reads"
PLAIN = [*LARGE, "depthwise in a residual", "dense connections", "squeeze and excitation"]
PLAIN += ["sum of what is put together", "flattened with the places first", "features last"]


@pytest.mark.parametrize("name", PLAIN)
def test_who_reads_a_unit_is_who_hears_it_change(name):
    model, x = built(RIGHT[name], torch.float64)
    groups = dependency_groups(model, x)
    draw = random.Random(0)
    for group in groups.values():
        for unit in draw.sample(range(group.units), min(group.units, 3 if depth.DEEP else 1)):
            expected = {}
            for member in group.members:
                layer = member.tensor.rpartition(".")[0]
                if member.role == READS:
                    entries = set((member.units == unit).nonzero().flatten().tolist())
                    if entries:
                        expected[layer] = entries
            assert reached(model, x, group, unit) == expected


# ---- filters alone


@pytest.mark.parametrize("name", ["residual", "separable", "resnet"])
def test_zero_filters_are_no_removed_units_where_a_norm_follows(name):
    model, x = built(LARGE[name])
    groups = dependency_groups(model, x)
    kept = {name: torch.arange(group.units)[::2] for name, group in groups.items()}
    filters = mask_filters(model, groups, kept)
    assert off(answers(filters, x), answers(remove_units(model, groups, kept), x)) > 0.05
    expected = {name: t.clone() for name, t in model.state_dict().items()}
    for group, units in kept.items():
        for member in groups[group].members:
            if member.role == MAKES:
                gone = ~torch.isin(member.units, units) & (member.units >= 0)
                expected[member.tensor][gone] = 0
    found = filters.state_dict()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_zero_filters_are_removed_units_where_no_norm_follows():
    model, x = built(LARGE["lenet-5"], torch.float64)
    groups = dependency_groups(model, x)
    kept = some(groups, 0)
    found = answers(mask_filters(model, groups, kept), x)
    assert off(found, answers(remove_units(model, groups, kept), x)) < 1e-9


# ---- the model that was given, and the new one


def assert_same(before, after):
    assert before[0] == after[0] and before[2] == after[2]
    assert all(before[1][name].equal(after[1][name]) for name in before[1])


def places(model):
    tensors = [*model.parameters(), *model.buffers()]
    return {t.untyped_storage().data_ptr() for t in tensors if t.numel()}


@pytest.mark.parametrize("how", [remove_units, mask_units, mask_filters])
@pytest.mark.parametrize("name", [*LARGE, "a layer of two names", "a scale per channel"])
def test_the_model_stays_as_it_was_and_shares_nothing(name, how):
    model, x = built(RIGHT[name])
    model.train()
    next(iter(model.children())).eval()
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    before = state_of(model)
    groups = dependency_groups(model, x)
    assert_same(before, state_of(model))
    for kept in ({}, some(groups, 1)):
        new = how(model, groups, kept)
        assert_same(before, state_of(model))
        assert not places(model) & places(new)
        assert not {id(part) for part in model.modules()} & {id(part) for part in new.modules()}
        assert [part.training for part in new.modules()] == [
            part.training for part in model.modules()
        ]
        wanted = [p.requires_grad for p in model.parameters()]
        assert [p.requires_grad for p in new.parameters()] == wanted
        for mine, theirs in zip(new.parameters(), model.parameters(), strict=True):
            assert mine.grad is None or mine.grad.shape == mine.shape
            assert type(mine) is type(theirs) and mine.is_leaf and mine.is_contiguous()
        assert [*new.state_dict()] == [*model.state_dict()]


@pytest.mark.parametrize("name", RIGHT)
def test_layers_know_their_new_sizes(name):
    model, x = built(RIGHT[name])
    groups = dependency_groups(model, x)
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
    groups = dependency_groups(model, x)
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
    groups = dependency_groups(model, x)
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
    model, x = built(LARGE["residual"])
    groups = dependency_groups(model, x)
    kept = {name: torch.arange(group.units) for name, group in groups.items()}
    for how in (remove_units, mask_units, mask_filters):
        found = how(model, groups, kept).state_dict()
        assert all(found[name].equal(t) for name, t in model.state_dict().items())


def test_the_order_of_the_kept_units_is_that_of_the_model():
    model, x = built(LARGE["residual"])
    groups = dependency_groups(model, x)
    one, other = (
        remove_units(model, groups, {"stem": torch.tensor(kept)}).state_dict()
        for kept in ([2, 5, 9], [9, 2, 5])
    )
    assert all(one[name].equal(other[name]) for name in one)


# ---- what is refused, before anything is made


ODD = [
    ({"stem": []}, ValueError, "stem"),
    ({"stem": torch.zeros(0, dtype=torch.int64)}, ValueError, "stem"),
    ({"conv1": torch.tensor([0]), "stem": torch.tensor([16])}, ValueError, "16"),
    ({"stem": torch.tensor([-1])}, ValueError, "-1"),
    ({"stem": torch.tensor([1, 3, 1])}, ValueError, "1"),
    ({"stem": torch.tensor([0.0, 1.0])}, TypeError, "stem"),
    ({"stem": torch.ones(16, dtype=torch.bool)}, TypeError, "stem"),
    ({"stem": torch.tensor([[0, 1]])}, ValueError, "stem"),
    ({"stem": torch.tensor(3)}, ValueError, "stem"),
    ({"conv2": torch.tensor([0])}, KeyError, "conv2"),
    ({"fc": torch.tensor([0])}, KeyError, "fc"),
    ({"stem": None}, TypeError, "stem"),
    ([torch.tensor([0])], TypeError, "kept"),
]


@pytest.mark.parametrize("how", [remove_units, mask_units, mask_filters])
@pytest.mark.parametrize(("kept", "error", "said"), ODD)
def test_wrong_units_are_refused_before_anything_is_made(kept, error, said, how, monkeypatch):
    model, x = built(LARGE["residual"])
    groups = dependency_groups(model, x)
    monkeypatch.setattr(copy, "deepcopy", lambda *_: pytest.fail("a copy is made"))
    with pytest.raises(error, match=said):
        how(model, groups, kept)


def test_a_layer_is_never_left_without_units():
    model, x = built(RIGHT["sum of what is put together"])
    groups = dependency_groups(model, x)
    for kept in ([0, 1, 4], [7]):  # a has 0 to 4, b has 5 to 7
        with pytest.raises(ValueError, match=r"[ab]\.weight would have nothing left"):
            remove_units(model, groups, {"stem": torch.tensor(kept)})
    remove_units(model, groups, {"stem": torch.tensor([4, 5])})


@pytest.mark.parametrize("how", [remove_units, mask_units, mask_filters])
def test_groups_of_another_model_are_refused(how):
    model, x = built(LARGE["residual"])
    groups = dependency_groups(model, x)
    kept = {"stem": torch.tensor([0, 1])}
    for wrong in (models.build("residual", 0, hidden=(8, 8, 8, 8)), models.build("lenet-5", 0)):
        with pytest.raises(ValueError, match="stem"):
            how(wrong, groups, kept)
    with pytest.raises(TypeError, match=r"must be an nn\.Module"):
        how(model.state_dict(), groups, kept)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", refused.REFUSED)
def test_what_has_no_rule_is_refused_by_name(name):
    make, said = refused.REFUSED[name]
    model, shape = make()
    before = None if name in ("lazy", "on meta") else state_of(model)
    with pytest.raises(ValueError, match=said):
        dependency_groups(model, images(shape))
    if before:
        assert_same(before, state_of(model))
    else:
        assert not any(part._forward_hooks for part in model.modules())


def test_a_lazy_model_stays_lazy():
    model, shape = refused.REFUSED["lazy"][0]()
    with pytest.raises(ValueError, match=r"2\.weight has no shape yet: run the model once"):
        dependency_groups(model, images(shape))
    assert isinstance(model[2], nn.LazyLinear)
