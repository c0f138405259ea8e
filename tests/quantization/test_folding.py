"""Batch norms of every kind after layers of every kind: folded as they compute, or refused."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, prune

from shrink.quantization.conversion import fold_batch_norm
from tests.odd_models import Named, Scaled, Standardized, half, masked, old

LAYERS = {
    # name: (layer of four outputs, shape of its input)
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "named": (lambda: Named(6, 4), (6,)),
    "1-D": (lambda: nn.Conv1d(6, 4, 3, groups=2), (6, 8)),
    "2-D": (lambda: nn.Conv2d(4, 4, 3, padding="same", padding_mode="reflect"), (4, 6, 6)),
    "3-D": (lambda: nn.Conv3d(2, 4, 2, bias=False), (2, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 4, 3), (4, 6, 6)),
    "scaled": (lambda: Scaled(6, 4), (6,)),
    "standardized": (lambda: Standardized(4, 4, 3), (4, 6, 6)),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 4)), (6,)),
    "weight norm, old": (lambda: old(nn.utils.weight_norm)(nn.Conv2d(4, 4, 3)), (4, 6, 6)),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(6, 4)), (6,)),
    "spectral norm, old": (lambda: old(nn.utils.spectral_norm)(nn.Linear(6, 4)), (6,)),
    "pruned by torch": (lambda: masked(nn.Linear(6, 4)), (6,)),
    "hook": (lambda: hooked(nn.Linear(6, 4)), (6,)),
    "hook before": (lambda: hooked(nn.Linear(6, 4), "register_forward_pre_hook"), (6,)),
    "uninitialized": (lambda: nn.LazyLinear(4), (6,)),
    "embedding": (lambda: nn.Embedding(4, 6), (6,)),
    "nothing": (lambda: nn.ReLU(), (4,)),
}
RIGHT = ["linear", "named", "1-D", "2-D", "3-D"]


class Doubled(nn.BatchNorm1d):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(module, register="register_forward_hook"):
    getattr(module, register)(half)
    return module


def of_axes(*kinds):
    return lambda axes: kinds[axes - 1](4)


KINDS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def plain(axes, **options):
    return KINDS[axes - 1](4, **options)


NORMS = {
    "plain": plain,
    "without gamma and beta": lambda axes: plain(axes, affine=False),
    "cumulative": lambda axes: plain(axes, momentum=None, eps=0.1),
    "without statistics": lambda axes: plain(axes, track_running_stats=False),
    "of its own": lambda axes: Doubled(4),
    "hook": lambda axes: hooked(plain(axes)),
    "gamma pruned": lambda axes: prune.random_unstructured(plain(axes), "weight", 0.5),
    "weight norm": lambda axes: parametrizations.weight_norm(plain(axes), dim=None),
    "of other channels": lambda axes: KINDS[axes - 1](5),
    "of one channel": lambda axes: KINDS[axes - 1](1),
    "of layers": lambda axes: nn.LayerNorm(4),
    "of groups": lambda axes: nn.GroupNorm(2, 4),
    "of instances": lambda axes: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
    "uninitialized": lambda axes: nn.LazyBatchNorm1d(),
    "on meta": lambda axes: plain(axes).to("meta"),
}
FITS = ["plain", "without gamma and beta", "cumulative"]


def trained(norm):
    """With statistics that are not those at first."""
    var = getattr(norm, "running_var", None)
    if var is not None and not is_lazy(var) and not var.is_meta:
        norm.running_mean.data = torch.randn(len(norm.running_mean))
        norm.running_var.data = torch.rand(len(norm.running_var)) + 0.1
    return norm


def pair(layer, norm):
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        make, shape = LAYERS[layer]
        return make(), trained(NORMS[norm](len(shape))), torch.randn(5, *shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_folded_layer_does_what_both_did_or_is_refused(layer, norm):
    first, second, x = pair(layer, norm)
    if layer in RIGHT and norm in FITS:
        folded = fold_batch_norm(first.train(), second.train())
        expected = second.eval()(first.eval()(x))
        assert type(folded) is type(first) and not folded._forward_hooks
        torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)
        return
    with pytest.raises(ValueError, match=r"hook|own|computed|none of|no weight|statistic|meta"):
        fold_batch_norm(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("of_norm", [torch.float32, None])
def test_folding_rounds_once_to_the_layers_type(dtype, of_norm):
    first, second, _ = pair("linear", "plain")
    first, second = first.to(dtype), second.to(of_norm or dtype)
    folded = fold_batch_norm(first, second)
    assert folded.weight.dtype == folded.bias.dtype == dtype
    exact = fold_batch_norm(copy.deepcopy(first).double(), copy.deepcopy(second).double())
    torch.testing.assert_close(folded.weight, exact.weight.to(dtype), rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(folded.bias, exact.bias.to(dtype), rtol=1e-9, atol=1e-3)
