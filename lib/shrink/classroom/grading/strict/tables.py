"""What `shrink check --strict` writes for other programs: CSV for a spreadsheet, and JSON.

Both have one row for each exercise of each notebook. Their keys are those of `KEYS`; `VERSION` is
raised when one of them changes its meaning.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from shrink.classroom.exercises.attempt import printable
from shrink.classroom.grading.strict.report import Submission, one_line

VERSION = 1
KEYS = ("submission", "chapter", "exercise", "kind", "state", "message", "notes")
_FORMULA = re.compile(r"(^|[;|\n])([ \"]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63])")


def as_csv(graded: Sequence[Submission]) -> str:
    """A row for each exercise, every field in quotes; no spreadsheet finds a formula in one.

    Nor does one that takes semicolons or bars for separators, as many do outside of English.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(KEYS)
    for facts in _rows(graded):
        facts["notes"] = "; ".join(facts["notes"])
        writer.writerow([_harmless(value) for value in facts.values()])
    return out.getvalue().rstrip("\n")


def as_json(graded: Sequence[Submission]) -> str:
    """One document: `version`, and `rows` with all keys; a row's notes are a list."""
    return json.dumps({"version": VERSION, "rows": _rows(graded)}, indent=2)


def _rows(graded: Sequence[Submission]) -> list[dict]:
    """Every row with all keys; a notebook's notes are in each of its rows."""
    return [
        {
            "submission": one_line(s.label),
            "chapter": one_line(s.chapter),
            **asdict(row),
            "message": printable(row.message),
            "notes": [one_line(note) for note in (*row.notes, *s.notes)],
        }
        for s in graded
        for row in s.rows
    ]


def _harmless(cell: str) -> str:
    """The text on one line; an apostrophe goes before what could begin a formula."""
    return _FORMULA.sub(r"\1\2'", cell.replace("\n", " | "))
