"""What a teacher reads of a class: a line a student, a line an exercise, and tables."""

import csv
import io
import json

import pytest

from shrink import cli
from shrink.classroom.grading.strict.report import LENT, Row, Submission, as_detail, as_summary
from shrink.classroom.grading.strict.tables import KEYS, VERSION, as_csv, as_json
from tests.classroom.grading.class_of_thirty import ANSWERS, FRONT_ENDS, hand_in

HINT = "wrong there\n  hint:     {}\n  called:   mask(1)"
CLASS = [
    Submission(
        "anna",
        "02_prune",
        (
            Row("mask", "core", "done", ""),
            Row("step", "core", "wrong", HINT.format("count from 0")),
            Row("sweep", "more", "refused", "sets np.abs\nmore", ("its check is missing",)),
        ),
        ("cells tagged",),
    ),
    Submission(
        "bob/02_prune.ipynb",
        "02_prune",
        (
            Row("mask", "core", "done", ""),
            Row("step", "core", "wrong", HINT.format("count from 1")),
            Row("sweep", "more", "not done yet", "", (f"calls step, {LENT}",)),
        ),
    ),
    Submission(
        "carl",
        "02_prune",
        (
            Row("mask", "core", "wrong", "a mask is a tensor\n  called:   mask(1)"),
            Row("step", "core", "wrong", HINT.format("count from 1")),
            Row("sweep", "more", "done", ""),
        ),
    ),
    Submission("dora", "", (Row("", "", "unreadable", "a link, not a file"),)),
    Submission("eve", "01_measure", (Row("macs", "core", "not graded", "did not start"),)),
]


def test_a_line_a_student_and_a_line_an_exercise():
    assert as_summary(CLASS).splitlines() == [
        "anna                02_prune  core 1 of 2 done, more 0 of 1 done; wrong: step; "
        "refused: sweep (sets np.abs); 2 notes",
        "bob/02_prune.ipynb  02_prune  core 1 of 2 done, more 0 of 1 done; wrong: step",
        "carl                02_prune  core 0 of 2 done, more 1 of 1 done; wrong: mask, step",
        "dora                unreadable: a link, not a file",
        "eve                 01_measure  core 0 of 1 done; not graded: macs",
        "",
        "01_measure  macs  0 done, 0 wrong, 0 refused, 1 not done",
        "02_prune  mask    2 done, 1 wrong, 0 refused, 0 not done; "
        "most often (1): a mask is a tensor",
        "02_prune  step    0 done, 3 wrong, 0 refused, 0 not done; most often (2): count from 1",
        "02_prune  sweep   1 done, 0 wrong, 1 refused, 1 not done",
        "",
        "5 notebooks, all core exercises done in 0",
    ]


def test_the_detail_has_all_that_is_said():
    lines = as_detail(CLASS).splitlines()
    assert lines[0] == "anna                mask   core  done"
    assert lines[2:4] == ["    wrong there", "      hint:     count from 0"]
    assert lines[6:8] == ["    sets np.abs", "    more"]
    assert lines[8:10] == [
        "    note: its check is missing",
        "    note on the notebook: cells tagged",
    ]


FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
NAMES = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "  =1",
    '"=1',
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "\u200b=1",
    "\ufeff=1",
    "\u3000\uff1d1",
    "\xa0=1",
    "Bob;=1+1.ipynb",
    "Bob; \uff1d1+1.ipynb",
    'Bob";"=1+1',
    "Bob\t=1+1",
    "Bob|=1",
    "Bob\n=1+1",
    "Bob\r\n=1,2,3",
    "x\ud800",
    "\x1b[2J=1",
]


def one(text):
    rows = (Row("mask", "core", "wrong", f"{text}\n{text}", (text,)),)
    return [Submission(text, "02_prune", rows, (text,))]


@pytest.mark.parametrize("text", NAMES)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_cell_is_a_formula_whatever_the_separator(text, separator):
    written = as_csv(one(text))
    assert len(written.splitlines()) == 2 and written.isprintable() == ("\n" not in written)
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        if quoting == csv.QUOTE_NONE and separator == ",":
            continue  # commas stand in numbers; who reads the table so has no table
        for row in csv.reader(io.StringIO(written), delimiter=separator, quoting=quoting):
            assert not any(cell.strip(' "').startswith(FORMULAS) for cell in row)


def test_every_field_is_quoted_and_keeps_its_text():
    written = as_csv(one("Anna, 3; b"))
    assert all(line[0] == line[-1] == '"' for line in written.splitlines())
    row = next(csv.DictReader(io.StringIO(written)))
    assert tuple(row) == KEYS and row["submission"] == "Anna, 3; b"
    assert row["message"] == "Anna, 3; b | Anna, 3; b"


@pytest.mark.parametrize(
    "text", [*NAMES, "a\neve  mask  core  done", "a\u2028b", "a\x85b", "a\x0bb"]
)
def test_a_name_forges_no_line_and_steers_no_terminal(text):
    forged = one(text)
    assert len(as_summary(forged).splitlines()) == 5
    lines = as_detail(forged).splitlines()
    assert len([line for line in lines if not line.startswith("    ")]) == 2
    for told in (as_summary(forged), as_detail(forged)):
        assert all(c.isprintable() or c == "\n" for c in told)


def test_json_has_a_version_and_the_keys_of_a_row():
    told = json.loads(as_json(CLASS))
    assert told["version"] == VERSION == 1 and len(told["rows"]) == 11
    assert all(tuple(row) == KEYS for row in told["rows"])
    assert told["rows"][2]["notes"] == ["its check is missing", "cells tagged"]
    assert told["rows"][0]["submission"] == "anna"


@pytest.mark.deep
def test_a_class_of_thirty_is_graded_by_one_command(tmp_path, capsys):
    hand_in(tmp_path)
    folders = {path.name for path in tmp_path.iterdir()}
    assert len(folders) == 30
    assert cli.main(["check", "--strict", str(tmp_path), "--timeout", "40", "--memory", "500"]) == 1
    students, exercises, total = capsys.readouterr().out.strip().split("\n\n")
    told = dict(line.split("  ", 1) for line in map(str.strip, students.splitlines()[1:]))
    told = {name.split("/")[0]: line.strip() for name, line in told.items()}
    assert len(students.splitlines()) == 31 and total.startswith("30 notebooks")
    assert len(exercises.splitlines()) == 6
    everything = "02_prune  core 3 of 3 done, more 3 of 3 done"
    done = {name for name, line in told.items() if line == everything}
    assert done == {"heap", "adds_quit", *(name.replace(" ", "_") for name in FRONT_ENDS)}, told
    assert {n for n, line in told.items() if line.startswith("unreadable")} == {
        *("broken", "empty", "no_notebook")
    }
    assert all("wrong: global_masks" in told[f"renamed{n}"] for n in range(4))
    assert all("magnitude_mask" in told[name] for name in ANSWERS if name != "heap")
    assert "most often (4): every layer lost the same share" in exercises
