"""The picture of the start page is true: its answers and bytes are those of the library."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from shrink import pruning
from shrink.classroom import formats, measure, models
from shrink.start import digits
from shrink.start.explorer import FIRST, explore
from shrink.start.network import Network


@pytest.fixture(scope="module")
def network():
    return Network()


@pytest.fixture(scope="module")
def model(network):
    net = models.build("lenet-300-100", seed=0)
    net.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in network.state.items()})
    return net


@pytest.mark.parametrize("percent", [0, 50, 90, 95, 99])
def test_answers_and_bytes_are_those_of_the_library(network, model, percent):
    weights = models.weights(model)
    masks = pruning.global_masks(weights, percent / 100)
    state = {**model.state_dict(), **pruning.apply_masks(weights, masks)}
    pruned = models.build("lenet-300-100", seed=0)
    pruned.load_state_dict(state)
    view = network.without(percent)
    images = torch.from_numpy(network.images)
    assert view.answers.tolist() == pruned(images[:, None]).argmax(dim=1).tolist()
    assert view.left == sum(int(mask.sum()) for mask in masks.values())
    assert np.array_equal(view.kept, masks["fc1.weight"].numpy())
    forms = ("bitmap", "dense")
    assert view.file_bytes == min(measure.size(formats.pack(state, form)) for form in forms)
    assert view.dense_bytes == measure.size(model.state_dict())


def test_the_digits_are_the_ten_of_the_course(network):
    """Another build of the font library may draw a pixel a shade otherwise."""
    assert np.abs(255 * network.images - digits.drawn()).max() < 25


def test_the_slider_begins_where_little_is_left_and_all_is_right_still():
    explorer = explore()
    assert explorer.error is None
    assert explorer.result.percent == FIRST and explorer.result.right == 10
    assert explorer.result.file_bytes < explorer.result.dense_bytes / 7
    before = explorer.image.value
    explorer.controls["percent"].value = 98
    assert explorer.error is None and explorer.image.value != before
    assert explorer.result.right < 10 and "the 4 for an 8" in explorer.text.value


def test_nothing_that_the_page_runs_imports_torch():
    """Where it lies on a slow disk, torch alone takes longer than the first minute allows."""
    code = "import sys, shrink.start.stills; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
