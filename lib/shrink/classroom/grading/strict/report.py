"""What `shrink check --strict` prints: a line for each student and exercise, or all in detail."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shrink.classroom.exercises.attempt import printable

_HINT = "  hint:     "
LENT = "which is not done: the reference answered"  # how a note ends that is no change
_NOT_DONE = ("not done yet", "not graded")


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


def as_summary(graded: Sequence[Submission]) -> str:
    """A line for each student, then one for each exercise of the class."""
    names = [one_line(s.label) for s in graded]
    width = max(map(len, names))
    students = [f"{n:<{width}}  {_stands(s)}" for n, s in zip(names, graded, strict=True)]
    exercises = [*_of_exercises(graded)]
    return "\n".join([*students, *([""] if exercises else []), *exercises, "", _total(graded)])


def as_detail(graded: Sequence[Submission]) -> str:
    """A line for each exercise of each student, what is said of it below, and all notes."""
    rows = [(s.label, row) for s in graded for row in s.rows]
    label_width = max(len(one_line(label)) for label, _ in rows)
    width = max(len(row.exercise) for _, row in rows)
    lines = []
    for submission in graded:
        label = one_line(submission.label).ljust(label_width)
        for row in submission.rows:
            lines.append(f"{label}  {row.exercise:<{width}}  {row.kind:<4}  {row.state}")
            lines += [f"    {line}" for line in printable(row.message).splitlines()]
            lines += [f"    note: {one_line(note)}" for note in row.notes]
        lines += [f"    note on the notebook: {one_line(note)}" for note in submission.notes]
    return "\n".join([*lines, _total(graded)])


def one_line(text: str) -> str:
    """The text as a part of a line: nothing in it ends the line or steers a terminal."""
    return printable(text).replace("\n", "?")


def _stands(submission: Submission) -> str:
    """How a student stands, on one line."""
    rows = submission.rows
    if not rows[0].exercise:
        return f"{rows[0].state}: {one_line(rows[0].message)}"
    parts = [f"{kind} {_done_of(rows, kind)}" for kind in ("core", "more") if _of(rows, kind)]
    found = [f"{submission.chapter}  {', '.join(parts)}"]
    if wrong := [row.exercise for row in rows if row.state == "wrong"]:
        found.append(f"wrong: {', '.join(wrong)}")
    if refused := [row for row in rows if row.state == "refused"]:
        each = (f"{r.exercise} ({one_line(r.message.partition(chr(10))[0])})" for r in refused)
        found.append(f"refused: {', '.join(each)}")
    if failed := [row.exercise for row in rows if row.state == "not graded"]:
        found.append(f"not graded: {', '.join(failed)}")
    changes = [n for r in rows for n in r.notes if not n.endswith(LENT)] + [*submission.notes]
    if changes:
        found.append("1 note" if len(changes) == 1 else f"{len(changes)} notes")
    return "; ".join(found)


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.kind == kind]


def _done_of(rows: Sequence[Row], kind: str) -> str:
    own = _of(rows, kind)
    return f"{sum(row.state == 'done' for row in own)} of {len(own)} done"


def _of_exercises(graded: Sequence[Submission]) -> Iterator[str]:
    """How the class stands with each exercise, and what most of those who are wrong did."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for submission in graded:
        for row in submission.rows:
            if row.exercise:
                rows.setdefault((submission.chapter, row.exercise), []).append(row)
    width = max((len(f"{c}  {e}") for c, e in rows), default=0)
    for (chapter, exercise), own in sorted(rows.items(), key=lambda item: item[0][0]):
        states = Counter("not done" if r.state in _NOT_DONE else r.state for r in own)
        counts = [f"{states[s]} {s}" for s in ("done", "wrong", "refused", "not done")]
        said = "; ".join([", ".join(counts), *_most_frequent(own)])
        yield f"{f'{chapter}  {exercise}':<{width}}  {said}"


def _most_frequent(rows: Sequence[Row]) -> Iterator[str]:
    """The hint that most of the wrong answers got; without hints, what most of them were told."""
    wrong = [row.message for row in rows if row.state == "wrong"]
    hints = [line.removeprefix(_HINT) for m in wrong for line in m.splitlines() if _HINT in line]
    told = Counter(hints or [m.partition("\n")[0] for m in wrong])
    for text, times in told.most_common(1):
        yield f"most often ({times}): {one_line(text)}"


def _total(graded: Sequence[Submission]) -> str:
    done = sum(submission.core_done for submission in graded)
    many = "1 notebook" if len(graded) == 1 else f"{len(graded)} notebooks"
    return f"{many}, all core exercises done in {done}"
