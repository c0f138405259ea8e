"""`shrink check --strict`: what cheats gain (nothing), and what is said of them, by name.

Most notebooks are graded by one command, all thirty of them; the tests read its report.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shrink import chapters, cli
from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.notebook import exercises, notebook_bytes
from shrink.classroom.grading.strict.grading import _awaited
from shrink.classroom.grading.strict.notes import of_exercise, of_notebook
from shrink.classroom.grading.strict.runner import Job, Runner
from shrink.classroom.grading.strict.source import NotAdmitted, admit, code_cells
from shrink.cli import main
from tests import CHAPTERS, ROOT

COURSE = ROOT / "course"
NAMES = ("magnitude_mask", "global_masks")
MASK, GLOBAL = NAMES
CHAPTER = '''\
# %% [markdown] title
# # 02 · Prune: take weights away

# %% setup
import numpy as np
import torch

from shrink import pruning
from shrink.chapters.prune import global_masks, magnitude_mask

# %% magnitude-mask
@magnitude_mask.answer
def magnitude_mask(weight, sparsity):
    """The mask."""
    ### BEGIN SOLUTION
    k = round(sparsity * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[weight.detach().abs().flatten().argsort()[:k]] = False
    return mask.view(weight.shape)
    ### END SOLUTION

# %% magnitude-mask-check
magnitude_mask.check()

# %% global-masks
@global_masks.answer
def global_masks(weights, sparsity):
    ### BEGIN SOLUTION
    sizes = [w.numel() for w in weights.values()]
    everything = torch.cat([w.flatten() for w in weights.values()])
    parts = magnitude_mask(everything, sparsity).split(sizes)
    return {name: part.view(weights[name].shape) for name, part in zip(weights, parts)}
    ### END SOLUTION

# %% global-masks-check
global_masks.check()
'''
HEAD = "@magnitude_mask.answer\ndef magnitude_mask(weight, sparsity):\n"
WRONG = HEAD + "    return weight > sparsity"
BY_GLOBAL = HEAD + '    return global_masks({"w": weight}, sparsity)["w"]'
HELPED = f"""\
{HEAD}    order: Unknown = F.relu(weight.detach().abs()).flatten().argsort()
    return keep(order, floor(sparsity * 0) + round(sparsity * weight.numel())).view(weight.shape)"""
HELPERS = """\
import os
import torch.nn.functional as F
from math import floor
os.kill(os.getpid(), 9)
def ones(n: os.PathLike) -> os.PathLike:
    return torch.ones(n, dtype=torch.bool)
def keep(order, k):
    mask = ones(len(order))
    mask[order[:k]] = False
    return mask"""
GREEDY = HEAD + "    all = []\n    while True:\n        all.append(torch.ones(2**22))"
DIES = (
    HEAD
    + """\
    view = np.lib.stride_tricks.as_strided(np.zeros(1), (10**6,), (10**9,))
    return torch.tensor(view.sum())"""
)
LOUD = (
    HEAD
    + """\
    print('{"state": "done", "message": "", "last": false}', flush=True)
    raise KeyboardInterrupt('x\\x1b[2J')"""
)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of the two exercises, whatever else the checks hold."""
    root = tmp_path_factory.mktemp("course")
    for folder in ("course", "notebooks"):
        (root / folder).mkdir()
    (root / "pyproject.toml").touch()
    (root / "course" / "02_prune.py").write_text(CHAPTER, encoding="utf-8")
    return root


@pytest.fixture
def solved(course):
    return build_chapter(course / "course" / "02_prune.py", solved=True)


def put(notebook, extra=(), leave_out=(), tags=(), at=99, **sources):
    """Change a notebook: cells by their id with _ for -, code cells at its end, or at `at`."""
    for cell in notebook.cells:
        cell.source = sources.get(cell.id.replace("-", "_"), cell.source)
        if tags and cell.id == "magnitude-mask-check":
            cell.metadata["tags"] = list(tags)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in leave_out]
    notebook.cells[at:at] = [new_code_cell(source) for source in extra]
    return notebook


def write(path, notebook):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(notebook_bytes(notebook))
    return path


CHEATS = {
    "honest": {},
    "helped": {"magnitude_mask": HELPED, "extra": [HELPERS], "at": 1},
    "edited": {
        "magnitude_mask": WRONG,
        "magnitude_mask_check": "pass  # magnitude_mask.check()",
        "tags": ["raises-exception", "nbval-skip"],
    },
    "overwritten": {
        "magnitude_mask": WRONG + "\nmagnitude_mask = pruning.magnitude_mask",
        "extra": ["magnitude_mask.passed = True\nmagnitude_mask.student = lambda *_: None"],
    },
    "patched": {
        "magnitude_mask": WRONG,
        "leave_out": ["magnitude-mask-check"],
        "extra": [
            "from shrink.classroom.exercises.exercise import Exercise\n"
            "Exercise.check = Exercise.judge = lambda self: None"
        ],
    },
    "imports": {"magnitude_mask": HEAD + "    import shrink as s\n    return s.pruning"},
    "loops": {"magnitude_mask": HEAD + "    while True: pass"},
    "greedy": {"magnitude_mask": GREEDY},
    "dies": {"magnitude_mask": DIES},
    "recursion": {"magnitude_mask": HEAD + "    return magnitude_mask(weight, sparsity)"},
    "by-global": {"magnitude_mask": BY_GLOBAL},
    "nothing": {"leave_out": ["magnitude-mask", "global-masks"]},
    "=cmd": {"magnitude_mask": LOUD},
}


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory):
    """Thirty submissions in one command: the seconds it took, its status, rows and streams."""
    folder = tmp_path_factory.mktemp("submissions")
    for name, changes in CHEATS.items():
        whole = build_chapter(course / "course" / "02_prune.py", solved=True)
        write(folder / f"{name}/02_prune.ipynb", put(whole, **changes))
    stub = build_chapter(course / "course" / "02_prune.py", solved=False)
    for number in range(13):
        write(folder / f"stub{number}.ipynb", stub)
    (folder / "damaged.ipynb").write_text('{"cells": [')
    (folder / "folder.ipynb").mkdir()
    (folder / "link.ipynb").symlink_to(folder / "honest/02_prune.ipynb")
    (folder / "large.ipynb").write_bytes(b" " * 20_000_001)
    write(folder / "essay.ipynb", new_notebook(cells=[new_markdown_cell("# On nothing")]))
    write(folder / ".ipynb_checkpoints/02_prune.ipynb", stub)
    command = [sys.executable, "-c", "import sys, shrink.cli as c; sys.exit(c.main())"]
    command += ["check", "--strict", str(folder), "--csv", "--root", str(course)]
    command += ["--timeout", "5", "--memory", "300"]
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    taken = time.monotonic() - started
    rows = list(csv.DictReader(ended.stdout.splitlines(keepends=True)))
    return taken, ended, {(row["submission"].split("/")[0], row["exercise"]): row for row in rows}


def state(graded, who, exercise=MASK):
    return graded[2][who, exercise]["state"]


def said(graded, who, exercise=MASK):
    row = graded[2][who, exercise]
    return f"{row['message']} | {row['notes']}"


def test_thirty_are_graded_by_one_command(graded):
    taken, ended, rows = graded
    assert ended.returncode == 1 and ended.stderr.startswith("This runs code from the notebooks")
    assert "Traceback" not in ended.stderr and "not enforced" not in ended.stderr
    labels = list(dict.fromkeys(who for who, _ in rows))
    assert len(labels) == 31 and taken < 240
    assert {row["chapter"] for (_, name), row in rows.items() if name} == {"02_prune"}
    assert {row["kind"] for (_, name), row in rows.items() if name} == {"core"}


@pytest.mark.parametrize("who", ["honest", "helped"])
def test_right_answers_are_done(graded, who):
    for exercise in NAMES:
        assert state(graded, who, exercise) == "done", said(graded, who, exercise)
        assert said(graded, who, exercise) == " | "


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("edited", "its check was edited"),
        ("patched", "its check is missing"),
        ("edited", "cells tagged raises-exception: ignored"),
        ("edited", "cells tagged nbval-skip: ignored"),
        ("overwritten", "the name magnitude_mask is overwritten outside of its answer: ignored"),
        ("overwritten", "code outside of functions ignored"),
        ("overwritten", "magnitude_mask.passed is set: ignored"),
        ("patched", "Exercise.check is set: ignored"),
        ("patched", "Exercise.judge is set: ignored"),
    ],
)
def test_cheats_gain_nothing_and_are_named(graded, who, told):
    assert state(graded, who) == "wrong" and told in said(graded, who)
    assert re.search(r"magnitude_mask\.check\(seed=\d+\)", said(graded, who))


@pytest.mark.parametrize(
    ("who", "expected", "told"),
    [
        ("imports", "refused", "calls the answer: it imports shrink"),
        ("loops", "wrong", "not finished after 5 seconds"),
        ("greedy", "wrong", "needs more than 300 MB of memory"),
        ("dies", "wrong", "Python died in it"),
        ("recursion", "wrong", "RecursionError"),
    ],
)
def test_one_exercise_fails_and_the_next_is_graded(graded, who, expected, told):
    assert state(graded, who) == expected and told in said(graded, who)
    assert state(graded, who, GLOBAL) == "done"
    note = "calls magnitude_mask, which is not done: the reference answered"
    assert note in said(graded, who, GLOBAL)


def test_a_later_exercise_does_not_lend_its_reference(graded):
    assert state(graded, "by-global") == "wrong" and "RecursionError" in said(graded, "by-global")


def test_what_is_not_there_is_not_done(graded):
    assert state(graded, "stub0.ipynb") == state(graded, "nothing", GLOBAL) == "not done yet"
    assert (
        said(graded, "stub0.ipynb") == " | " and said(graded, "nothing") == "there is no answer | "
    )


def test_the_last_answer_counts_and_magics_do_not(solved):
    last = "%time 1\n" + WRONG
    assert [piece.splitlines()[1:] for piece in pieces(put(solved, extra=[last]))] == [
        WRONG.splitlines()
    ]
    error = "wrong: its cell does not parse: line 3: invalid syntax"
    assert refused(put(solved, extra=[HEAD + "    return weight weight"])) == error
    error = "wrong: its cell does not parse: no binding for nonlocal 'y' found"
    assert refused(put(solved, extra=[HEAD + "    nonlocal y"])) == error


@pytest.mark.parametrize(
    ("who", "expected", "told"),
    [
        ("damaged.ipynb", "unreadable", "cannot be read as a notebook"),
        ("folder.ipynb", "unreadable", "a folder"),
        ("link.ipynb", "unreadable", "a link"),
        ("large.ipynb", "unreadable", "20 MB"),
        ("essay.ipynb", "no chapter", "neither its name nor its answers"),
    ],
)
def test_what_is_no_submission_stops_no_other(graded, who, expected, told):
    assert state(graded, who, "") == expected and told in said(graded, who, "")


def test_a_cell_is_no_formula_and_steers_no_terminal(graded):
    assert state(graded, "'=cmd") == "wrong"
    assert "your code raised KeyboardInterrupt: x?[2J" in said(graded, "'=cmd")


def refused(notebook):
    with pytest.raises(NotAdmitted) as caught:
        admit(code_cells(notebook), MASK, NAMES)
    return f"{caught.value.state}: {caught.value.message}"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("from shrink.pruning import magnitude_mask as m; return m", "calls the answer"),
        ("return pruning.magnitude_mask(weight, sparsity)", "calls the answer: it imports shrink"),
        ("return magnitude_mask.reference(weight, sparsity)", "calls the answer: magnitude_mask.r"),
        ("return global_masks.mine({}, sparsity)", "calls the answer: global_masks.mine"),
        ("import zlib", "imports zlib; only math, itertools, functools, operator, collections"),
        ("from . import x", "imports from its own package; only"),
        ("from torch import os", "uses torch.os"),
        ("return np.os.getpid()", "uses np.os"),
        ("return __import__('shrink')", "uses __import__"),
        ("return eval('1')", "uses eval"),
        ("return exec", "uses exec"),
        ("return compile", "uses compile"),
        ("return open('x')", "uses open"),
        ("return globals()", "uses globals"),
        ("return getattr(weight, 'x')", "uses getattr"),
        ("return importlib.import_module('x')", "imports importlib"),
        ("return sys.modules", "uses sys"),
        ("return magnitude_mask.__globals__", "uses magnitude_mask.__globals__"),
        ("return ().__class__.__subclasses__()", "uses ().__class__"),
        ("match weight:\n        case object(__class__=c): return c", "uses __class__"),
        ("torch.Tensor.numpy = None", "sets torch.Tensor.numpy"),
        ("import numpy as n\n    n.max = None", "sets n.max"),
        ("class Mask(torch.Tensor): pass", "defines a class, Mask"),
    ],
)
def test_what_no_answer_needs_is_refused_by_name(solved, body, told):
    answer = f"{HEAD}    {body}"
    assert refused(put(solved, magnitude_mask=answer)).startswith(f"refused: {told}")
    helper = f"def helper(weight, sparsity):\n    {body}"
    calls = f"{HEAD}    return helper(weight, sparsity)"
    helped = put(solved, magnitude_mask=calls, extra=[helper])
    assert refused(helped).startswith(f"refused: {told}")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "import shrink\n" + WRONG.replace("weight >", "shrink.x >"),
            "calls the answer: it imports",
        ),
        ("import os\n" + WRONG.replace("weight >", "os.x >"), "imports os; only"),
        ("try:\n    import os\nfinally: pass\n" + WRONG.replace("weight >", "os.x >"), "uses os"),
        (WRONG.replace("sparsity)", "sparsity, f=pruning)"), "calls the answer"),
        (WRONG.replace("sparsity)", "sparsity, f=eval)"), "uses eval"),
        (WRONG.replace("def", "@pruning.wraps\ndef"), "calls the answer"),
    ],
)
def test_a_cell_and_what_a_definition_runs_are_looked_at(solved, source, told):
    assert refused(put(solved, magnitude_mask=source)).startswith(f"refused: {told}")


def test_an_answer_may_stand_in_a_cell_with_all_others(solved):
    everything = "\n\n".join(c.source for c in solved.cells if c.cell_type == "code")
    cells = code_cells(new_notebook(cells=[new_code_cell(f"import os, timeit\n{everything}")]))
    assert all(admit(cells, name, NAMES).function == name for name in NAMES)


def test_an_import_elsewhere_counts_where_it_is_used(solved):
    elsewhere = "from shrink.pruning import magnitude_mask as m\nimport random\nconst = 3"
    answer = HEAD + "    return m(weight, sparsity)"
    notebook = put(solved, extra=[elsewhere], at=2, magnitude_mask=answer)
    assert refused(notebook) == "refused: calls the answer: it imports shrink"
    put(notebook, magnitude_mask=HEAD + "    pruning = m = random = const\n    return open2(m)")
    assert refused(notebook) == "refused: uses open2, which the notebook does not set"


def test_each_cell_has_its_own_helpers(solved):
    """The one in the answer's cell, else the nearest above; below its check none has run yet."""
    helper = "def helper():\n    return {}"
    answer = HEAD + "    return helper()"
    below = put(solved, extra=[helper.format(3), helper.format(4)], magnitude_mask=answer)
    assert refused(below) == "refused: uses helper, which is set only below its check"
    above = put(below, extra=[helper.format(1), helper.format(2)], at=1)
    assert "2" in pieces(above)[0]
    own = put(above, magnitude_mask=f"{helper.format(5)}\n{answer}")
    assert len(pieces(own)) == 1 and "5" in pieces(own)[0]


def pieces(notebook):
    return [piece.source for piece in admit(code_cells(notebook), MASK, NAMES).pieces]


def test_the_course_itself_is_admitted_without_a_note():
    """The solutions of every chapter need nothing that is not admitted."""
    for chapter in CHAPTERS:
        notebook = build_chapter(COURSE / f"{chapter}.py", solved=True)
        cells, names = code_cells(notebook), exercises(notebook)
        for name in names:
            assert admit(cells, name, names).notes == ()
            assert of_exercise(cells, name, "") == []
        assert of_notebook(cells) == []


def test_comments_that_skip_are_named(solved):
    cells = code_cells(put(solved, extra=["# NBVAL_SKIP\n1", "# NBVAL_RAISES_EXCEPTION\n2"]))
    numbers = len(cells)
    assert of_notebook(cells) == [
        f"cells tagged raises-exception: ignored (code cells {numbers})",
        f"cells tagged nbval-skip: ignored (code cells {numbers - 1})",
    ]


def test_a_check_cell_of_an_older_chapter_is_not_an_edited_one(solved):
    cells = code_cells(solved)
    assert of_exercise(cells, "masked_step", "global-masks-check") == ["its check is missing"]
    assert of_exercise(cells, "masked_step", "global-masks") == ["its check was edited"]


@pytest.mark.parametrize(
    "source",
    ["def global_masks(): pass", "for global_masks in (): pass", "import torch as global_masks"],
)
def test_names_are_overwritten_in_many_ways(solved, source):
    cells = code_cells(put(solved, extra=[source]))
    assert "overwritten" in of_exercise(cells, GLOBAL, "")[0] and not of_exercise(cells, MASK, "")


@pytest.fixture
def other_chapter(course, tmp_path, monkeypatch):
    """A second chapter in a copy of the course, 03_double, and the notebook of its solution."""
    root, more = tmp_path / "root", tmp_path / "more"
    for folder in ("course", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "course/02_prune.py").write_text(CHAPTER, encoding="utf-8")
    text = CHAPTER.partition("# %% global-masks\n")[0].replace("magnitude_mask", "double")
    text = text.replace("02 · Prune: take weights away", "03 · Double")
    (root / "course/03_double.py").write_text(text, encoding="utf-8")
    (more / "double").mkdir(parents=True)
    (more / "double/__init__.py").write_text(
        "from shrink.classroom.exercises.exercise import Exercise\n"
        "double = Exercise('double', print, core=True, minutes=1)\n"
    )
    monkeypatch.setattr(chapters, "__path__", [*chapters.__path__, str(more)])
    yield root, build_chapter(root / "course/03_double.py", solved=True)
    sys.modules.pop("shrink.chapters.double", None)


def test_another_chapter_is_said_to_be_one(other_chapter, solved, tmp_path, capsys):
    root, double = other_chapter
    folder = tmp_path / "in"
    stub = build_chapter(root / "course/03_double.py", solved=False)
    write(folder / "a_03_double.ipynb", put(solved, leave_out=["title"]))
    write(folder / "b_homework.ipynb", double)
    write(folder / "c_02_prune.ipynb", double)
    write(folder / "d.ipynb", put(stub, leave_out=["magnitude-mask"]))
    write(folder / "e.ipynb", new_notebook(cells=[new_markdown_cell("# 04 · Later")]))
    write(folder / "f.ipynb", new_notebook(cells=[new_code_cell("1")]))
    words = ["check", "--strict", str(folder), "--root", str(root), "--json"]
    assert main([*words, "--chapter", "2"]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["state"] for row in rows] == ["another chapter"] * 5 + ["no chapter"]
    assert rows[2]["message"] == "it is 03_double, not 02_prune"
    assert main([*words, "--chapter", "9"]) == 2
    assert "there are 02_prune, 03_double" in capsys.readouterr().err


def test_its_chapter_is_in_the_file_name_or_the_answers(course, tmp_path, capsys):
    stub = build_chapter(course / "course/02_prune.py", solved=False)
    one = write(tmp_path / "2024_02_prune (1).ipynb", new_notebook())
    two = write(tmp_path / "sub/mine.ipynb", stub)
    assert main(["check", "--strict", str(one), str(two), "--root", str(course)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("This runs code") and out.count("core 0 of 2 done") == 2
    assert out.endswith("2 notebooks, all core exercises done in 0\n")


def test_own_work_is_graded_by_number(course, solved, capsys):
    write(course / "work/02_prune.ipynb", solved)
    assert main(["check", "--strict", "2", "--root", str(course)]) == 0
    assert "work/02_prune.ipynb  02_prune  core 2 of 2 done\n" in capsys.readouterr().out
    assert main(["check", "--strict", "2", "--root", str(course), "--detail"]) == 0
    assert "work/02_prune.ipynb  magnitude_mask  core  done\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--csv"], "--csv goes with --strict"),
        (["--detail"], "--detail goes with --strict"),
        (["--chapter", "2"], "--chapter goes with --strict"),
        (["--memory", "9"], "--memory goes with --strict"),
        (["--strict", "--memory", "x"], "not a number of MB: 'x'"),
        (["--strict", "--csv", "--json"], "not allowed with"),
    ],
)
def test_wrong_usage(words, told, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", *words])
    assert caught.value.code == 2 and told in capsys.readouterr().err


def test_nothing_to_grade_is_an_error(course, tmp_path, capsys):
    (tmp_path / "empty/.ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "empty/.ipynb_checkpoints/a.ipynb").touch()
    for words, told in [(["empty"], "no notebook in"), (["gone"], "no such notebook or folder")]:
        path = str(tmp_path / words[0])
        assert main(["check", "--strict", path, "--root", str(course)]) == 2
        assert re.search(rf"^shrink: {told}", capsys.readouterr().err, re.MULTILINE)


def test_what_passed_counts_in_the_process_after_a_killed_one(solved):
    """A third exercise calls the first, which passed before the second was killed."""
    order = (*NAMES, "break_the_masks")
    own = exercises(solved)[MASK].source.replace(
        "    k =", "    if sparsity == 7: return 'own'\n    k ="
    )
    loops = "@global_masks.answer\ndef global_masks(weights, sparsity):\n    while True: pass"
    third = "@break_the_masks.answer\ndef f():\n    return magnitude_mask(torch.ones(2), 7)"
    cells = code_cells(put(solved, magnitude_mask=own, global_masks=loops, extra=[third]))
    answers = {name: admit(cells, name, order) for name in order}
    results = Runner(3, 500).run(Job("shrink.chapters.prune", order, answers))
    assert [state for state, _ in results.values()] == ["done", "wrong", "wrong"]
    assert re.search(r"given: +own", results["break_the_masks"][1])


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
def test_a_stop_ends_what_runs(course, solved, tmp_path):
    path = write(
        tmp_path / "a.ipynb", put(solved, magnitude_mask=CHEATS["loops"]["magnitude_mask"])
    )
    (tmp_path / "tmp").mkdir()
    heed = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # even behind &
    )
    code = heed + "import sys, shrink.cli as c; sys.exit(c.main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "check", "--strict", str(path), "--root", str(course)],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.DEVNULL,
    )
    started = time.monotonic()
    while not running(tmp_path / "tmp"):
        assert process.poll() is None and time.monotonic() - started < 60
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert not running(tmp_path / "tmp") and not list((tmp_path / "tmp").iterdir())


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="threads get no signals here")
def test_ctrl_c_is_heard_though_it_does_not_end_the_waiting():
    """As where it comes to another thread, or just before the waiting begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # even behind &
    never = Future()
    ends_any_wait = threading.Timer(5, never.set_result, [None])
    ends_any_wait.start()
    threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            _awaited(never)
        assert not never.done()
    finally:
        ends_any_wait.cancel()
        signal.signal(signal.SIGINT, before)


def running(folder):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if f"{folder}/".encode() in path.read_bytes() else []
        except OSError:
            continue
    return found
