"""What has no rule, and units that are not there: refused by name, with nothing half done."""

import copy

import pytest
import torch
from torch import nn

from shrink.classroom import models
from shrink.pruning import dependency_groups, mask_filters, mask_units, remove_units
from tests import depth, odd_models
from tests.pruning import refused
from tests.pruning.cases import LARGE, RIGHT, answers, assert_same, built, groups_of, off, some
from tests.pruning.nets import images, state_of
from tests.test_odd_models import made


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in odd_models.MODELS if name != "compiled"])
def test_odd_models_are_refused_by_name_or_come_out_right(name):
    model, x = made(name)
    try:
        groups = dependency_groups(model.eval(), x)
    except ValueError as error:
        assert name not in FOLLOWED and len(str(error)) > 20
        return
    for seed in range(2):
        kept = some(groups, seed)
        expected = answers(mask_units(model, groups, kept), x)
        assert off(answers(remove_units(model, groups, kept), x), expected) < 1e-5


# Lest refusing all were right.
FOLLOWED = {
    "plain",
    "scaled",
    "lora of layers",
    "named",
    "call",
    "asks for a kind",
    "listed",
    "tied",
}
FOLLOWED |= {"used twice", "trains", "identity of its own", "hook", "weight as buffer", "lists"}
FOLLOWED |= {"averaged", "parallel", "traced by fx", "channels last", "batch norm", "strided"}


@pytest.mark.parametrize("how", [remove_units, mask_units, mask_filters])
@pytest.mark.parametrize(("kept", "error", "said"), ODD)
def test_wrong_units_are_refused_before_anything_is_made(kept, error, said, how, monkeypatch):
    model, _ = built(LARGE["residual"])
    groups = groups_of("residual")
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
    model, _ = built(LARGE["residual"])
    groups = groups_of("residual")
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
