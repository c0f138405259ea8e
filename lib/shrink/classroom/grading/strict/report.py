"""The report of `shrink check --strict`: as text, as a table for a spreadsheet, as JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_FIELDS = ("submission", "chapter", "exercise", "kind", "state", "message", "notes")


@dataclass(frozen=True)
class Row:
    """How one exercise stands; or, without an exercise, why a notebook is not graded."""

    exercise: str
    kind: str
    state: str
    message: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """What is said of one notebook."""

    label: str
    chapter: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def core_done(self) -> bool:
        """Whether it could be graded, and every core exercise is done."""
        return all(row.state == "done" for row in self.rows if row.kind != "more")


def as_text(graded: Sequence[Submission]) -> str:
    """A line an exercise, what is said of it below; the notes of a notebook; and a summary."""
    rows = [(s.label, row) for s in graded for row in s.rows]
    label_width = max(len(_clean(label)) for label, _ in rows)
    width = max(len(row.exercise) for _, row in rows)
    lines = []
    for submission in graded:
        label = _clean(submission.label).ljust(label_width)
        for row in submission.rows:
            lines.append(f"{label}  {row.exercise:<{width}}  {row.kind:<4}  {row.state}")
            lines += [f"    {line}" for line in _clean(row.message).splitlines()]
            lines += [f"    note: {_clean(note)}" for note in row.notes]
        lines += [f"    note on the notebook: {_clean(note)}" for note in submission.notes]
    done = sum(submission.core_done for submission in graded)
    many = "1 notebook" if len(graded) == 1 else f"{len(graded)} notebooks"
    return "\n".join([*lines, f"{many}, all core exercises done in {done}"])


def as_csv(graded: Sequence[Submission]) -> str:
    """A row an exercise; no cell is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_FIELDS)
    for facts in _table(graded):
        facts["notes"] = "; ".join(facts["notes"])
        writer.writerow([_no_formula(_clean(value)) for value in facts.values()])
    return out.getvalue().rstrip("\n")


def as_json(graded: Sequence[Submission]) -> str:
    """One document: the rows of the table, each with its list of notes."""
    rows = [
        {name: v if name == "notes" else _clean(v) for name, v in facts.items()}
        for facts in _table(graded)
    ]
    return json.dumps({"rows": rows}, indent=2)


def _table(graded: Sequence[Submission]) -> list[dict]:
    """Every row with all fields; a notebook's notes are in each of its rows."""
    return [
        {"submission": s.label, "chapter": s.chapter}
        | asdict(row)
        | {"notes": [_clean(note) for note in (*row.notes, *s.notes)]}
        for s in graded
        for row in s.rows
    ]


def _clean(text: str) -> str:
    """The text without what steers a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text.replace("\t", " "))


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.lstrip()[:1] in ("=", "+", "-", "@") else cell
