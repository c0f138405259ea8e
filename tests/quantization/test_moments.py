"""Moments of what goes into layers: against sums of outputs, and the model as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.quantization.moments import input_moments, output_error
from tests.quantization.test_conversion import random, seeded, state_of, unchanged

LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (7, 5)),
    "linear on sequences": (lambda: nn.Linear(5, 3), (7, 4, 5)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3), (7, 2, 6, 5)),
    "padding and stride": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (7, 2, 6, 5)),
    "dilated": (lambda: nn.Conv2d(2, 4, 2, dilation=2), (7, 2, 6, 5)),
    "uneven": (lambda: nn.Conv2d(2, 4, (1, 3), stride=(2, 1), padding=(0, 1)), (7, 2, 6, 5)),
    "valid": (lambda: nn.Conv2d(2, 4, 3, padding="valid"), (7, 2, 6, 5)),
    "two groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (7, 4, 6, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3), (7, 3, 6, 5)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_error_and_shift_of_outputs_are_those_that_the_layer_shows(kind):
    make, shape = LAYERS[kind]
    layer, x = seeded(make), random(*shape)
    found = input_moments(nn.Sequential(layer), x, batch_size=3)["0"]
    delta = 0.1 * random(*layer.weight.shape, seed=1)
    if isinstance(layer, nn.Linear):
        off = F.linear(x, delta).flatten(0, -2).double()
    else:
        off = layer._conv_forward(x, delta, None).movedim(1, -1).flatten(0, -2).double()
    torch.testing.assert_close(
        output_error(delta, found.products), off.square().mean(0), rtol=1e-5, atol=1e-9
    )
    rows = delta.double().view(len(found.mean), -1, found.mean.shape[1])
    shift = (rows @ found.mean[..., None]).flatten()
    torch.testing.assert_close(shift, off.mean(0), rtol=1e-4, atol=1e-7)


def test_batches_add_up_and_the_model_stays_as_it_was():
    net, x = seeded(lambda: models.build("separable", 0)).train(), random(12, 1, 28, 28).abs()
    before = state_of(net)
    one, many = input_moments(net, x, batch_size=12), input_moments(net, x, batch_size=5)
    assert unchanged(net, before)
    assert not any(m._forward_pre_hooks for m in net.modules())
    names = ["stem", "depthwise1", "pointwise1", "depthwise2", "pointwise2", "fc"]
    assert [*one] == [*many] == names
    for name in names:
        torch.testing.assert_close(one[name].products, many[name].products)
        torch.testing.assert_close(one[name].mean, many[name].mean)
        eigenvalues = torch.linalg.eigvalsh(one[name].products)
        assert eigenvalues.min() >= -1e-9 * eigenvalues.max()


def test_layers_come_in_the_order_in_which_they_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first, self.unused = nn.Linear(3, 2), nn.Linear(4, 3), nn.Linear(1, 1)

        def forward(self, x):
            return self.last(self.first(x))

    assert [*input_moments(Backwards(), random(5, 4))] == ["first", "last"]


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding_mode": "circular"}], ids=str)
def test_other_padding_is_named(options):
    net = nn.Sequential(nn.Conv2d(1, 1, 3, **options))
    with pytest.raises(ValueError, match=r"Conv2d\(1, 1, kernel_size=\(3, 3\).* pads otherwise"):
        input_moments(net, random(2, 1, 5, 5))


def test_what_is_given_is_checked():
    net = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(ValueError, match="there are none"):
        input_moments(net, random(0, 4))
    with pytest.raises(TypeError, match="the images must be floating point"):
        input_moments(net, torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        input_moments(net, random(3, 4), batch_size=0)
    for shape in ((1, 4, 3), (3, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match=r"do not fit a weight of shape \(2, 4\)"):
            output_error(torch.ones(2, 4), torch.ones(shape))
