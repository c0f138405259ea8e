"""Dense-sparse-dense: what each phase begins with, what is held and given back, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from shrink import pruning
from shrink.pruning.dense_sparse import PHASES
from tests.test_ties import TiedText, under_all_names

TARGET = torch.tensor([[1.0, -2.0, 0.5, 3.0], [-0.25, 4.0, -6.0, 0.75]])
RATE, STEPS = 0.25, 40


class Quadratic(nn.Module):
    """Weights and a bias whose loss is least at known values, each by itself."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 4))
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self):
        return (self.weight - TARGET).square().sum() + (self.bias - 7).square().sum()


def trained(model, masks, phase, *, make=torch.optim.SGD, steps=STEPS, watch=None, **options):
    optimizer = make(model.parameters(), **{"lr": RATE} | options)
    weights = {name: model.get_parameter(name) for name in masks}
    with pruning.hold_masks(weights, masks, optimizer):
        for _ in range(steps):
            optimizer.zero_grad()
            model().backward()
            optimizer.step()
            if watch:
                watch(phase, model)


def weights_of(model):
    return {name: p for name, p in model.named_parameters() if p.dim() >= 2}


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_each_phase_ends_in_the_minimum_that_it_may_reach():
    model, ends = Quadratic(), {}

    def train(model, masks, phase):
        trained(model, masks, phase)
        ends[phase] = model.weight.detach().clone(), model.bias.detach().clone()

    masks = pruning.dense_sparse_dense(model, train, weights_of(model), 0.5)
    kept = torch.tensor([[False, True, False, True], [False, True, True, False]])
    assert list(masks) == ["weight"] and masks["weight"].equal(kept)
    assert list(ends) == list(PHASES)
    for phase, target in zip(PHASES, (TARGET, TARGET * kept, TARGET), strict=True):
        weight, bias = ends[phase]
        assert torch.allclose(weight, target, atol=1e-6) and torch.allclose(bias, torch.tensor(7.0))
    assert not ends["sparse"][0][~kept].any()


@pytest.mark.parametrize("sparsity", [0, 0.25, 0.5, 0.8, 1])
def test_each_layer_loses_its_own_smallest_and_exactly_as_many(sparsity):
    model, began = net(), {}

    def train(model, masks, phase):
        began[phase] = state_of(model), masks

    before = state_of(model)
    masks = pruning.dense_sparse_dense(model, train, weights_of(model), sparsity)
    assert same(began["dense"][0], before) and began["dense"][1] == began["dense again"][1] == {}
    assert same(began["sparse"][1], masks)
    for name, mask in masks.items():
        size = before[name].abs().numpy().ravel()
        gone = np.argsort(size)[: round(sparsity * size.size)]
        expected = before[name].numpy().copy().ravel()
        expected[gone] = 0
        assert np.array_equal(began["sparse"][0][name].numpy().ravel(), expected)
        assert int((~mask).sum()) == len(gone) and not mask.flatten()[gone].any()


def test_what_was_pruned_begins_its_last_training_at_exactly_zero_and_without_momentum():
    model, steps = Quadratic(), {phase: [] for phase in PHASES}

    def watch(phase, model):
        steps[phase].append(model.weight.detach().clone())

    def train(model, masks, phase):
        if phase == "dense again":
            assert model.weight[~masks_of[0]].view(-1).tolist() == [0.0] * 4
            assert not model.weight[~masks_of[0]].signbit().any()
        if masks:
            masks_of.append(masks["weight"])
        options = {"momentum": 0.9, "lr": 0.01, "weight_decay": 0.1, "steps": 7}
        trained(model, masks, phase, watch=watch, **options)

    masks_of = []
    pruned = ~pruning.dense_sparse_dense(model, train, weights_of(model), 0.5)["weight"]
    assert not any(weight[pruned].any() for weight in steps["sparse"])
    first = steps["dense again"][0][pruned]  # one step of plain descent, from 0
    assert torch.allclose(first, 0.01 * 2 * TARGET[pruned], rtol=1e-5)


def test_biases_norms_and_kept_weights_go_on_from_where_they_are():
    model, began, ended = net(), {}, {}
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))

    def train(model, masks, phase):
        began[phase] = state_of(model)
        optimizer = torch.optim.Adam(model.parameters(), 0.1)
        with pruning.hold_masks({n: model.get_parameter(n) for n in masks}, masks, optimizer):
            for _ in range(4):
                optimizer.zero_grad()
                model(x).square().sum().backward()
                optimizer.step()
        ended[phase] = state_of(model)

    masks = pruning.dense_sparse_dense(model, train, weights_of(model), 0.4)
    assert same(ended["sparse"], began["dense again"])
    for name, tensor in began["sparse"].items():
        expected = ended["dense"][name]
        assert tensor.equal(expected * masks[name] if name in masks else expected)
    assert began["sparse"]["1.num_batches_tracked"] == 4
    assert not same(ended["dense"], ended["sparse"])


def test_a_weight_that_is_not_given_is_not_pruned():
    model = net()
    only = {"last": model[3].weight}
    masks = pruning.dense_sparse_dense(model, lambda *_: None, only, 0.5)
    assert list(masks) == ["last"] and int((model[3].weight == 0).sum()) == 6
    assert model[0].weight.all()


def test_parameters_stay_the_same_objects_and_what_is_frozen_elsewhere_stays_as_it_is():
    model = net()
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    before, ids = state_of(model), [id(p) for p in model.parameters()]
    model.eval()
    pruning.dense_sparse_dense(model, lambda *_: None, {"last": model[3].weight}, 0.5)
    assert [id(p) for p in model.parameters()] == ids and not model.training
    assert not model[0].weight.requires_grad and model[0].weight.equal(before["0.weight"])


def test_a_tied_weight_is_pruned_once_and_has_one_mask():
    model = TiedText()
    alone = pruning.magnitude_mask(model.head.weight, 0.5)
    masks = pruning.dense_sparse_dense(model, lambda *_: None, under_all_names(model), 0.5)
    assert masks["embedding"] is masks["head"] and masks["head"].equal(alone)
    assert int((model.head.weight == 0).sum()) == 14


def test_without_sparsity_it_is_its_control():
    ends = []
    for pruned in (True, False):
        model, phases = Quadratic(), []

        def train(model, masks, phase, phases=phases):
            phases.append(phase)
            trained(model, masks, phase, make=torch.optim.Adam, lr=0.1, steps=9)

        if pruned:
            pruning.dense_sparse_dense(model, train, weights_of(model), 0)
        else:
            assert pruning.dense_throughout(model, train) is None
        assert phases == list(PHASES)
        ends.append(state_of(model))
    assert same(*ends)


def test_the_control_never_has_a_mask():
    model, masks_given = net(), []
    pruning.dense_throughout(model, lambda model, masks, phase: masks_given.append(masks))
    assert masks_given == [{}, {}, {}] and same(state_of(model), state_of(net()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_keep_theirs(dtype):
    model = net().to(dtype)
    masks = pruning.dense_sparse_dense(model, lambda *_: None, weights_of(model), 0.5)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert all((w == 0).equal(~masks[name]) for name, w in weights_of(model).items())


@pytest.mark.gpu
def test_on_a_gpu_masks_are_there_too():
    model = net().cuda()
    masks = pruning.dense_sparse_dense(model, lambda *_: None, weights_of(model), 0.5)
    assert all(mask.is_cuda for mask in masks.values())


# ---- what is refused


def ends_sparse_with(model, change):
    def train(net, masks, phase):
        if phase == "dense again":
            pytest.fail("trained again")
        if phase == "sparse":
            change(model, masks)

    return train


@torch.no_grad()
def revive(model, masks):
    """As a training that does not hold its masks."""
    places = (~masks["3.weight"]).nonzero()[:2]
    model[3].weight[tuple(places.T)] = 1e-30


@torch.no_grad()
def spoil(model, masks):
    model[0].weight[0, 0] = float("nan")


def replace(model, masks):
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())


def freeze(model, masks):
    model[0].weight.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (revive, r"3\.weight: 2 of 6 pruned weights are not 0 after the sparse .* hold_masks"),
        (spoil, r"0\.weight holds 1 NaN of 20"),
        (replace, r"0\.weight is no parameter of the model"),
        (freeze, r"0\.weight is not a parameter to train"),
    ],
)
def test_a_training_that_does_not_hold_to_it_is_named(change, said):
    model = net()
    with pytest.raises(ValueError, match=said):
        pruning.dense_sparse_dense(model, ends_sparse_with(model, change), weights_of(model), 0.5)


BAD = {
    "too sparse": (lambda m: (m, weights_of(m), 1.5), ValueError, r"sparsity.*1\.5"),
    "no number": (lambda m: (m, weights_of(m), "0.5"), TypeError, "sparsity.*'0.5'"),
    "no weights": (lambda m: (m, {}, 0.5), ValueError, "weights is empty"),
    "a list": (lambda m: (m, [m[0].weight], 0.5), TypeError, "weights must map names"),
    "no module": (lambda m: (m.state_dict(), weights_of(m), 0.5), TypeError, r"nn\.Module.*Dict"),
    "another's": (lambda m: (m, weights_of(net(1)), 0.5), ValueError, r"0\.weight is no parameter"),
    "its values": (
        lambda m: (m, {"0.weight": m[0].weight.data}, 0.5),
        ValueError,
        r"0\.weight is not a par",
    ),
    "whole numbers": (lambda m: (m, {"n": m[1].num_batches_tracked}, 0.5), TypeError, "n must be"),
}


def nothing_trained(*_):
    pytest.fail("trained")


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_named_before_anything_is_trained(what):
    given, error, said = BAD[what]
    model = net()
    before = state_of(model)
    given_model, weights, sparsity = given(model)
    with pytest.raises(error, match=said):
        pruning.dense_sparse_dense(given_model, nothing_trained, weights, sparsity)
    assert same(state_of(model), before)


def test_frozen_weights_and_views_are_refused_too():
    model = net()
    with pytest.raises(ValueError, match=r"3\.weight is not a parameter to train"):
        frozen = net()
        frozen[3].weight.requires_grad_(False)
        pruning.dense_sparse_dense(frozen, nothing_trained, weights_of(frozen), 0.5)
    model.rows = nn.Parameter(model[0].weight.detach()[:2])
    with pytest.raises(ValueError, match="share memory"):
        pruning.dense_sparse_dense(model, nothing_trained, weights_of(model), 0.5)
