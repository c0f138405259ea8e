"""Exercises: a check is done, not done yet or wrong, and never anything but honest about it."""

import asyncio
import json
import re
import subprocess
import sys
import threading

import pytest
import torch

from shrink import pruning
from shrink.chapters.prune import masks as prune
from shrink.classroom.book.builder import build_chapter
from shrink.classroom.exercises import exercise as module
from shrink.classroom.exercises import front_end
from shrink.classroom.exercises.attempt import Mistake, Wrong, show
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.exercises.stub import is_stub

CHAPTER = """\
# %% double
@double.answer
def double(x{annotation}):
{doc}    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% double-check
double.check()
"""


def _check_double(answer, rng):
    for _ in range(3):
        x = rng.randrange(3, 1000)
        if (given := answer(x)) != 2 * x:
            raise Wrong("this is not twice the number", expected=2 * x, given=given)


def _check_factorial(answer, rng):
    for n in rng.sample(range(3, 9), 3):
        if (given := answer(n)) != torch.arange(1, n + 1).prod():
            raise Wrong("not the factorial", given=given)


def _factorial(n):
    return int(torch.arange(1, n + 1).prod())


@pytest.fixture
def double():
    squared = Mistake("squared", lambda x: x * x, "add it to itself, do not multiply")
    return Exercise(
        "double",
        _check_double,
        reference=lambda x: x + x,
        core=True,
        minutes=1,
        mistakes=(squared,),
    )


@pytest.fixture
def factorial():
    return Exercise("factorial", _check_factorial, reference=_factorial, core=True, minutes=1)


@pytest.fixture
def magnitude_mask():
    yield prune.magnitude_mask
    prune.magnitude_mask.student, prune.magnitude_mask.passed = None, False


@pytest.fixture
def panels(monkeypatch):
    """The panels that a live front end shows."""
    shown = []
    monkeypatch.setattr(module, "is_live", lambda: True)
    monkeypatch.setattr(front_end, "display", lambda data, **_: shown.append(data["text/html"]))
    return shown


def state(exercise, function, seed=0):
    exercise.answer(function)
    return exercise.judge(seed).state


def stub(tmp_path, exercise, doc="", annotation=""):
    """Run the cell that the builder gives to students."""
    path = tmp_path / "01_double.py"
    path.write_text(CHAPTER.format(doc=doc, annotation=annotation))
    cell = build_chapter(path, solved=False).cells[0]
    exec(cell.source, {"double": exercise})


def test_no_answer_is_not_done_yet(double):
    assert double.judge(0).state == "not done yet"
    with pytest.raises(ExerciseError, match="double: not done yet"):
        double.check()


@pytest.mark.parametrize("annotation", ["", ": int = 3"])
@pytest.mark.parametrize("doc", ["", '    """Twice the number."""\n', '    """Two.\n\n    """\n'])
def test_the_stub_that_the_builder_writes_is_not_done_yet(double, tmp_path, doc, annotation):
    stub(tmp_path, double, doc, annotation)
    assert double.student is not None
    assert double.judge(0).state == "not done yet"
    assert double(21) == 42


def test_a_comment_in_the_stub_leaves_it_a_stub(double):
    source = (
        '@double.answer\ndef double(x):\n    # TODO\n    raise NotImplementedError("your turn")'
    )
    exec(source, {"double": double})
    assert double.judge(0).state == "not done yet"


def _bare(x):
    raise NotImplementedError


def _other_words(x):
    raise NotImplementedError("floats are for later")


def _sometimes(x):
    if x > 0:
        raise NotImplementedError("your turn")
    return 2 * x


def _prints_first(x):
    print(x)
    raise NotImplementedError("your turn")


def _other_type(x):
    raise ValueError("your turn")


def _through_torch(x):
    return torch.nn.Module()(x)


@pytest.mark.parametrize(
    "function", [_bare, _other_words, _sometimes, _prints_first, _other_type, _through_torch]
)
def test_an_answer_that_raises_is_wrong_whatever_it_raises(double, function):
    double.answer(function)
    outcome = double.judge(0)
    assert outcome.state == "wrong"
    assert "double: your code raised" in outcome.message
    assert "  called:   double(" in outcome.message


def test_what_is_no_python_function_is_no_stub(double):
    assert not is_stub(len) and not is_stub(torch.nn.Module())
    assert state(double, len) == "wrong"


def test_a_right_answer_is_done_and_takes_the_place_of_the_reference(double, capsys):
    @double.answer
    def mine(x):
        calls.append(x)
        return x * 2

    calls = []
    assert mine is double
    assert double(4) == 8 and not calls
    double.check()
    assert capsys.readouterr().out == "double: done\n"
    calls.clear()
    assert double(4) == 8 and calls == [4]


def test_until_an_answer_is_right_the_reference_answers(double):
    assert double(4) == 8
    assert state(double, lambda x: x * x) == "wrong"
    assert double(4) == 8


def test_a_new_answer_starts_over(double):
    assert state(double, lambda x: x + x) == "done"
    double.answer(lambda x: 0)
    assert not double.passed and double(4) == 8
    assert double.judge(0).state == "wrong"
    assert state(double, lambda x: 2 * x) == "done"


def test_a_check_run_again_finds_the_same(double):
    assert [double.judge(seed).state for seed in range(3)] == ["not done yet"] * 3
    double.answer(lambda x: x * x)
    assert [double.judge(seed).state for seed in range(3)] == ["wrong"] * 3
    double.answer(lambda x: 2 * x)
    assert [double.judge(seed).state for seed in range(3)] == ["done"] * 3


def test_an_answer_that_turns_wrong_is_found_and_no_longer_used(double):
    factor = 2
    double.answer(lambda x: factor * x)
    double.check()
    factor = 3
    with pytest.raises(ExerciseError):
        double.check()
    assert double(4) == 8


def answer_in_a_cell(exercise, source):
    """Define the answer as a notebook does: afterwards its name is the exercise."""
    exec(f"@{exercise.name}.answer\n{source}", {exercise.name: exercise})


RECURSIVE = "def factorial(n):\n    return {base} if n == 0 else n * factorial(n - 1)"


def test_a_recursive_answer_reaches_itself_before_and_after_its_check(factorial):
    answer_in_a_cell(factorial, RECURSIVE.format(base=1))
    factorial.check()
    assert factorial(5) == 120


@pytest.mark.parametrize("base", ["0", "2", "None"])
def test_a_recursive_wrong_answer_does_not_pass(factorial, base):
    answer_in_a_cell(factorial, RECURSIVE.format(base=base))
    for seed in range(5):
        assert factorial.judge(seed).state == "wrong"
    assert factorial(5) == 120


def test_endless_recursion_is_wrong_and_leads_nowhere_else(factorial):
    answer_in_a_cell(factorial, "def factorial(n): return factorial(n)")
    outcome = factorial.judge(0)
    assert outcome.state == "wrong" and "RecursionError" in outcome.message
    assert factorial(5) == 120


def test_a_recursive_mask_that_is_wrong_does_not_pass(magnitude_mask):
    source = (
        "def magnitude_mask(weight, sparsity):\n"
        "    if weight.dim() > 1:\n"
        "        return magnitude_mask(weight.flatten(), sparsity).view(weight.shape)\n"
        "    return weight.abs() > weight.abs().median()"
    )
    answer_in_a_cell(magnitude_mask, source)
    assert magnitude_mask.judge(0).state == "wrong"


def test_an_answer_that_does_not_parse_fails_its_cell_and_its_check_only(double):
    with pytest.raises(SyntaxError):
        answer_in_a_cell(double, "def double(x) return 2 * x")
    with pytest.raises(ExerciseError, match="not done yet"):
        double.check()
    assert double(4) == 8


def test_a_wrong_answer_is_told_what_was_called_expected_and_given(double):
    double.answer(lambda x: x + 1)
    with pytest.raises(ExerciseError) as caught:
        double.check(seed=17)
    text = str(caught.value)
    called = int(re.search(r"called: +double\((\d+)\)", text)[1])
    assert text.startswith("double: this is not twice the number\n")
    assert f"expected: {2 * called}\n" in text
    assert f"given:    {called + 1}\n" in text
    assert text.endswith("again with the same inputs: double.check(seed=17)")
    assert "hint" not in text


def test_a_known_mistake_gets_its_hint(double):
    double.answer(lambda x: x**2)
    assert "  hint:     add it to itself, do not multiply\n" in double.judge(0).message


def test_an_answer_of_none_is_shown(double):
    double.answer(lambda x: None)
    assert re.search("given: +None", double.judge(0).message)


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(magnitude_mask):
    seen = []

    @magnitude_mask.answer
    def answer(weight, sparsity):
        seen[-1].append((weight.tolist(), sparsity))
        return magnitude_mask.reference(weight, sparsity)

    for seed in (1, 1, 2):
        seen.append([])
        assert magnitude_mask.judge(seed).state == "done"
    assert seen[0] == seen[1] != seen[2]


def test_without_a_seed_inputs_are_fresh_and_the_seed_printed_repeats_them(double):
    messages = set()
    double.answer(lambda x: -x)
    for _ in range(8):
        with pytest.raises(ExerciseError) as caught:
            double.check()
        text = str(caught.value)
        seed = int(re.search(r"check\(seed=(\d+)\)", text)[1])
        assert double.judge(seed).message == text
        messages.add(text)
    assert len(messages) > 1


def test_an_input_changed_in_place_is_told(magnitude_mask):
    @magnitude_mask.answer
    def answer(weight, sparsity):
        mask = magnitude_mask.reference(weight, sparsity)
        with torch.no_grad():
            weight[~mask] = 0
        return mask

    outcome = magnitude_mask.judge(0)
    assert outcome.state == "wrong"
    assert "changed its input" in outcome.message
    assert "called:   magnitude_mask(" in outcome.message


def test_the_line_that_raised_is_named(double, tmp_path):
    path = tmp_path / "answer.py"
    path.write_text("def double(x):\n    y = None\n    return y + x\n")
    space = {}
    exec(compile(path.read_text(), path, "exec"), space)
    double.answer(space["double"])
    message = double.judge(0).message
    assert "TypeError" in message and "at line 3: return y + x" in message


def test_an_answer_that_exits_is_wrong(double):
    double.answer(lambda x: sys.exit())
    assert "SystemExit" in double.judge(0).message


@pytest.mark.parametrize("kind", [BaseException, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_of_a_program_is_a_verdict_too(double, kind):
    def raises(x):
        raise kind("x")

    double.answer(raises)
    assert f"{kind.__name__}: x" in double.judge(0).message


def test_who_stops_a_cell_stops_its_check(double):
    def stopped(x):
        raise KeyboardInterrupt

    double.answer(stopped)
    with pytest.raises(KeyboardInterrupt):
        double.judge(0)


def test_an_answer_with_other_arguments_is_wrong(double):
    double.answer(lambda: 2)
    assert "TypeError" in double.judge(0).message


def test_a_long_message_stays_short(magnitude_mask):
    magnitude_mask.answer(lambda weight, sparsity: [weight.tolist()] * 1000)
    message = magnitude_mask.judge(0).message
    assert len(message.splitlines()) <= 6 and max(map(len, message.splitlines())) < 400


def test_a_panel_says_how_the_exercise_stands(double, panels):
    double.check()
    double.answer(lambda x: x * x)
    double.check(seed=3)
    double.answer(lambda x: 2 * x)
    double.check()
    not_yet, wrong, done = panels
    assert "not done yet" in not_yet
    assert "wrong" in wrong and "add it to itself" in wrong and "seed=3" in wrong
    assert "done" in done and "not done" not in done


def test_a_panel_shows_what_the_student_wrote_as_text(double, panels):
    double.answer(lambda x: "<script>alert(1)</script>")
    double.check()
    assert "&lt;script&gt;" in panels[0] and "<script>" not in panels[0]


def test_the_error_in_a_notebook_is_the_message_and_no_traceback(tmp_path):
    code = (
        "from shrink.chapters.prune import magnitude_mask\n"
        "magnitude_mask.answer(lambda weight, sparsity: None)\n"
        "magnitude_mask.check(seed=1)"
    )
    environment = {"IPYTHONDIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    assert ran.returncode == 1
    assert lines[0].startswith("magnitude_mask: ") and lines[-1].endswith("check(seed=1)")
    assert len(lines) < 8


def test_each_check_is_written_to_the_report_that_is_asked_for(double, monkeypatch, tmp_path):
    path = tmp_path / "report.jsonl"
    monkeypatch.setenv("SHRINK_CHECK_REPORT", str(path))
    with pytest.raises(ExerciseError):
        double.check()
    double.answer(lambda x: x * x)
    with pytest.raises(ExerciseError) as caught:
        double.check()
    double.answer(lambda x: 2 * x)
    double.check()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["exercise"] for row in rows] == ["double"] * 3
    assert [row["state"] for row in rows] == ["not done yet", "wrong", "done"]
    assert rows[1]["message"] == str(caught.value)


def test_mine_is_the_students_function_before_its_check_and_after(double):
    double.answer(lambda x: x * x)
    assert double.mine(5) == 25 and double(5) == 10
    double.judge(0)
    assert double.mine(5) == 25 and double(5) == 10


def test_mine_is_recursive_too_and_an_exception_ends_the_turn(factorial):
    answer_in_a_cell(factorial, RECURSIVE.format(base=0))
    assert factorial.mine(4) == 0
    assert factorial(4) == 24
    factorial.answer(lambda n: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        factorial.mine(4)
    assert factorial(4) == 24


def test_mine_without_an_answer_says_so(double, tmp_path):
    with pytest.raises(ExerciseError, match="double has no answer of yours"):
        double.mine(5)
    stub(tmp_path, double)
    with pytest.raises(ExerciseError, match="double has no answer of yours"):
        double.mine(5)


def test_an_exercise_without_a_reference_says_so():
    alone = Exercise("alone", _check_double, core=False, minutes=1)
    with pytest.raises(ExerciseError, match="alone"):
        alone(3)
    assert state(alone, lambda x: 2 * x) == "done"
    assert alone(3) == 6


def test_an_exercise_has_the_documentation_of_its_reference(magnitude_mask):
    assert magnitude_mask.__doc__ == magnitude_mask.reference.__doc__


def test_an_exercise_says_whether_it_is_done(double):
    assert repr(double) == "<exercise double: open>"
    state(double, lambda x: 2 * x)
    assert repr(double) == "<exercise double: done>"


def test_a_changed_input_is_seen_though_it_became_nan_and_gets_no_other_hint():
    def spoils(weight, sparsity):
        mask = pruning.magnitude_mask(weight, sparsity)
        weight.data[~mask] = torch.nan
        return mask

    prune.magnitude_mask.answer(spoils)
    outcome = prune.magnitude_mask.judge(0)
    assert outcome.state == "wrong" and "changed its input" in outcome.message
    assert "hint:" not in outcome.message


def test_a_mask_on_another_device_is_told_so_and_breaks_no_check():
    prune.magnitude_mask.answer(lambda w, s: pruning.magnitude_mask(w, s).to("meta"))
    outcome = prune.magnitude_mask.judge(0)
    assert outcome.state == "wrong" and "shape and device of its weight" in outcome.message


def test_what_a_check_cannot_read_is_wrong_and_not_a_traceback():
    strange = Exercise("strange", lambda answer, rng: answer(1) + "one", core=True, minutes=1)
    strange.answer(lambda x: x)
    outcome = strange.judge(0)
    assert outcome.state == "wrong" and "cannot read your answer (TypeError" in outcome.message


def test_another_thread_keeps_the_reference_while_mine_runs():
    seen = {}

    def elsewhere():
        seen["other"] = double(2)

    def reference(x):
        return 2 * x

    double = Exercise("double", lambda answer, rng: None, reference=reference, core=True, minutes=1)

    @double.answer
    def wrong(x):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return 0

    assert double.mine(2) == 0 and seen["other"] == 4


def test_the_order_of_the_masks_is_free():
    prune.global_masks.answer(lambda w, s: dict(reversed(pruning.global_masks(w, s).items())))
    assert prune.global_masks.judge(0).state == "done"


def _check_step(answer, rng):
    """A step of SGD, after which the weights are doubled."""
    for lr in (0.5, 0.25):
        w = torch.nn.Parameter(torch.tensor([1.0 + rng.random(), 2.0]))
        w.grad = torch.ones(2)
        right = 2 * (w.detach() - lr)
        given = answer.in_place(w, torch.optim.SGD([w], lr=lr), watch=lambda w, _: w.detach())
        if not torch.equal(given, right):
            raise Wrong("not twice the step", expected=right, given=given)
        w.detach().zero_()
        assert torch.equal(given, right)  # a copy: what is done to the weight later is not seen


def _steps(w, optimizer):
    optimizer.step()


def _adds_two(w, optimizer):
    optimizer.step()
    w.data += 2


@pytest.fixture
def step():
    mistakes = (Mistake("once", _steps, "double it"), Mistake("two", _adds_two, "do not add"))
    return Exercise("step", _check_step, core=True, minutes=1, mistakes=mistakes)


@pytest.mark.parametrize("result", [None, "ignored"])
def test_a_function_may_change_its_inputs_where_the_check_asks_for_it(step, result):
    def answer(w, optimizer):
        optimizer.step()
        w.data *= 2
        return result

    assert state(step, answer) == "done"


def test_in_place_a_mistake_is_known_by_what_it_changes(step):
    """Its optimizer trains the copies it is given, with the gradients that were there."""
    step.answer(lambda w, optimizer: optimizer.step())
    assert "\n  hint:     double it\n" in step.judge(0).message

    @step.answer
    def answer(w, optimizer):
        optimizer.step()
        with torch.no_grad():
            w.add_(2.0)

    assert "\n  hint:     do not add\n" in step.judge(0).message
    step.answer(lambda w, optimizer: None)
    assert "hint:" not in step.judge(0).message
    step.answer(lambda w, optimizer: 1 / 0)
    assert "your code raised ZeroDivisionError" in step.judge(0).message


def test_in_place_the_call_shows_the_inputs_as_they_were_and_names_the_optimizer(step):
    step.answer(_steps)
    called = re.search("called: +(.*)", step.judge(0).message)[1]
    assert re.fullmatch(r"step\(tensor\(\[1\.\d+, 2\.0000\]\), SGD\(lr=0\.5\)\)", called)


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "SGD(lr=0.1, momentum=0.9)"),
        (lambda p: torch.optim.Adam(p), "Adam(lr=0.001)"),
        (lambda p: torch.optim.AdamW(p, weight_decay=0.5), "AdamW(lr=0.001, weight_decay=0.5)"),
        (lambda p: torch.optim.RMSprop([{"params": p, "lr": 2}]), "RMSprop(lr=0.01)"),
    ],
)
def test_an_optimizer_is_shown_by_what_sets_it_apart(optimizer, text):
    assert show(optimizer([torch.zeros(1)])) == text


def test_a_dict_is_shown_by_as_many_entries_as_a_line_has_room_for():
    assert show({}) == "{}" and show({"a": 1, "b": 2}) == "{a: 1, b: 2}"
    many = show({f"layer{i}": i for i in range(100)})
    assert many.startswith("{layer0: 0, layer1: 1, ") and len(many) < 400
    assert many.endswith(f", and {100 - many.count(':')} more}}")
    assert show({"a": "x" * 150, "b": "y" * 150, "c": 1}) == f"{{a: {'x' * 150}, and 2 more}}"
    assert show({"a" * 300: 1}) == f"{{{'a' * 300}: 1}}"


def test_a_mistake_that_raises_is_known_by_the_message_too():
    def check(answer, rng):
        answer({"a": 1}, "b")

    mistake = Mistake("missing", lambda d, key: d[key], "the key may be missing")
    get = Exercise("get", check, core=True, minutes=1, mistakes=(mistake,))
    get.answer(lambda d, key: d["b"])
    assert "hint:     the key may be missing" in get.judge(0).message
    get.answer(lambda d, key: d["typo"])
    assert "KeyError" in get.judge(0).message and "hint:" not in get.judge(0).message


def test_a_mistake_is_known_in_another_form_where_the_check_takes_either():
    def check(answer, rng):
        if tuple(answer((1, 2, 3), alike=tuple)) != (2, 3, 4):
            raise Wrong("not one more")

    mistake = Mistake("less", lambda xs: tuple(x - 1 for x in xs), "add, do not subtract")
    more = Exercise("more", check, core=True, minutes=1, mistakes=(mistake,))
    assert state(more, lambda xs: [x + 1 for x in xs]) == "done"
    more.answer(lambda xs: [x - 1 for x in xs])
    assert "hint:     add, do not subtract" in more.judge(0).message
