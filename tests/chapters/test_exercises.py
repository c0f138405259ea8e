"""What every chapter's exercises hold: right answers pass, each wrong one is told why.

Of a chapter it asks for `tests/chapters/<name>/answers.py`, with

    RIGHT = {exercise: [functions]}             # right in other ways than the text's own solution
    WRONG = {exercise: {function: regex}}       # wrong otherwise than the known mistakes: no hint
                                                # is shown, unless the regex has "hint:" in it
    DISGUISED = [(exercise, mistake, function)] # known mistakes as students write them: other types
    RAISING = {(exercise, mistake): error}      # known mistakes that raise, and what

The last two may be missing. What only one chapter has to hold (its oracles, its inputs) stands in
a test of its own folder.
"""

import importlib
import re
import time

import pytest

from shrink.classroom.exercises.stub import STUB_MESSAGE
from tests import CHAPTERS, ROOT, depth
from tests.chapters.judging import judge, rejected
from tests.chapters.notebooks import solutions

SEEDS, FEW_SEEDS = depth.seeds(30, few=2), depth.seeds(8, few=1)
NAMES = [c[3:] for c in CHAPTERS if (ROOT / "tests" / "chapters" / c[3:] / "answers.py").is_file()]
EXERCISES = {
    (name, exercise.name): exercise
    for name in NAMES
    for exercise in importlib.import_module(f"shrink.chapters.{name}").EXERCISES
}
ANSWERS = {name: importlib.import_module(f"tests.chapters.{name}.answers") for name in NAMES}
SOLUTIONS = {chapter[3:]: solutions(chapter) for chapter in CHAPTERS if chapter[3:] in NAMES}
CORE_MINUTES, MOST_MISTAKES = 40, 9


def each(exercises, *of_each):
    """Parameters with readable ids: of each exercise, what the functions `of_each` list for it."""
    rows = [(key,) for key in exercises]
    for listed in of_each:
        rows = [(*row, value) for row in rows for value in listed(*row)]
    return [pytest.param(*row, id="-".join(_text(value) for value in row)) for row in rows]


def _text(value):
    if isinstance(value, tuple):
        return "-".join(map(_text, value))
    return str(getattr(value, "name", getattr(value, "__name__", value)))


def right_of(key):
    return [SOLUTIONS[key[0]][key[1]], *ANSWERS[key[0]].RIGHT.get(key[1], ())]


def wrong_of(key):
    return ANSWERS[key[0]].WRONG.get(key[1], {}).items()


def mistakes_of(key):
    return EXERCISES[key].mistakes


def disguised_of(key):
    found = getattr(ANSWERS[key[0]], "DISGUISED", ())
    return [(mistake, function) for name, mistake, function in found if name == key[1]]


@pytest.fixture(autouse=True)
def fresh_exercises(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_to_exercises_that_there_are(name):
    exercises = {exercise for chapter, exercise in EXERCISES if chapter == name}
    answers = ANSWERS[name]
    assert SOLUTIONS[name].keys() == exercises
    assert answers.RIGHT.keys() | answers.WRONG.keys() <= exercises
    assert {row[0] for row in getattr(answers, "DISGUISED", ())} <= exercises
    known = {(e, m.name) for e in exercises for m in EXERCISES[name, e].mistakes}
    assert set(getattr(answers, "RAISING", ())) <= known


@pytest.mark.parametrize("name", NAMES)
def test_three_exercises_are_core_and_fit_their_time(name):
    exercises = [exercise for (chapter, _), exercise in EXERCISES.items() if chapter == name]
    core = [exercise for exercise in exercises if exercise.core]
    assert exercises[:3] == core
    assert sum(exercise.minutes for exercise in core) <= CORE_MINUTES


@pytest.mark.parametrize("name", NAMES)
def test_the_headings_say_what_is_core_and_how_many_minutes_it_takes(name):
    (text,) = (ROOT / "course").glob(f"??_{name}.py")
    heading = re.compile(r"^# ### \d+ · .* \((core|more), (\d+) minutes\)$", re.MULTILINE)
    exercises = [exercise for (chapter, _), exercise in EXERCISES.items() if chapter == name]
    said = [("core" if e.core else "more", str(e.minutes)) for e in exercises]
    assert heading.findall(text.read_text(encoding="utf-8")) == said


@pytest.mark.parametrize(("key", "function"), each(EXERCISES, right_of))
def test_right_answers_pass(key, function):
    for seed in SEEDS:
        outcome = judge(EXERCISES[key], function, seed)
        assert outcome.state == "done", outcome.message


@pytest.mark.parametrize("key", each(k for k, e in EXERCISES.items() if e.reference))
def test_the_reference_passes(key):
    for seed in SEEDS:
        outcome = judge(EXERCISES[key], EXERCISES[key].reference, seed)
        assert outcome.state == "done", outcome.message


@pytest.mark.parametrize("key", each(EXERCISES))
def test_the_stub_is_not_done_yet(key):
    def stub(*args):
        raise NotImplementedError("your turn")

    assert STUB_MESSAGE == "your turn"
    assert judge(EXERCISES[key], stub).state == "not done yet"


@pytest.mark.parametrize("key", each(EXERCISES))
def test_a_check_is_quick(key):
    judge(EXERCISES[key], right_of(key)[0])  # what is made once is made
    start = time.process_time()
    judge(EXERCISES[key], right_of(key)[0])
    assert time.process_time() - start < 8  # half a second or less for most, and machines differ


@pytest.mark.parametrize(("key", "mistake"), each(EXERCISES, mistakes_of))
def test_a_known_mistake_is_rejected_with_its_hint(key, mistake):
    raising = getattr(ANSWERS[key[0]], "RAISING", {})
    for seed in SEEDS:
        message = rejected(EXERCISES[key], mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        raised = re.search(r"your code raised (\w+)", message)
        assert (raised and raised[1]) == raising.get((key[1], mistake.name)), message


@pytest.mark.parametrize("key", each(EXERCISES))
def test_mistakes_are_few_each_with_a_name_and_a_hint_of_its_own(key):
    mistakes = EXERCISES[key].mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)
    assert len(mistakes) <= MOST_MISTAKES
    assert len(mistakes) + len(wrong_of(key)) >= 5


@pytest.mark.parametrize(("key", "row"), each(EXERCISES, disguised_of))
def test_a_mistake_is_known_as_students_write_it(key, row):
    name, function = row
    (hint,) = (m.hint for m in EXERCISES[key].mistakes if m.name == name)
    for seed in FEW_SEEDS:
        message = rejected(EXERCISES[key], function, seed)
        assert f"\n  hint:     {hint}\n" in message, message


@pytest.mark.parametrize(("key", "row"), each(EXERCISES, wrong_of))
def test_other_wrong_answers_are_told_what_is_wrong(key, row):
    function, told = row
    for seed in FEW_SEEDS:
        message = rejected(EXERCISES[key], function, seed)
        assert re.search(told, message, re.DOTALL), message
        assert "hint:" in told or "\n  hint:" not in message, message
