"""Students are made when they are needed, and what is known of them needs none."""

import numpy as np
import pytest
import torch

from shrink.chapters.distil.pupils import Lesson, build, taught
from shrink.chapters.distil.students import Students, accuracies
from shrink.chapters.distil.teacher import ask
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy

RECIPE = Recipe(epochs=1, learning_rate=0.05, weight_decay=0, batch_size=16)
LESSONS = tuple(Lesson(seed) for seed in range(4))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def split():
    g = torch.Generator().manual_seed(0)
    return Split(torch.rand(60, 1, 28, 28, generator=g), torch.randint(10, (60,), generator=g))


def not_again():
    pytest.fail("made again")


def several(make=not_again, count=4, key="key"):
    return Students.of(make, count, (key,))


def four():
    return [build(seed, 5) for seed in range(4)]


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(a.equal(b) for a, b in pairs)


def test_what_they_get_right_is_asked_of_them_once(split):
    expected = [accuracy(network, split) for network in four()]
    assert len({*expected}) > 1
    assert accuracies(several(four), split).tolist() == expected
    assert accuracies(several(), split).tolist() == expected  # without them
    with pytest.raises(pytest.fail.Exception, match="made again"):
        accuracies(several(), Split(1 - split.images, split.labels))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        accuracies(several(key="others"), split)


def test_a_slice_has_the_same_networks_and_what_is_known_of_them(split):
    students = several(four)
    some = students[1:]
    assert (len(students), len(some)) == (4, 3)
    assert some[0] is students[1] and some[-1] is students[3] and [*some[::2]] == [some[0], some[2]]
    assert np.array_equal(accuracies(some, split), accuracies(students, split)[1:])
    assert accuracies(several()[2:], split).tolist() == accuracies([*students[2:]], split).tolist()
    assert some.made_of != students.made_of == several().made_of
    with pytest.raises(IndexError):
        some[3]


def test_none_is_made_before_one_is_asked_for(split):
    students = several()
    assert len(students[:2]) == 2
    with pytest.raises(pytest.fail.Exception, match="made again"):
        students[0]


def test_networks_that_are_no_students_are_asked(split):
    networks = four()
    expected = [accuracy(network, split) for network in networks]
    assert accuracies(iter(networks), split).tolist() == expected


def test_a_teacher_is_asked_for_its_answers(split):
    """A network, its answers, and the first of students teach the same."""
    (teacher,) = first = taught(split, torch.zeros(60, 10), LESSONS[:1], RECIPE)
    kinds = (teacher, ask(teacher, split.images), first)
    told = [taught(split, kind, LESSONS[1:2], RECIPE, width=5)[0] for kind in kinds]
    assert same(told[0], told[1]) and same(told[0], told[2])
    other = taught(split, build(9), LESSONS[1:2], RECIPE, width=5)[0]
    assert not same(told[0], other)


def test_a_student_that_teaches_is_not_needed_for_what_is_known(split, cache):
    def both():
        assistant = taught(split, torch.zeros(60, 10), LESSONS[:1], RECIPE, width=7)
        return accuracies(taught(split, assistant, LESSONS, RECIPE, width=5), split)

    first = both()
    for path in (cache / "pupils").glob("taught-*"):
        path.unlink()
    assert both().tolist() == first.tolist()
    assert not [*(cache / "pupils").glob("taught-*")]
