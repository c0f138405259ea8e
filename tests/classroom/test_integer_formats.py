"""Weights that are integers times a scale, in a file: bytes, what comes back, what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink.classroom import measure
from shrink.classroom.integer_formats import pack_integers, unpack_integers


def integers(low, high, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(low, high + 1, shape, generator=generator).to(torch.int8)
    q.view(-1)[:2] = torch.tensor([low, high])
    return q


SIGNS = integers(0, 1, (30, 40)) * 2 - 1
KINDS = {  # integers, and the bytes that they take
    "signs": (SIGNS, 150),
    "ternary": (integers(-1, 1, (30, 40)), 240),
    "zeros": (torch.zeros(30, 40, dtype=torch.int8), 240),
    "2 bits": (integers(-2, 1, (30, 40)), 300),
    "3 bits": (integers(-3, 3, (30, 40)), 450),
    "4 bits": (integers(-7, 7, (30, 40)), 600),
    "8 bits": (integers(-128, 127, (30, 40)), 1200),
}
SCALES = {
    "one": torch.tensor(0.3),
    "a channel": torch.linspace(0.1, 1, 30)[:, None],
    "a column": torch.linspace(0, 1, 40)[None],
    "negative": torch.tensor(-0.5),
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize(("q", "size"), KINDS.values(), ids=KINDS)
def test_a_model_comes_back_from_its_file(tmp_path, q, size, scale):
    state = {"fc.weight": q * scale, "fc.bias": torch.randn(30), "steps": torch.tensor(3)}
    packed = pack_integers(state, {"fc.weight": (q, scale)})
    assert packed["fc.weight/q"].nbytes == size
    measure.write(tmp_path / "net", packed)
    found = unpack_integers(measure.read(tmp_path / "net"))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert found["fc.weight"].dtype == torch.float32


@given(st.lists(st.integers(-128, 127), max_size=20))
def test_any_integers_come_back(numbers):
    q = torch.tensor(numbers, dtype=torch.int8)[:, None]
    state = {"w": q.float()}
    assert torch.equal(unpack_integers(pack_integers(state, {"w": (q, torch.tensor(1.0))}))["w"], q)


def test_convolutions_have_a_scale_for_each_kernel():
    q = integers(-1, 1, (6, 3, 5, 5))
    scale = torch.rand(6, 1, 1, 1)
    packed = pack_integers({"conv.weight": q * scale}, {"conv.weight": (q, scale)})
    assert packed["conv.weight/q"].nbytes == 90
    assert torch.equal(unpack_integers(packed)["conv.weight"], q * scale)


ONE = torch.tensor(1.0)
BAD = {
    "another name": ({"v": (SIGNS, ONE)}, ValueError, "no v among"),
    "another type": ({"w": (SIGNS.long(), ONE)}, TypeError, "w: .*int64"),
    "scales of float64": ({"w": (SIGNS, ONE.double())}, TypeError, "w: .*float64"),
    "another shape": ({"w": (SIGNS.T, ONE)}, ValueError, r"w: .*\(40, 30\)"),
    "scales of a vector": ({"w": (SIGNS, torch.ones(40))}, ValueError, r"w: .*\(40,\)"),
    "scales of a larger shape": ({"w": (SIGNS, torch.ones(60, 1))}, ValueError, r"w: .*\(60, 1\)"),
    "infinite": ({"w": (SIGNS, ONE / 0)}, ValueError, "w: .*inf"),
}


@pytest.mark.parametrize(("parts", "error", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_by_name(parts, error, message):
    with pytest.raises(error, match=message):
        pack_integers({"w": SIGNS.float()}, parts)


def test_arrays_that_contradict_each_other_are_refused_by_name():
    def arrays():
        return pack_integers({"w": SIGNS.float()}, {"w": (SIGNS, torch.ones(30, 1))})

    def layout(*numbers):
        return {"w/layout": torch.tensor(numbers, dtype=torch.int32)}

    changes = (
        layout(2, 31, 40),
        layout(2, 60, 20),
        layout(3, 30, 40),
        layout(5, 30, 40),
        layout(0, 30, 40),
        layout(1, 30, 40),
        layout(256, 30, 40),
        layout(-2, 30, 40),
        layout(),
        {"w/scale": torch.ones(60, 1)},
        {"w/q": torch.zeros(150)},
        layout(256, 30, 40) | {"w/q": torch.full((1200,), 0.5)},
        {"w/scale": torch.ones(30, 1, dtype=torch.float64)},
        {"w/scale": torch.ones(30, 1) / 0},
        {"w/more": torch.zeros(1)},
    )
    for change in changes:
        with pytest.raises(ValueError, match=r"^w: "):
            unpack_integers(arrays() | change)
