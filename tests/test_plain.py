"""Whether a layer is plain, by its class, its hooks and its parameters."""

import pytest
import torch
from torch import nn

from shrink import plain
from tests.odd_models import Helped, Named, Scaled, Standardized, masked, two


def test_why_a_model_cannot_be_copied_is_said():
    with pytest.raises(ValueError, match=r"the weight of 0, .*prune.remove"):
        plain.copied(two(masked(nn.Linear(8, 6))))
    model = two()
    model.cache = model[0].weight * 2
    with pytest.raises(ValueError, match="cannot be copied: Only Tensors created explicitly"):
        plain.copied(model)


@pytest.mark.parametrize(
    ("layer", "kind", "names"),
    [
        (nn.Linear(3, 2), nn.Linear, set()),
        (Named(3, 2), nn.Linear, set()),
        (Scaled(3, 2), nn.Linear, {"forward"}),
        (Helped(3, 2), nn.Linear, {"twice"}),
        (Standardized(1, 2, 3), nn.Conv2d, {"_conv_forward"}),
        (nn.modules.linear.NonDynamicallyQuantizableLinear(3, 2), nn.Linear, set()),
    ],
)
def test_what_a_layer_has_beyond_its_kind(layer, kind, names):
    assert plain.own_names(layer, kind) == names
    layer.forward = torch.relu
    assert plain.own_names(layer, kind) == names | {"forward"}


@pytest.mark.parametrize("hooks", plain.HOOKS)
def test_torch_has_these_places_for_hooks(hooks):
    assert not getattr(nn.Linear(1, 1), hooks)
    assert not getattr(nn.modules.module, f"_global{hooks}")
