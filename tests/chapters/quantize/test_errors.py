"""The errors over all clips, from sums over numbers in order, are those of quantizing each time."""

import pytest
import torch

from shrink.chapters.quantize import errors
from shrink.chapters.quantize.network import DYNAMIC, GRANULARITIES, Setting
from shrink.chapters.quantize.ordered import Ordered


@pytest.mark.parametrize("by", [*GRANULARITIES, DYNAMIC])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_sums_in_order_tell_what_quantizing_at_each_clip_tells(by, symmetric, bits, monkeypatch):
    x = torch.randn(30, 100, generator=torch.Generator().manual_seed(0)) ** 3
    x[3] = 0
    x[5].abs_()
    setting = Setting("weights", symmetric, by)
    found = {}
    for few in (0, 10**9):
        monkeypatch.setattr(errors, "FEW", few)
        found[few] = errors.over_clips(x, Ordered.of(x, by), setting, bits)
    each, at_once = found.values()
    assert at_once.shape == (2, len(errors.CLIPS))
    whole = each.sum(0)
    assert at_once.sum(0) == pytest.approx(whole, rel=1e-3)
    assert abs(at_once - each).max() <= 0.01 * whole.max()  # some lie on the edge of a clip
    assert (at_once[0, -1] == 0) == (each[0, -1] == 0)


def test_numbers_on_a_level_have_no_error_and_none_is_negative():
    x = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])
    found = errors.over_clips(x, Ordered.of(x, "tensor"), Setting("weights", False, "tensor"), 2)
    assert found[:, -1].tolist() == [0, 0] and (found >= 0).all()
