"""Statistics of batch norm computed anew: torch's own cumulative average, and a direct mean."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrink.classroom import models
from shrink.pruning import recompute_norms
from tests import depth
from tests.pruning.corners import BETWEEN
from tests.pruning.nets import IMAGES, NETS, images, shaken, state_of

COURSE = {
    name: (lambda kind=kind: (kind(), (6, 1, 28, 28))) for name, kind in models.MODELS.items()
}
MAKE = {
    **{name: COURSE[name] for name in ("separable", "residual")},
    **{name: (lambda kind=kind: (kind(), IMAGES)) for name, kind in NETS.items()},
    "without scales": BETWEEN["norm behind linear, and none of its own"],
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def built(name, dtype=torch.float32):
    model, shape = MAKE[name]()
    return shaken(copy.deepcopy(model)).to(dtype), [images(shape, i, dtype) for i in range(3)]


def norms(model):
    found = {name: part for name, part in model.named_modules() if isinstance(part, _BatchNorm)}
    return {name: part for name, part in found.items() if part.running_mean is not None}


def by_torch(model, batches):
    """The statistics that torch averages itself, all else in use, and what each norm took in."""
    model = copy.deepcopy(model).eval()
    taken = {name: [] for name in norms(model)}
    for name, norm in norms(model).items():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
        norm.register_forward_pre_hook(lambda _, args, into=taken[name]: into.append(args[0]))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return norms(model), taken


def same_but_for_statistics(before, after):
    """Whether all is the same but the statistics: tensors, identities, modes, hooks."""
    for a, b in zip(before[:2], after[:2], strict=True):
        assert a.keys() == b.keys()
    for name, value in before[0].items():
        if not name.endswith(STATISTICS):
            assert after[0][name] == value
            assert after[1][name].equal(before[1][name])
    assert after[2] == before[2]


@pytest.mark.parametrize("name", MAKE)
def test_statistics_are_torchs_cumulative_average(name):
    model, batches = built(name, torch.float64)
    expected, _ = by_torch(model, batches)
    before = state_of(model)
    recompute_norms(model, batches)
    assert expected
    for layer, norm in norms(model).items():
        torch.testing.assert_close(norm.running_mean, expected[layer].running_mean)
        torch.testing.assert_close(norm.running_var, expected[layer].running_var)
        assert not norm.running_mean.equal(before[1][f"{layer}.running_mean"])
    same_but_for_statistics(before, state_of(model))


@pytest.mark.parametrize("name", MAKE)
def test_statistics_are_the_mean_over_the_batches_of_mean_and_unbiased_variance(name):
    model, batches = built(name)
    batches[2] = batches[2][:3]  # a smaller batch counts as much as any
    _, taken = by_torch(model, batches)
    recompute_norms(model, iter(batches))
    for layer, norm in norms(model).items():
        rows = [
            np.moveaxis(x.double().numpy(), 1, -1).reshape(-1, x.shape[1]) for x in taken[layer]
        ]
        means = np.mean([row.mean(0) for row in rows], 0)
        variances = np.mean([row.var(0, ddof=1) for row in rows], 0)
        np.testing.assert_allclose(norm.running_mean.numpy(), means, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(norm.running_var.numpy(), variances, rtol=1e-3, atol=1e-4)


def test_what_was_there_before_has_no_part_in_it():
    model, batches = built("residual")
    other = shaken(copy.deepcopy(model), seed=1)
    other.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.endswith(STATISTICS)}, strict=False
    )
    for _ in range(2):
        recompute_norms(model, batches)
    recompute_norms(other, batches)
    for name, norm in norms(model).items():
        assert norm.running_mean.equal(norms(other)[name].running_mean)
        assert norm.running_var.equal(norms(other)[name].running_var)


def test_modes_momentum_and_frozen_parts_stay():
    model, batches = built("vgg")
    model.train()
    model.features[1].eval()
    model.features[4].momentum = None
    model.features[8].momentum = 0.3
    model.features[1].weight.requires_grad_(False)
    model.features[0].weight.grad = torch.ones_like(model.features[0].weight)
    before = state_of(model)
    recompute_norms(model, batches)
    same_but_for_statistics(before, state_of(model))
    assert [model.features[i].momentum for i in (1, 4, 8)] == [0.1, None, 0.3]
    expected, _ = by_torch(model, batches)  # of the frozen one too, and nothing drops
    for layer, norm in norms(model).items():
        torch.testing.assert_close(norm.running_mean, expected[layer].running_mean)
        assert not norm.running_mean.requires_grad and not norm.running_var.requires_grad


def test_random_numbers_are_left_alone():
    model, batches = built("vgg")
    model.train()
    torch.manual_seed(0)
    recompute_norms(model, batches)
    found = torch.rand(3)
    torch.manual_seed(0)
    assert torch.rand(3).equal(found)


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout()

    def forward(self, x):
        x = self.drop(self.norm(x))
        if len(x) == 3:
            raise RuntimeError("three")
        return x


def broken():
    yield torch.rand(5, 4)
    raise OSError("the disk is gone")


ODD = [
    ([torch.rand(5, 4), torch.rand(3, 4)], RuntimeError, "three"),
    (broken(), OSError, "disk"),
    ([], ValueError, "batch"),
    (iter(()), ValueError, "batch"),
    ([torch.rand(5, 4), (torch.rand(5, 4), torch.zeros(5))], TypeError, "tuple"),
    ([torch.rand(5, 4), torch.rand(1, 4)], ValueError, "batch of 1"),
    ([torch.rand(5, 4), torch.rand(5, 3)], RuntimeError, "running_mean"),
    (None, TypeError, "NoneType"),
]


@pytest.mark.parametrize(("batches", "error", "said"), ODD)
def test_an_error_leaves_everything_as_it_was(batches, error, said):
    model = shaken(Fails()).train()
    model.drop.eval()
    model.norm.momentum = 0.7
    before = state_of(model)
    with pytest.raises(error, match=said):
        recompute_norms(model, batches)
    after = state_of(model)
    same_but_for_statistics(before, after)
    assert all(after[1][name].equal(value) for name, value in before[1].items())
    assert model.norm.momentum == 0.7 and model.training and not model.drop.training


def test_a_norm_that_runs_twice_counts_each_time():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(self.norm(x) * 3)

    model, batches = shaken(Twice()), [images((5, 4), i) for i in range(2)]
    expected, _ = by_torch(model, batches)
    recompute_norms(model, batches)
    torch.testing.assert_close(model.norm.running_mean, expected["norm"].running_mean)


def test_what_has_no_statistics_is_left_alone():
    model = nn.Sequential(
        nn.BatchNorm1d(4, track_running_stats=False), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    ).eval()
    model[0].aside = shaken(nn.BatchNorm1d(4))  # that is not called
    batches = [images((5, 4), i) for i in range(depth.examples(20) // 10)]
    before = state_of(model)
    recompute_norms(model, batches)
    after = state_of(model)
    same_but_for_statistics(before, after)
    assert model[0].running_mean is None
    for name in STATISTICS:
        assert after[1][f"0.aside.{name}"].equal(before[1][f"0.aside.{name}"])


def test_after_it_the_norms_outputs_are_those_of_one_batch():
    model, batches = built("residual")
    recompute_norms(model, batches[:1])
    x = F.conv2d(batches[0], model.stem.weight, stride=2, padding=1)
    y = model.norm0(x)
    expected = F.batch_norm(
        x, None, None, model.norm0.weight, model.norm0.bias, training=True, eps=model.norm0.eps
    )
    torch.testing.assert_close(y, expected, rtol=0.01, atol=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MAKE)
def test_on_cuda_the_statistics_are_those_of_the_cpu(name):
    model, batches = built(name, torch.float64)
    there = copy.deepcopy(model).cuda()
    recompute_norms(model, batches)
    recompute_norms(there, [batch.cuda() for batch in batches])
    for layer, norm in norms(there).items():
        assert norm.running_mean.is_cuda
        torch.testing.assert_close(norm.running_mean.cpu(), norms(model)[layer].running_mean)
        torch.testing.assert_close(norm.running_var.cpu(), norms(model)[layer].running_var)
