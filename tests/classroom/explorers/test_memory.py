"""What is remembered is made once, and only so much of it."""

import pytest

from shrink.classroom.explorers.memory import Memory


def test_a_result_is_made_once():
    memory, made = Memory(2), []
    for key in ("a", "b", "a", "b"):
        assert memory.once(key, lambda key=key: made.append(key)) is None
    assert made == ["a", "b"] and len(memory) == 2


def test_the_oldest_is_forgotten_first():
    memory = Memory(3)
    for number in range(10):
        memory.once(number, lambda number=number: number**2)
        assert len(memory) <= 3
    for number in (7, 8, 9):
        assert memory.once(number, lambda: pytest.fail("again")) == number**2
    assert memory.once(6, lambda: "again") == "again"


def test_what_was_asked_for_again_is_kept_longer():
    memory = Memory(2)
    for number in (1, 2, 1, 3):
        memory.once(number, lambda number=number: -number)
    assert memory.once(1, lambda: pytest.fail("again")) == -1
    assert memory.once(2, lambda: "again") == "again"


def test_what_fails_is_not_remembered():
    memory = Memory(3)
    with pytest.raises(ZeroDivisionError):
        memory.once("a", lambda: 1 / 0)
    assert memory.once("a", lambda: 1) == 1
