"""Plain check under nbval: what ends Python is named at once, whoever saved the notebook, wherever.

Each test here starts a kernel, which takes seconds; those marked `deep` are more of the same kind.
"""

import time
from queue import Empty

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shrink.classroom.grading import patience
from shrink.classroom.grading.check import as_text, check, find_chapters
from shrink.classroom.grading.strict.grading import grade
from tests import ROOT
from tests.classroom.front_ends import FRONT_ENDS, saved
from tests.classroom.grading.test_verdicts import CHECK, HEAD, RIGHT, SETUP

SLOW = 60.0  # seconds for a kernel's start on a busy machine; a time-out would be five times that
IN_SHORT = "VS Code on Windows"
MORE = [pytest.param(f, marks=pytest.mark.deep) for f in FRONT_ENDS if f != IN_SHORT]
DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
LATER = "import os, threading, time; threading.Timer(0.1, os._exit, [0]).start(); time.sleep(9)"


def checked(folder, *sources, timeout=300.0):
    """The result of these cells, and the seconds that it took."""
    cells = [new_code_cell(source, id=f"c{n}") for n, source in enumerate((SETUP, *sources))]
    path = folder / "02_prune.ipynb"
    path.write_bytes(saved(new_notebook(cells=cells), "Kaggle"))
    started = time.monotonic()
    return check(path, timeout), time.monotonic() - started


def states(result):
    return {status.exercise: (status.state, status.message) for status in result.exercises}


@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("quit()", ": quit() or exit() ended it"),
        pytest.param("import os\nos._exit(0)", "", marks=pytest.mark.deep),
        pytest.param("exit()", ": quit() or exit() ended it", marks=pytest.mark.deep),
        pytest.param("exit", ": quit() or exit() ended it", marks=pytest.mark.deep),
        pytest.param("get_ipython().ask_exit()", ": quit()", marks=pytest.mark.deep),
        pytest.param(DIE, "", marks=pytest.mark.deep),
        pytest.param(LATER, "", marks=pytest.mark.deep),
        pytest.param("import ctypes; ctypes.string_at(0)", "", marks=pytest.mark.deep),
    ],
)
def test_the_cell_that_ends_python_is_named_and_no_other(tmp_path, ending, how):
    result, seconds = checked(tmp_path, RIGHT, CHECK, ending, "1 / 0", "2")
    assert seconds < SLOW
    (error,) = result.errors
    assert (error.cell, error.id) == (4, "c3")
    assert error.message.startswith("Python has ended in it" + how)
    told = states(result)
    assert told.pop("magnitude_mask") == ("done", "")
    below = ("not done yet", "its check did not run: Python has ended in cell [4]")
    assert set(told.values()) == {below}


def test_an_answer_that_ends_python_is_wrong_as_strict_has_it(tmp_path):
    result, seconds = checked(tmp_path, f"{HEAD}    import os; os._exit(1)", CHECK)
    assert seconds < SLOW
    assert states(result)["magnitude_mask"] == ("wrong", "Python has ended in it")


@pytest.mark.deep
@pytest.mark.parametrize("ending", ["import sys; sys.exit(3)", "raise SystemExit"])
def test_an_exit_that_ipython_holds_fails_its_cell_alone(tmp_path, ending):
    result, _ = checked(tmp_path, ending, RIGHT, CHECK)
    assert states(result)["magnitude_mask"] == ("done", "") and len(result.errors) == 1


@pytest.mark.deep
def test_a_cell_that_takes_too_long_hides_no_other(tmp_path):
    """Whether it ends by the interrupt, or catches that and goes on to its end."""
    stubborn = "import time\ntry:\n    time.sleep(99)\nexcept KeyboardInterrupt: pass"
    result, _ = checked(tmp_path, stubborn, "1 / 0", "while True: pass", RIGHT, CHECK, timeout=20)
    assert [(e.cell, e.message.partition(":")[0]) for e in result.errors] == [
        (2, "not finished after 20 seconds"),
        (3, "ZeroDivisionError"),
        (4, "not finished after 20 seconds"),
    ]
    assert states(result)["magnitude_mask"] == ("done", "")


@pytest.mark.deep
def test_an_answer_that_takes_too_long_is_wrong_as_strict_has_it(tmp_path):
    result, _ = checked(tmp_path, f"{HEAD}    while True: pass", CHECK, timeout=30)
    assert states(result)["magnitude_mask"] == ("wrong", "not finished after 30 seconds")


@pytest.mark.parametrize("front_end", [IN_SHORT, *MORE])
def test_whoever_saved_it_plain_and_strict_say_the_same(tmp_path, front_end):
    """Under a name that another system gave the copy, with a file beside it that a cell reads."""
    first = "%%time\nopen('beside.txt').read()\n" + RIGHT
    text = "@relative_indices.answer\ndef relative_indices(*args):\n    return 'é'\n"
    setup = SETUP.replace("import global_masks", "import relative_indices, global_masks")
    sources = [setup, first, CHECK, text, "relative_indices.check()", "global_masks.check()"]
    cells = [new_markdown_cell("# 02 · Prune"), *map(new_code_cell, sources)]
    path = tmp_path / "Kopie von 02_PRUNE (1).ipynb"
    (tmp_path / "beside.txt").write_text("here")
    path.write_bytes(saved(new_notebook(cells=cells), front_end))
    before = path.read_bytes()
    assert find_chapters([str(path)], None) == [path]
    result = check(path)
    assert result.chapter == "02_prune" and result.errors == (), as_text(result)
    plain = {name: state for name, (state, _) in states(result).items()}
    assert (plain["magnitude_mask"], plain["relative_indices"]) == ("done", "wrong")
    (submission,) = grade([str(path)], ROOT)
    assert {row.exercise: row.state for row in submission.rows} == plain
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_a_cell_that_prints_without_end_is_left_after_a_while(monkeypatch):
    """Also where it catches the interrupt, as a loop around a bare except does."""
    monkeypatch.setattr(patience, "SECONDS", 2)
    kernel = patience.WatchedKernel("python3")
    try:
        cell = "import time\nwhile True:\n    try: print(1); time.sleep(0.05)\n    except: print(2)"
        message = kernel.execute_cell_input(cell, allow_stdin=False)
        with pytest.raises(Empty):
            kernel.await_reply(message, timeout=1)
        kernel.interrupt()
        with pytest.raises(Empty):
            kernel.await_idle(message, timeout=patience.SECONDS)
    finally:
        kernel.stop()
