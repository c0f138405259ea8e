"""An answer with two mistakes at once is asked in parts: which is right, and which is wrong how."""

import re

import pytest
import torch

from shrink.classroom.exercises.attempt import Mistake, Wrong, place_of
from shrink.classroom.exercises.cases import by_cases, telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

MISTAKES = (
    Mistake("no factor", lambda x, a, b: x + b, "multiply by a"),
    Mistake("no offset", lambda x, a, b: a * x, "add b"),
    Mistake("no offset, either", lambda x, a, b: a * x + 0, "add b, too"),
)


def line(x, a, b):
    return a * x + b


def compare(given, right, *_):
    return None if given == right else Wrong("not on the line", expected=right, given=given)


def parts(x, a, b):
    yield Part("without an offset", (x, a, 0))
    yield Part("with a factor of 1", (x, 1, b))


def exercise(parts=parts, mistakes=MISTAKES[:2], **options):
    check = by_cases(lambda rng: [(3, 5, 7), (2, 4, 6)], line, compare, parts=parts, **options)
    return Exercise("line", check, reference=line, core=True, minutes=1, mistakes=mistakes)


def told(function, ex=None):
    ex = ex or exercise(mistakes=MISTAKES[:2])
    ex.answer(function)
    outcome = ex.judge(0)
    assert outcome.state == "wrong"
    return outcome.message


def test_the_part_that_is_right_is_told():
    found = told(lambda x, a, b: a * x - 2 * b)
    assert "  in parts: right without an offset, wrong with a factor of 1\n  called:" in found


def test_a_wrong_part_has_the_hint_of_the_mistake_that_it_is():
    ex = exercise(of_parts=MISTAKES[:2])
    found = told(lambda x, a, b: x + 3 * a * 0 - (b if a > 1 else -b), ex)
    assert "\n  in parts: wrong without an offset, right with a factor of 1\n" in found
    assert "\n            without an offset: multiply by a\n" in found


def test_a_hint_is_told_once_and_only_if_one_mistake_alone_explains_it():
    def same_twice(x, a, b):
        yield Part("here", (x, a, b))
        yield Part("there", (x + 1, a, b))

    forgets = lambda x, a, b: a * x if (x, a, b) != (3, 5, 7) else 0  # noqa: E731
    found = told(forgets, exercise(same_twice, (), of_parts=MISTAKES[:2]))
    assert found.count("add b") == 1 and "there: add b" in found
    found = told(forgets, exercise(same_twice, (), of_parts=MISTAKES))
    assert "add b" not in found


def test_a_known_mistake_keeps_its_hint_and_is_not_asked_in_parts():
    found = told(lambda x, a, b: a * x)
    assert "hint:     add b" in found and "in parts" not in found


@pytest.mark.parametrize("nothing", [lambda *_: None, lambda *_: 1 / 0, lambda *_: "text"])
def test_where_nothing_is_right_no_more_is_said(nothing):
    assert "in parts" not in told(nothing)


def test_a_view_is_what_counts_of_a_result():
    def views(*args):
        yield Part("for the first", args, view=lambda pair: pair[0])
        yield Part("for the second", args, view=lambda pair: pair[1])

    check = by_cases(
        lambda rng: [(3, 4)],
        lambda x, y: (x + y, x * y),
        compare,
        parts=views,
        of_parts=[Mistake("difference", lambda x, y: (x - y, 0), "add, do not subtract")],
    )
    ex = Exercise("pair", check, core=True, minutes=1)
    found = told(lambda x, y: (x - y, x * y), ex)
    assert "in parts: wrong for the first, right for the second\n" in found
    assert "for the first: add, do not subtract\n" in found
    assert "in parts" not in told(lambda x, y: 5, ex)  # it has no first


def test_parts_reach_the_students_own_function_by_its_name():
    ex = exercise()

    def calls_itself(x, a, b):
        return ex(x - 1, a, b) + a if x > 0 else 2 * b

    found = told(calls_itself, ex)
    assert "in parts: right without an offset, wrong with a factor of 1" in found


def test_parts_are_asked_of_the_answer_with_its_gradient():
    w = torch.tensor(2.0, requires_grad=True)

    def needs_gradient(given, right, w, n):
        (found,) = torch.autograd.grad(given, w)
        return None if found == n else Wrong("not the gradient", given=given)

    check = by_cases(
        lambda rng: [(w, 5.0)],
        lambda w, n: n * w,
        needs_gradient,
        parts=lambda w, n: [Part("for 1", (w.detach().clone().requires_grad_(), 1.0))],
    )
    ex = Exercise("product", check, core=True, minutes=1)
    assert "in parts: right for 1\n" in told(lambda w, n: w * n**2, ex)


def test_mistakes_that_no_draw_tells_apart_are_an_error_of_the_author():
    same = (MISTAKES[1], MISTAKES[2])
    with pytest.raises(RuntimeError, match="'no offset' and 'no offset, either' apart"):
        list(telling([lambda: (3, 5, 7)], line, same, lambda result: result))


def test_a_place_is_said_in_words():
    said = place_of((4,), torch.device("cpu"))
    assert said == "a tensor of shape (4,) on the device cpu" and not re.search(r"\(\(", said)
