"""The builder: what the two notebooks hold, that they are stable, and what it refuses."""

import difflib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from shrink.classroom import CourseError
from shrink.classroom.book.builder import (
    BuildError,
    build,
    build_chapter,
    check_built,
)
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.notebook import exercises, read_notebook

CHAPTER = '''\
# %% [markdown] problem
# # Prune the smallest
#
# Most weights are nearly zero.

# %% setup
import torch
from shrink.chapters.prune import half, tenth

# %% half
@half.answer
def half(x):
    """Half of `x`."""
    ### BEGIN SOLUTION
    y = x / 2

    return y
    ### END SOLUTION

# %% half-check
half.check()

# %% tenth
@tenth.answer
def tenth(x):
    ### BEGIN SOLUTION
    return x / 10
    ### END SOLUTION

# %% tenth-check
tenth.check()
'''


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "01_prune.py").write_text(CHAPTER)
    return tmp_path / "course"


def edit(course: Path, old: str, new: str, chapter: str = "01_prune") -> Path:
    """Replace text that is in the chapter once."""
    path = course / f"{chapter}.py"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    return path


def sources(course: Path, solved: bool) -> dict[str, str]:
    return {c.id: c.source for c in build_chapter(course / "01_prune.py", solved).cells}


def changed_lines(before: str, after: str) -> tuple[int, int]:
    """How many lines a diff removes and adds."""
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))[2:]
    return sum(d.startswith("-") for d in diff), sum(d.startswith("+") for d in diff)


def test_the_student_gets_a_stub_at_the_solutions_indentation(course):
    expected = (
        '@half.answer\ndef half(x):\n    """Half of `x`."""\n'
        '    raise NotImplementedError("your turn")'
    )
    assert sources(course, solved=False)["half"] == expected


def test_the_teacher_gets_the_solution_without_its_markers(course):
    expected = '@half.answer\ndef half(x):\n    """Half of `x`."""\n    y = x / 2\n\n    return y'
    assert sources(course, solved=True)["half"] == expected


def test_the_other_cells_are_the_same_in_both(course):
    student, solved = sources(course, solved=False), sources(course, solved=True)
    assert list(student) == ["problem", "setup", "half", "half-check", "tenth", "tenth-check"]
    assert {n for n in student if student[n] != solved[n]} == {"half", "tenth"}
    assert student["problem"] == "# Prune the smallest\n\nMost weights are nearly zero."


def test_the_notebook_is_minimal_and_valid(course, tmp_path):
    build(course, tmp_path / "out")
    text = (tmp_path / "out" / "01_prune.ipynb").read_text()
    raw = json.loads(text)
    assert text.endswith("}\n") and not text.endswith("\n\n")
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    assert raw["metadata"] == {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    assert all(cell["metadata"] == {} for cell in raw["cells"])
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    nbformat.validate(raw)


def test_a_title_before_or_after_the_kind_and_a_jupytext_header(course):
    path = edit(course, "# %% [markdown] problem", "# %% problem [markdown]")
    header = "# ---\n# jupyter:\n#   jupytext:\n#     formats: py:percent\n# ---\n\n"
    path.write_text(header + path.read_text())
    assert next(iter(sources(course, solved=False))) == "problem"


def test_a_changed_word_is_a_diff_of_one_line(course, tmp_path):
    build(course, tmp_path)
    before = (tmp_path / "01_prune.ipynb").read_text()
    edit(course, "nearly", "almost")
    build(course, tmp_path)
    assert changed_lines(before, (tmp_path / "01_prune.ipynb").read_text()) == (1, 1)


def test_an_inserted_cell_is_a_diff_of_additions_only(course, tmp_path):
    build(course, tmp_path)
    before = (tmp_path / "01_prune.ipynb").read_text()
    edit(course, "# %% half\n", "# %% by-hand\n1 + 1\n\n# %% half\n")
    build(course, tmp_path)
    removed, added = changed_lines(before, (tmp_path / "01_prune.ipynb").read_text())
    assert removed == 0 and added > 0


def test_building_twice_writes_once(course, tmp_path):
    path = tmp_path / "out" / "01_prune.ipynb"
    assert build(course, tmp_path / "out") == [path]
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    assert build(course, tmp_path / "out") == []
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, written)
    assert build(course, tmp_path / "other") != []
    assert (tmp_path / "other" / "01_prune.ipynb").read_bytes() == before


def test_a_notebook_whose_chapter_is_gone_is_removed_and_nothing_else(course, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("02_gone.ipynb", "notes.ipynb", "02_gone.txt"):
        (out / name).write_text("x")
    build(course, out, chapters=["01_prune"])
    assert (out / "02_gone.ipynb").exists()
    build(course, out)
    assert sorted(p.name for p in out.iterdir()) == ["01_prune.ipynb", "02_gone.txt", "notes.ipynb"]


def test_only_the_chapters_asked_for(course, tmp_path):
    (course / "02_more.py").write_text("# %% a\n1\n")
    (course / "helper.py").write_text("not a chapter")
    out = tmp_path / "out"
    assert build(course, out, chapters=["02_more"]) == [out / "02_more.ipynb"]
    assert build(course, out) == [out / "01_prune.ipynb"]
    with pytest.raises(CourseError, match="no chapter named '03_x'; there are 01_prune, 02_more"):
        build(course, out, chapters=["03_x"])


def test_nothing_is_written_when_one_chapter_is_wrong(course, tmp_path):
    (course / "02_wrong.py").write_text("# %% a\n1 +\n")
    with pytest.raises(BuildError):
        build(course, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_students_folder_and_an_empty_course_are_refused(course, tmp_path):
    (tmp_path / "work" / BASES).mkdir(parents=True)
    with pytest.raises(CourseError, match="students' copies"):
        build(course, tmp_path / "work")
    with pytest.raises(CourseError, match="no chapters"):
        build(tmp_path / "nowhere", tmp_path / "out")


def test_check_built_names_what_is_missing_changed_or_left_over(course, tmp_path):
    out = tmp_path / "out"
    assert check_built(course, out) == ["01_prune"]
    build(course, out)
    assert check_built(course, out) == []
    (out / "01_prune.ipynb").write_bytes((out / "01_prune.ipynb").read_bytes() + b"\n")
    (out / "09_gone.ipynb").write_text("x")
    assert check_built(course, out) == ["01_prune", "09_gone"]
    build(course, out, solved=True)
    assert check_built(course, out) == ["01_prune"]


HALF_SOLUTION = "    y = x / 2\n\n    return y\n"
REFUSED = {
    "no name": ("# %% setup", "# %%", "cell 'import torch .*': it has no name"),
    "text above the first cell": (
        "# %% [markdown] problem",
        "import os\n# %% [markdown] problem",
        "cell 'import os': it has no name",
    ),
    "malformed name": ("# %% setup", "# %% Set_up", "cell 'Set_up': a name is 1 to 64 of"),
    "long name": ("# %% setup", "# %% " + "a" * 65, "cell 'a{65}': a name is 1 to 64 of"),
    "double name": ("# %% setup", "# %% problem", "cell 'problem': .* another cell of this name"),
    "options": (
        "# %% setup",
        '# %% setup tags=["raises-exception"]',
        "cell 'setup': a cell has no options, found tags",
    ),
    "code that does not parse": ("import torch", "import", "cell 'setup': the code does not parse"),
    "a magic": ("import torch", "%time 1", "cell 'setup': the code does not parse"),
    "no solution": (
        f"    ### BEGIN SOLUTION\n{HALF_SOLUTION}    ### END SOLUTION",
        HALF_SOLUTION,
        "cell 'half': an exercise without a solution",
    ),
    "solution elsewhere": (
        "import torch\n",
        "### BEGIN SOLUTION\nimport torch\n### END SOLUTION\n",
        "cell 'setup': a solution outside of an exercise",
    ),
    "solution in a text": (
        "# Most weights are nearly zero.",
        "# ### BEGIN SOLUTION\n# a\n# ### END SOLUTION",
        "cell 'problem': a solution outside of an exercise",
    ),
    "nested": (
        HALF_SOLUTION,
        f"    ### BEGIN SOLUTION\n{HALF_SOLUTION}",
        "cell 'half': ### BEGIN SOLUTION inside a solution",
    ),
    "never ended": (
        f"{HALF_SOLUTION}    ### END SOLUTION",
        HALF_SOLUTION,
        "cell 'half': ### BEGIN SOLUTION without ### END SOLUTION",
    ),
    "never begun": (
        f"    ### BEGIN SOLUTION\n{HALF_SOLUTION}",
        HALF_SOLUTION,
        "cell 'half': ### END SOLUTION without ### BEGIN SOLUTION",
    ),
    "misspelt marker": (
        "import torch\n",
        "import torch\n## begin solution\n",
        "cell 'setup': a marker is misspelt or left over",
    ),
    "code before the solution": (
        "    ### BEGIN SOLUTION\n    y = x / 2\n",
        "    y = x / 2\n    ### BEGIN SOLUTION\n",
        "cell 'half': the solution must be the whole body",
    ),
    "solution below the function": (
        f"    ### BEGIN SOLUTION\n{HALF_SOLUTION}    ### END SOLUTION\n",
        f"{HALF_SOLUTION}### BEGIN SOLUTION\nz = 1\n### END SOLUTION\n",
        "cell 'half': the solution must be the whole body",
    ),
    "a second solution below the function": (
        "    return x / 10\n    ### END SOLUTION\n",
        "    return x / 10\n    ### END SOLUTION\n### BEGIN SOLUTION\nz = 1\n### END SOLUTION\n",
        "cell 'tenth': the solution must be the whole body",
    ),
    "a solution that does not parse": (
        "return x / 10",
        "return x /",
        "cell 'tenth': the code does not parse",
    ),
    "two solutions": (
        HALF_SOLUTION,
        f"{HALF_SOLUTION}    ### END SOLUTION\n    ### BEGIN SOLUTION\n",
        "cell 'half': the solution must be the whole body",
    ),
    "a stub that does not parse": (
        "    ### BEGIN SOLUTION\n    return x / 10",
        "### BEGIN SOLUTION\n    return x / 10",
        "cell 'tenth': the code does not parse",
    ),
    "two exercises in one cell": (
        "# %% half-check\nhalf.check()\n\n# %% tenth\n",
        "\n",
        "cell 'half': two exercises in one cell",
    ),
    "exercise twice": (
        "@tenth.answer",
        "@half.answer",
        "cell 'tenth': a second exercise named half",
    ),
    "no check": (
        "# %% half-check\nhalf.check()\n",
        "",
        r"cell 'half': no cell of its own with half.check\(\) after it",
    ),
    "check not alone": (
        "\nhalf.check()",
        "\nprint(1)\nhalf.check()",
        "cell 'half': no cell of its own",
    ),
    "check twice": (
        "# %% tenth\n",
        "# %% again\nhalf.check()\n\n# %% tenth\n",
        r"cell 'again': a second half.check\(\)",
    ),
    "check without exercise": (
        "# %% tenth\n",
        "# %% third-check\nthird.check()\n\n# %% tenth\n",
        r"cell 'third-check': third.check\(\) without an exercise",
    ),
    "check before its exercise": (
        "# %% half\n",
        "# %% early\ntenth.check()\n\n# %% half\n",
        r"cell 'early': tenth.check\(\) without an exercise above it",
    ),
}


@pytest.mark.parametrize("old, new, message", REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("solved", [False, True])
def test_a_wrong_chapter_is_refused_by_chapter_and_cell(course, old, new, message, solved):
    path = edit(course, old, new)
    with pytest.raises(BuildError, match=f"^01_prune, {message}"):
        build_chapter(path, solved)


def test_a_broken_jupytext_header_names_the_chapter(course):
    path = course / "01_prune.py"
    header = "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n# ---\n"
    path.write_text(header + CHAPTER)
    with pytest.raises(CourseError, match=r"^01_prune: jupytext cannot read it"):
        build_chapter(path, solved=False)


def test_comments_that_look_like_magics_stay_comments(course):
    edit(course, "import torch\n", "# %matplotlib inline\n# ls files\nimport torch\n")
    assert sources(course, False)["setup"].startswith("# %matplotlib inline\n# ls files\n")


def test_exercises_finds_the_last_answer_whether_or_not_it_parses(course, tmp_path):
    build(course, tmp_path)
    notebook = read_notebook(tmp_path / "01_prune.ipynb")
    assert {n: c.id for n, c in exercises(notebook).items()} == {"half": "half", "tenth": "tenth"}
    notebook.cells += [
        nbformat.v4.new_code_cell("@half.answer\ndef half(x):\n    return x / 2", id="late"),
        nbformat.v4.new_code_cell("%%time\n@tenth.answer\ndef tenth(x: return", id="broken"),
        nbformat.v4.new_code_cell('"""\n@half.answer\n"""', id="text"),
        nbformat.v4.new_markdown_cell("@half.answer", id="prose"),
    ]
    nbformat.write(notebook, tmp_path / "student.ipynb")
    found = exercises(tmp_path / "student.ipynb")
    assert {name: cell.id for name, cell in found.items()} == {"half": "late", "tenth": "broken"}


@pytest.mark.parametrize(
    "content", ["", "<html>", "[]", "{}", '{"nbformat": 4, "cells": [1]}', '{"nbformat": 3}']
)
def test_a_file_that_is_no_notebook_is_refused(tmp_path, content):
    (tmp_path / "x.ipynb").write_text(content)
    with pytest.raises(CourseError, match=r"x\.ipynb cannot be read as a notebook"):
        read_notebook(tmp_path / "x.ipynb")


@pytest.fixture
def install(course, monkeypatch):
    """Builds the chapter with this line in pyproject.toml, and gives what its first cell does."""

    def run(line, installed):
        (course.parent / "pyproject.toml").write_text(f"[project.urls]\n{line}")
        ran = []
        shell = SimpleNamespace(run_line_magic=lambda *words: ran.append(words))
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda _: installed or None)
            exec(sources(course, solved=False)["install"], {"get_ipython": lambda: shell})
        return ran

    return run


def test_the_first_code_cell_installs_shrink_where_it_is_missing(course, install):
    line = 'Install = "git+https://example.org/shrink"'
    asked = ("pip", "install -q git+https://example.org/shrink")
    assert install(line, installed=False) == [asked] and install(line, installed=True) == []
    for solved in (False, True):
        assert list(sources(course, solved))[:3] == ["problem", "install", "setup"]


def test_without_an_address_the_first_cell_says_what_to_do(install, capsys):
    assert install("", installed=False) == []
    assert "ask who gave you this notebook for Shrink's .whl file" in capsys.readouterr().out
    assert install("", installed=True) == [] and capsys.readouterr().out == ""


def test_only_the_builder_has_a_cell_of_that_name_and_only_above_a_setup(course, install):
    edit(course, "# %% setup", "# %% install")
    with pytest.raises(BuildError, match="another cell of this name"):
        install("", installed=True)
    edit(course, "# %% install", "# %% look")
    assert "install" not in sources(course, solved=False)
