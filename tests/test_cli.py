"""The command `shrink`: what it says, what it leaves alone, and its exit status."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from shrink.classroom import CourseError, archives, data, mnist
from shrink.classroom.book import lab, page
from shrink.classroom.grading.check import CellError, Result, Status, as_json, as_text
from shrink.cli import main
from tests import ROOT

SHRINK = [sys.executable, "-c", "import sys, shrink.cli as c; sys.exit(c.main())"]
IMPORTS = """\
import torch
from shrink import pruning
from shrink.coding import sparse
from shrink.chapters.prune import *"""
CORE = ("magnitude_mask", "global_masks", "masked_step")
STUB = 'raise NotImplementedError("your turn")'
RIGHT = {
    "magnitude_mask": "return pruning.magnitude_mask(*args)",
    "global_masks": "return pruning.global_masks(*args)",
    "masked_step": """\
weights, masks, optimizer = args
    optimizer.step()
    for name, mask in masks.items():
        weights[name].data *= mask""",
    "relative_indices": "return sparse.relative_indices(*args)",
    "sensitivity": "return pruning.sensitivity(*args)",
    "break_the_masks": "return torch.tensor([-3.0, 1.0, -1.0, 1.0, 2.0]), 0.4",
}
SIGNED = """\
weight, sparsity = args
    keep = torch.ones(weight.numel(), dtype=torch.bool)
    keep[weight.flatten().argsort()[: round(sparsity * weight.numel())]] = False
    return keep.view(weight.shape)"""
CHAPTER = """\
# %% [markdown] title
# # Prune

# %% magnitude-mask
@magnitude_mask.answer
def magnitude_mask(weight, sparsity):
    ### BEGIN SOLUTION
    return weight.abs() > sparsity
    ### END SOLUTION

# %% magnitude-mask-check
magnitude_mask.check()
"""


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path):
    """A cache of its own, no data but what the test gives, and the folder of the test."""
    for name in ("SHRINK_DATA", "SHRINK_DATASET", "SHRINK_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def course(tmp_path):
    """A course of one chapter, as a clone has it."""
    root = tmp_path / "course-folder"
    for folder in ("course", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "course" / "02_prune.py").write_text(CHAPTER)
    assert main(["build", "--root", str(root)]) == 0
    return root


def chapter(folder, extra=(), leave_out=(), **answers):
    """Write 02_prune.ipynb with these bodies of functions (else the stub); return its path."""
    cells = [*(new_code_cell(source, id=name) for name, source in extra)]
    cells.append(new_code_cell(IMPORTS, id="imports"))
    for name in RIGHT:
        source = f"@{name}.answer\ndef {name}(*args):\n    {answers.get(name, STUB)}"
        cells.append(new_code_cell(source, id=name))
        cells.append(new_code_cell(f"{name}.check()", id=f"{name}-check"))
    cells = [cell for cell in cells if cell.id not in leave_out]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "02_prune.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def undone(**states):
    """The states of all exercises, "not done yet" where nothing else is said."""
    return dict.fromkeys(RIGHT, "not done yet") | states


def states(document):
    exercises = json.loads(document)["02_prune"]["exercises"]
    return {name: facts["state"] for name, facts in exercises.items()}


def test_core_done_is_success_and_more_is_told_apart(tmp_path):
    """Run as a student does from a terminal in a notebook, in work/, with settings around."""
    work = tmp_path / "course" / "work"
    core = {name: RIGHT[name] for name in CORE}
    path = chapter(work, **core)
    before = path.read_bytes()
    path.with_name("02_prune.before-update-1.ipynb").write_text("not a notebook")
    for name in ("course", "notebooks"):
        (work.parent / name).mkdir()
    (work.parent / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--bad"')
    (work / "conftest.py").write_text("1 / 0")
    ended = subprocess.run(
        [*SHRINK, "check", "--json"],
        cwd=work,
        env={**os.environ, "JPY_SESSION_NAME": "02_prune.ipynb", "PYTEST_ADDOPTS": "--bad"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert states(ended.stdout) == undone(**dict.fromkeys(CORE, "done"))
    document = json.loads(ended.stdout)["02_prune"]
    assert {name: e["core"] for name, e in document["exercises"].items()} == {
        name: name in CORE for name in RIGHT
    }
    assert document["errors"] == []
    assert ended.stderr.startswith("checking") and path.read_bytes() == before
    assert {p.name for p in work.iterdir()} == {
        path.name,
        "conftest.py",
        f"{path.stem}.before-update-1.ipynb",
    }


def test_wrong_answers_have_their_hints_whatever_was_saved(tmp_path, capsys):
    """Saved outputs are no reference, torch's own NotImplementedError is no stub."""
    path = chapter(
        tmp_path,
        leave_out=["break_the_masks-check"],
        magnitude_mask=SIGNED,
        global_masks='return torch.empty(2, device="meta").nonzero()',
        break_the_masks=RIGHT["break_the_masks"],
    )
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell.execution_count = number if number % 2 else None  # half of them saved while running
        cell.outputs = [new_output("stream", text="magnitude_mask: done\n")]
    nbformat.write(notebook, path)
    assert main(["check", str(path)]) == 1
    told = capsys.readouterr().out
    assert "02_prune: 0 of 3 core exercises done" in told
    assert re.search(r"^  wrong +magnitude_mask: \S", told, re.MULTILINE)
    assert re.search(r"^ {16}  hint: .*magnitude means absolute value", told, re.MULTILINE)
    assert re.search(r"wrong +global_masks: your code raised NotImplementedError", told)
    more = told.partition("  more:\n")[2]
    assert "not done yet  break_the_masks: its check did not run" in more
    assert "other cells" not in told


def test_what_fails_elsewhere_is_named_and_breaks_nothing_else(tmp_path, capsys):
    path = chapter(
        tmp_path,
        extra=[("broken", "1 +\n"), ("before", "def f():\n    return 1 / 0\n\nf()")],
        magnitude_mask="return weight weight",
        global_masks=RIGHT["global_masks"],
        break_the_masks=RIGHT["break_the_masks"],
    )
    assert main(["check", str(path), "--json"]) == 1
    told = capsys.readouterr().out
    done = {"global_masks": "done", "break_the_masks": "done"}
    assert states(told) == undone(magnitude_mask="wrong", **done)
    errors = json.loads(told)["02_prune"]["errors"]
    assert [(e["cell"], e["id"]) for e in errors] == [
        (1, "broken"),
        (2, "before"),
        (4, "magnitude_mask"),
    ]
    assert [e["message"].partition(":")[0] for e in errors] == [
        "SyntaxError",
        "ZeroDivisionError",
        "SyntaxError",
    ]


def test_a_notebook_of_an_earlier_course_is_told_to_be_updated_and_nothing_else(tmp_path, capsys):
    old = "from shrink.classroom.checks.prune import *\nprint(pruning)"
    extra = [("setup", old), ("later", "my_guess = magnitude_mask\nprint(my_gues)")]
    path = chapter(tmp_path, extra, leave_out=["imports"])
    assert main(["check", str(path)]) == 1
    errors = capsys.readouterr().out.partition("  errors in other cells:\n")[2].splitlines()
    assert len(errors) == 1 and errors[0].startswith(
        "    cell [1] setup: this Shrink has no shrink."
    )
    assert "run `shrink update` in a terminal" in errors[0]


def test_a_cell_that_hangs_is_ended(tmp_path, capsys):
    cells = [new_code_cell("while True: pass", id="hang"), new_code_cell("magnitude_mask.check()")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "02_prune.ipynb")
    assert main(["check", "02_prune.ipynb", "--timeout", "1"]) == 1
    told = capsys.readouterr().out
    assert "cell [1] hang: not finished after 1 seconds" in told
    assert told.count("its check did not run") == len(RIGHT)


def test_texts_of_a_result():
    statuses = (Status("a", False, "not done yet", ""), Status("b", True, "wrong", "no\n  hint: x"))
    result = Result("02_prune", Path("x"), statuses, (CellError(3, "id", "E: 1"),))
    assert as_text(result).splitlines() == [
        "02_prune: 0 of 1 core exercises done",
        "  wrong         b: no",
        "                  hint: x",
        "  more:",
        "  not done yet  a",
        "  errors in other cells:",
        "    cell [3] id: E: 1",
    ]
    assert not result.core_done and Result("", Path(), statuses[:1], ()).core_done
    other = Result("02_prune", Path("y"), (), ())
    assert list(json.loads(as_json([result, other]))) == ["x", "y"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["9"], "no chapter '9' in .*; there are 02_prune"),
        (["prune"], "no chapter 'prune'"),
        (["gone/02_prune.ipynb"], "cannot be read"),
        (["work/02_prune.ipynb"], "cannot be read as a notebook"),
        (["2"], "cannot be read as a notebook"),
        (["work/03_notes.ipynb"], "03_notes.ipynb is not a chapter with exercises"),
        (["work/prune.ipynb"], "prune.ipynb is not a chapter"),
    ],
)
def test_check_refuses_in_one_line(course, monkeypatch, capsys, words, told):
    monkeypatch.chdir(course)
    (course / "work").mkdir()
    (course / "work" / "02_prune.ipynb").write_text('{"cells": [')
    for name in ("03_notes", "prune"):
        nbformat.write(new_notebook(), course / "work" / f"{name}.ipynb")
    capsys.readouterr()
    assert main(["check", *words]) == 2
    error = capsys.readouterr().err
    assert re.search(f"^shrink: .*{told}", error) and error.count("\n") == 1


def test_check_without_chapters_says_where_they_come_from(course, capsys):
    assert main(["check", "--root", str(course)]) == 2
    assert "`shrink lab` puts them there" in capsys.readouterr().err
    assert main(["check"]) == 2
    assert "pass --root" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["check", "--timeout", "0"], ["data", "cifar"], ["check", "--", "x"]],
)
def test_usage_errors_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and "usage: shrink" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and re.fullmatch(r"shrink [\d.]+\n", capsys.readouterr().out)


def test_build_check_names_what_differs(course, capsys):
    root = ["--root", str(course)]
    assert main(["build", "--check", *root]) == 0
    assert main(["build", "--solved", *root]) == 0
    assert "weight.abs()" in (course / "build" / "solved" / "02_prune.ipynb").read_text()
    notebook = course / "notebooks" / "02_prune.ipynb"
    notebook.write_text(notebook.read_text().replace("Prune", "Grow"))
    assert main(["build", "--check", *root]) == 1
    assert "02_prune; run `make notebooks`" in capsys.readouterr().err
    assert "Grow" in notebook.read_text()
    (course / "course" / "02_prune.py").write_text("# %% [markdown]\n# no name\n")
    assert main(["build", *root]) == 1
    error = capsys.readouterr().err
    assert error.startswith("shrink: 02_prune, cell") and error.count("\n") == 1


def test_update_says_what_became_of_each_chapter(course, monkeypatch, capsys):
    (course / "work").mkdir()
    monkeypatch.chdir(course / "work")
    capsys.readouterr()
    assert main(["update"]) == 0 and main(["update"]) == 0
    assert capsys.readouterr().out == "02_prune: copied\n02_prune: unchanged\n"


def test_update_fails_where_a_chapter_cannot_be_brought_up_to_date(course, capsys):
    (course / "work" / ".shrink" / "02_prune.ipynb").mkdir(parents=True)
    assert main(["update", "--root", str(course)]) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("02_prune: could not be brought up to date (") and ".ipynb" in told


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (OSError(28, "No space left on device", "x"), 1, "shrink: [Errno 28] No space left"),
        (CourseError("two\nlines"), 1, "shrink: two lines\n"),
        (KeyboardInterrupt(), 130, "shrink: stopped\n"),
    ],
)
def test_errors_are_one_line(course, monkeypatch, capsys, error, status, told):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("shrink.classroom.book.builder.build", fail)
    assert main(["build", "--root", str(course)]) == status
    assert capsys.readouterr().err.startswith(told)


def test_data_says_where_mnist_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    assert main(["data", "mnist"]) == 1
    assert "could not download" in capsys.readouterr().err
    monkeypatch.setattr(mnist, "fetch", lambda: tmp_path / "cache" / "mnist")
    assert main(["data", "mnist"]) == 0
    assert capsys.readouterr().out == f"MNIST is in {tmp_path / 'cache' / 'mnist'}\n"
    monkeypatch.setattr(mnist, "at_hand", lambda: True)
    (tmp_path / "given" / "mnist").mkdir(parents=True)
    (tmp_path / "given" / "mnist" / "x.gz").touch()
    for given, folder in (("given", "given"), ("empty", "cache")):
        monkeypatch.setenv("SHRINK_DATA", str(tmp_path / given))
        assert main(["data", "mnist"]) == 0
        assert f"at hand already, in {tmp_path / folder / 'mnist'}" in capsys.readouterr().out


def test_doctor_finds_a_sound_machine(course, capsys):
    assert main(["doctor", "--root", str(course)]) == 0
    told = capsys.readouterr().out
    for what in ("torch", "jupyterlab", "sliders", "cache", "work", "mnist", "glyphs", "device"):
        assert re.search(rf"^ok +{what} ", told, re.MULTILINE)
    assert re.search("^later +chapters .* once glyphs are drawn$", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith("this machine can run the course; `shrink warm` makes")
    assert len(told.splitlines()) < 24 and not (course / "work").exists()


def test_doctor_names_each_problem_and_its_remedy(monkeypatch, tmp_path, capsys):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    monkeypatch.setenv("SHRINK_DATA", str(tmp_path))
    monkeypatch.setenv("SHRINK_DEVICE", "abacus")
    monkeypatch.setattr("shrink.classroom.book.doctor.LAB", ("jupyterlab", "no-package"))
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [])
    monkeypatch.setattr("shrink.classroom.book.doctor.ENOUGH", 1e9)
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    problems = re.findall(r"^problem (\S+) +.*; \S", told, re.MULTILINE)
    assert problems == ["no-package", "sliders", "cache", "course", "mnist", "device"]
    assert told.splitlines()[-1] == (
        "this machine cannot run the course until this is mended: "
        'no-package: run `pip install "shrink[lab]"` (5 more above)'
    )


def test_mnist_is_tried_once_and_the_first_start_does_not_hang(monkeypatch, tmp_path):
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes the connection, never answers
        mirror = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        monkeypatch.setattr(mnist, "MIRRORS", (mirror,) * 50)
        started = time.monotonic()
        assert "not here after 1 s" in lab.try_mnist_once(patience=1)
        assert time.monotonic() - started < 5
    monkeypatch.setattr(mnist, "fetch", lambda **_: asked.set())
    assert lab.try_mnist_once() is None and not asked.is_set()
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("SHRINK_DATA", str(tmp_path))
    assert lab.try_mnist_once() is None and not asked.is_set()
    monkeypatch.delenv("SHRINK_DATA")
    assert "fetched, into" in lab.try_mnist_once() and asked.is_set()
    assert lab.try_mnist_once() is None


def test_a_network_that_is_not_there_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    told = lab.try_mnist_once()
    assert told.startswith("MNIST: could not download") and "\n" not in told


def test_the_command_of_jupyterlab(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    assert {"--allow-root", "--no-browser"} < set(lab.command(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    words = lab.command(tmp_path, ["--port=1"])
    assert not {"--allow-root", "--no-browser"} & set(words) and words[-1] == "--port=1"
    assert "--ServerApp.ip=127.0.0.1" in words and not any("token" in word for word in words)
    assert "--ServerApp.ip=127.0.0.1" not in lab.command(tmp_path, ["--ip=0.0.0.0"])
    monkeypatch.delenv("DISPLAY")
    assert "--no-browser" in lab.command(tmp_path)


@pytest.mark.parametrize("project", [False, True])
def test_lab_for_a_projector_makes_figures_larger(monkeypatch, tmp_path, project):
    """The flag reaches the environment of JupyterLab, and there a figure and its type."""
    seen = {}
    monkeypatch.delenv("SHRINK_PROJECT", raising=False)

    def become(_program, _words, environment):
        seen.update(environment)
        raise SystemExit  # it never returns

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setattr(lab, "prepare", lambda *_: [])
    monkeypatch.setattr(page, "refresh", lambda *_: None)
    with pytest.raises(SystemExit):
        main(["lab", *["--project"][: int(project)], "--root", str(ROOT)])
    assert ("SHRINK_PROJECT" in seen) == project
    code = "from shrink.classroom import plots; p, (ax,) = plots.new(alt=''); "
    code += "print(p.get_figwidth(), ax.title.get_fontsize())"
    said = subprocess.check_output([sys.executable, "-c", code], env=seen, text=True)
    width, type_size = map(float, said.split())
    scale = 1.35 if project else 1
    assert (width, type_size) == pytest.approx((4.5 * scale, 9.5 * scale))


def status_of(url):
    """What the server answers; it may print its URL a moment before it listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url, timeout=60) as answer:
                return answer.status
        except HTTPError as error:
            return error.code
        except URLError:
            assert time.monotonic() < deadline, f"{url} refuses"
            time.sleep(0.2)


def test_lab_answers_on_its_url_with_its_token(course, tmp_path):
    """Offline, without a display; started twice. The second start copies nothing."""
    (tmp_path / "no-mnist").mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if "DISPLAY" not in name},
        "SHRINK_DATA": str(tmp_path / "no-mnist"),
        "HOME": str(tmp_path),
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*SHRINK, "lab", "--", f"--port={port}", "--no-browser"]
    for copied in (", new in it: 02_prune", ""):
        started = time.monotonic()
        log = tmp_path / "log"
        with open(log, "w") as out:
            process = subprocess.Popen(
                command, cwd=course, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            pattern = rf"http://127\.0\.0\.1:{port}/lab\?token=(\w+)"
            while not (url := re.search(pattern, log.read_text())):
                assert process.poll() is None and time.monotonic() - started < 180, log.read_text()
                time.sleep(0.1)
            assert log.read_text().startswith(f"your chapters are in {course / 'work'}{copied}\n")
            contents = f"http://127.0.0.1:{port}/api/contents/02_prune.ipynb?content=0"
            assert status_of(url[0]) == 200
            assert status_of(f"{contents}&token={url[1]}") == 200
            assert status_of(contents) == 403
        finally:
            process.terminate()
            process.wait(timeout=90)
    assert (course / "work" / "02_prune.ipynb").exists()


@pytest.fixture
def made(monkeypatch):
    """Notes what the chapters are asked to make, and of which data; nothing is made."""
    calls = []
    for chapter in ("prune", "share"):
        prepared = import_module(f"shrink.chapters.{chapter}.prepared")

        def note(what, dataset, chapter=chapter):
            calls.append((chapter, what, dataset.name))

        monkeypatch.setattr(prepared, "first_picture", partial(note, "first_picture"))
        further = lambda dataset, note=note: [partial(note, "further_cells", dataset)]  # noqa: E731
        monkeypatch.setattr(prepared, "further_cells", further)
    return calls


def test_warm_makes_what_explorers_and_the_cells_below_need(made, monkeypatch, capsys):
    monkeypatch.setenv("SHRINK_DATASET", "digits")
    assert main(["warm", "2", "04_share"]) == 0
    steps = ("first_picture", "further_cells")
    assert made == [(chapter, step, "digits") for chapter in ("prune", "share") for step in steps]
    assert "02_prune ...\n04_share ...\nall is made" in capsys.readouterr().out


def test_prepare_ships_first_pictures_on_both_data_sets(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(archives, "folder", lambda: tmp_path / "lib" / "shipped")
    monkeypatch.setattr(data, "load", lambda name: SimpleNamespace(name=name))
    for name in ("course", "notebooks", "lib/shipped"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert main(["prepare", "prune", "--root", str(tmp_path)]) == 0
    assert made == [("prune", "first_picture", name) for name in ("glyphs", "mnist")]
    assert capsys.readouterr().out == "prune-glyphs: nothing ships\nprune-mnist: nothing ships\n"


def test_prepare_needs_the_source_tree(tmp_path, capsys):
    for name in ("course", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert main(["prepare", "--root", str(tmp_path)]) == 1
    assert "no source tree here" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["warm", "16"], ["prepare", "02_share"], ["warm", ""]])
def test_an_unknown_chapter_is_told_with_those_there_are(words, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert "there are 01_measure, 02_prune" in capsys.readouterr().err
