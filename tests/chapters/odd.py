"""What no answer should return, and some do; each is made from the answer's arguments.

`ODD` is read by the tests of the checks, live and plain (`test_odd_results`).
"""

import enum
import threading

import numpy as np
import torch
from torch import nn


class Whole(int):
    """An int of a type of its own."""


class Agrees(torch.Tensor):
    """A tensor that says yes to every question."""

    def __eq__(self, other):
        return True

    def __bool__(self):
        return True

    __hash__ = torch.Tensor.__hash__


class Breaks:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("no text")

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __bool__(self):
        raise RuntimeError("neither")

    __hash__ = None


class Kind(enum.IntEnum):
    ONE = 1


def _of_itself(*_):
    items = []
    items.append(items)
    return items


def _deep(*_):
    items = []
    for _ in range(5000):
        items = [items]
    return items


def _a_tensor(args):
    return next((a for a in args if isinstance(a, torch.Tensor)), torch.ones(3))


SINGLE = {
    "None": lambda *_: None,
    "empty text": lambda *_: "",
    "text": lambda *_: "x\ud800\x1b[2J",
    "bytes": lambda *_: b"\xff",
    "empty list": lambda *_: [],
    "empty tuple": lambda *_: (),
    "empty dict": lambda *_: {},
    "empty tensor": lambda *_: torch.tensor([]),
    "empty whole tensor": lambda *_: torch.tensor([], dtype=torch.int64),
    "nan": lambda *_: float("nan"),
    "inf": lambda *_: float("-inf"),
    "nan tensor": lambda *_: torch.tensor(float("nan")),
    "nan like the input": lambda *a: torch.full_like(_a_tensor(a), torch.nan, dtype=torch.float32),
    "the input": lambda *a: a[0] if a else 0,
    "the last input": lambda *a: a[-1] if a else 0,
    "all inputs": lambda *a: a,
    "meta tensor": lambda *a: torch.empty_like(_a_tensor(a), device="meta"),
    "sparse tensor": lambda *a: _a_tensor(a).detach().to_sparse(),
    "half tensor": lambda *a: _a_tensor(a).half(),
    "complex tensor": lambda *a: _a_tensor(a).to(torch.complex64),
    "bool tensor": lambda *a: torch.ones_like(_a_tensor(a), dtype=torch.bool),
    "subclass of tensor": lambda *a: _a_tensor(a).detach().as_subclass(Agrees),
    "True": lambda *_: True,
    "huge whole number": lambda *_: 10**5000,
    "negative number": lambda *_: -(2**70),
    "complex": lambda *_: 1j,
    "subclass of int": lambda *_: Whole(3),
    "enum": lambda *_: Kind.ONE,
    "object array": lambda *_: np.array([None, "x", []], dtype=object),
    "text array": lambda *_: np.array(["x", "y"]),
    "record array": lambda *_: np.zeros(2, dtype=[("a", "f4")]),
    "masked array": lambda *_: np.ma.masked_all(3),
    "generator": lambda *_: (x for x in [1]),
    "map": lambda *_: map(str, [1]),
    "range": lambda *_: range(3),
    "set": lambda *_: {1, "x"},
    "function": lambda *_: lambda *_: True,
    "class": lambda *_: torch.Tensor,
    "module": lambda *_: np,
    "model": lambda *_: nn.Identity(),
    "lock": lambda *_: threading.Lock(),
    "list of itself": _of_itself,
    "deep list": _deep,
    "exception": lambda *_: ValueError("x"),
    "not implemented": lambda *_: NotImplemented,
    "ragged list": lambda *_: [1, [2, [3]], "x", None],
    "what breaks": lambda *_: Breaks(),
    "list of what breaks": lambda *_: [Breaks()],
}
INSIDE = ("None", "empty tensor", "nan", "meta tensor", "huge whole number", "what breaks", "model")
ODD = {
    **SINGLE,
    **{f"pair of {n}": lambda *a, n=n: (SINGLE[n](*a), SINGLE[n](*a)) for n in INSIDE},
    **{f"three of {n}": lambda *a, n=n: (SINGLE[n](*a),) * 3 for n in INSIDE},
    **{f"five of {n}": lambda *a, n=n: (SINGLE[n](*a),) * 5 for n in INSIDE},
    **{
        f"{n} by name": lambda *a, n=n: dict.fromkeys(
            a[0] if a and isinstance(a[0], dict) else "x", SINGLE[n](*a)
        )
        for n in INSIDE
    },
}
