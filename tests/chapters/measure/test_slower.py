"""Chapter 01's check of `fewer_but_slower`: what it lets in, and what it says of two times."""

import re

import pytest
import torch
from torch import nn

from shrink.chapters.measure import fewer_but_slower, slower
from shrink.classroom.exercises.attempt import Wrong
from tests.chapters.judging import judge, rejected
from tests.chapters.measure.answers import many, one_layer_again_and_again, wide


def test_a_model_that_takes_too_long_is_told_so(monkeypatch):
    monkeypatch.setattr(slower, "_MOST_SECONDS", 0.05)
    text = rejected(
        fewer_but_slower,
        lambda: (many(), nn.Sequential(*wide(16), *[nn.Linear(10, 10)] * 20_000)),
    )
    assert re.search(r"more takes \d+\.\d s for one image; keep each below 0\.05 s", text)


@pytest.mark.parametrize(
    ("macs", "seconds", "message"),
    [
        ([10, 20], [1.49e-4, 1e-4], "too close to call: the first takes 1.49 times as long"),
        ([10, 20], [1.01e-4, 1e-4], "too close to call: the first takes 1.01 times as long"),
        ([10, 20], [1e-4, 1e-4], "fewer multiply-accumulates and is faster too"),
        ([20, 10], [1e-4, 1.6e-4], "more multiply-accumulates and is faster: exchange them"),
        ([20, 10], [1e-4, 1.4e-4], "more multiply-accumulates, and must have fewer"),
        ([20, 10], [9e-4, 1e-4], "more multiply-accumulates, and must have fewer"),
        ([0, 10], [9e-4, 1e-4], "fewer: none of its products"),
        ([0, 0], [9e-4, 1e-4], "fewer and more: none of its products"),
        ([10, 10], [9e-4, 1e-4], "both have the same number"),
    ],
)
def test_what_is_said_of_counts_and_times(macs, seconds, message):
    with pytest.raises(Wrong, match=message) as wrong:
        slower._compare(macs, seconds)
    assert f"more: {macs[1]} multiply-accumulates, {1e6 * seconds[1]:.0f} µs" in wrong.value.given


def test_half_as_long_again_is_slower():
    slower._compare([10, 20], [1.5e-4, 0.99e-4])


def test_the_models_and_the_threads_are_left_as_they_were():
    pair, threads = one_layer_again_and_again(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert judge(fewer_but_slower, lambda: pair).state == "done"
        assert torch.get_num_threads() == 2
        rejected(fewer_but_slower, lambda: (nn.Linear(1, 1), pair[1]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert pair[0].training and pair[0][1].weight.dtype == torch.float64


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, padding="same", padding_mode="reflect"),
        nn.ConvTranspose2d(1, 1, 3),
        nn.GroupNorm(1, 1),
        nn.LayerNorm(28),
        nn.GELU(),
        nn.PReLU(),
        nn.Dropout(),
        nn.Upsample(scale_factor=2),
        nn.MaxPool2d(2),
        nn.Softmax(1),
        nn.InstanceNorm2d(1, affine=True),
        nn.ModuleDict({"a": nn.Linear(28, 28)})["a"],
    ],
    ids=str,
)
def test_layers_of_pytorch_are_known_as_such(layer):
    layer(torch.rand(1, 1, 28, 28))  # what it keeps of a call is no change of theirs
    slower._admit("layer", layer)
