"""What chapter 03's exercises answer with before a student does: the library's own functions."""

import pytest
import torch

from shrink import quantization
from shrink.chapters import quantize
from shrink.quantization import calibration


def test_the_references_are_the_librarys():
    x = torch.tensor([-1.0, 0.4, 3.0, 9.0])
    p = quantization.choose_qparams(-1.0, 3.0, num_bits=4)
    scale, zero_point = quantize.scale_and_zero_point(-1.0, 3.0, 4)
    assert (scale, zero_point) == (p.scale.item(), p.zero_point.item())
    assert type(scale) is float and type(zero_point) is int
    assert quantize.quantize(x, scale, zero_point, 4).equal(quantization.quantize(x, p))
    q, scales = quantize.quantize_channels(x.view(2, 2), 4)
    p = quantization.qparams_of(x.view(2, 2), 4, symmetric=True, narrow=True, axis=0)
    assert q.equal(quantization.quantize(x.view(2, 2), p)) and scales.equal(p.scale.flatten())
    q, scales = quantize.quantize_channels(torch.tensor([0.5, 0.0, -2.0]), 4)
    assert q.tolist() == [7, 0, -7] and scales.tolist() == pytest.approx([0.5 / 7, 1, 2 / 7])
    assert quantize.pack_bits.reference is quantization.pack_bits
    assert quantize.fixed_point(0.3) == (round(0.6 * 2**31), 32)


def test_the_library_is_looked_up_when_it_is_called(monkeypatch):
    counts = torch.tensor([5, 9, 2, 7, 0, 0, 0, 1])
    assert quantize.entropy_threshold(counts, 4) == 4
    monkeypatch.setattr(calibration, "entropy_threshold", lambda counts, levels: "looked up late")
    assert quantize.entropy_threshold(counts, 4) == "looked up late"


def test_two_exercises_have_no_reference_and_the_others_say_what_they_do():
    alone = {e.name for e in quantize.EXERCISES if e.reference is None}
    assert alone == {"best_clip", "break_the_quantizers"}
    assert all(e.__doc__ for e in quantize.EXERCISES if e.reference)
