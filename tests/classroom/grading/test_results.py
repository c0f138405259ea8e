"""What an answer returns is made anew for a strict check; the verdict stays that of plain check."""

import collections
import types
from collections import namedtuple

import numpy as np
import pytest
import torch

from shrink.classroom.grading.strict.results import Foreign, made_anew
from shrink.classroom.grading.strict.watch import Watch
from shrink.classroom.grading.strict.worker import _Watched
from tests import depth
from tests.chapters.judging import judge
from tests.chapters.odd import Agrees, Kind, Whole
from tests.chapters.test_exercises import EXERCISES, SOLUTIONS, each, fresh_exercises  # noqa: F401


class Text(str):
    """A str of a type of its own."""


class Real(float):
    """A float of a type of its own."""


def _pair(items):
    return namedtuple("Pair", [f"a{n}" for n in range(len(items))])(*items)


OTHERWISE = {  # a result of the type, as one of another; answers define no types of their own
    "deque": (list, collections.deque),
    "list of a user's": (list, collections.UserList),
    "list as a tuple": (list, tuple),
    "named": (tuple, _pair),
    "tuple as a list": (tuple, list),
    "tuple as a deque": (tuple, collections.deque),
    "ordered": (dict, collections.OrderedDict),
    "a view": (dict, types.MappingProxyType),
    "a chain": (dict, collections.ChainMap),
    "dict of a user's": (dict, collections.UserDict),
    "int of numpy": (int, np.int64),
    "int of torch": (int, torch.tensor),
    "int as a float": (int, float),
    "an array of one": (int, lambda n: np.array(n)),
    "float of numpy": (float, np.float64),
    "half a float": (float, np.float16),
    "an array of objects": (list, lambda items: np.array(items, dtype=object)),
    "an array": (torch.Tensor, lambda t: t.detach().numpy()),
    "a parameter": (torch.Tensor, lambda t: torch.nn.Parameter(t, t.is_floating_point())),
    "a list for a tensor": (torch.Tensor, lambda t: t.tolist()),
    "a matrix": (torch.Tensor, lambda t: np.asmatrix(t.detach().numpy())),
    "an iterator": (list, iter),
    "keys": (list, lambda items: dict.fromkeys(map(str, items)).keys()),
}
FEW = ("named", "int of numpy")


@pytest.mark.parametrize("key", each(EXERCISES))
@pytest.mark.parametrize("how", OTHERWISE if depth.DEEP else FEW)
def test_plain_and_strict_agree_on_what_another_type_is(key, how):
    kind, change = OTHERWISE[how]

    def answer(*args):
        return _changed(SOLUTIONS[key[0]][key[1]](*args), kind, change)

    plain = judge(EXERCISES[key], answer).state
    strict = judge(EXERCISES[key], _Watched(answer, Watch()))
    assert strict.state == plain, strict.message


def _changed(result, kind, change):
    """The result, changed where it is of the kind; or else what is in it."""
    if type(result) is kind:
        return change(result)
    if type(result) in (list, tuple):
        return type(result)(_changed(item, kind, change) for item in result)
    return result


def test_types_are_exact_and_values_the_same():
    lists = [Whole(3), Kind.ONE, True, Real(0.5), Text("x"), None, 1j, b"x"]
    assert [type(v) for v in made_anew(lists)] == [
        int,
        int,
        bool,
        float,
        str,
        type(None),
        complex,
        bytes,
    ]
    assert made_anew(lists) == [3, 1, True, 0.5, "x", None, 1j, b"x"]
    assert type(made_anew(_pair([1, 2]))) is tuple and type(made_anew(torch.Size([1]))) is tuple
    assert made_anew(collections.Counter("aab")) == {"a": 2, "b": 1}
    agrees = made_anew(torch.ones(2).as_subclass(Agrees))
    assert type(agrees) is torch.Tensor and not agrees.equal(torch.zeros(2))
    assert type(made_anew(np.asmatrix([[1]]))) is np.ndarray
    inside = made_anew(np.array([[Whole(2), Text("y")]], dtype=object))
    assert inside.shape == (1, 2) and [type(v) for v in inside.flat] == [int, str]


def test_gradients_pass_through():
    x = torch.ones(2, requires_grad=True)
    made_anew([(2 * x).sum()])[0].backward()
    assert x.grad.tolist() == [2, 2]


@pytest.mark.parametrize("value", [print, np, object(), (x for x in ()), type, slice(1), Watch()])
def test_what_no_check_reads_is_foreign(value):
    found = made_anew([value])[0]
    assert type(found) is Foreign and repr(found) == f"<{type(value).__name__}>"
