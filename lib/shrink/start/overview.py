"""The map of the chapters: each with a link, and how far the student is."""

import html
import json
from dataclasses import dataclass
from pathlib import Path

from shrink.classroom.written import RESULTS
from shrink.start.progress import Chapter, State, chapters_in, to_go_on_with

_SIGNS: dict[State, tuple[str, str]] = {  # and a colour that is seen on light and on dark
    "passed": ("■", "#009E73"),
    "written": ("◧", "#E69F00"),
    "open": ("□", "#888888"),
}


@dataclass(frozen=True)
class Overview:
    """The chapters as a notebook shows them."""

    chapters: tuple[Chapter, ...]
    shortest: str  # of the running table; "" while there is none

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.chapters))
        go_on = to_go_on_with(self.chapters)
        lines = [f"<table>{rows}</table>"]
        if go_on:
            verb = "Go on" if go_on.begun else "Begin"
            lines.append(f"<p><b>{verb} with {_link(go_on)}.</b></p>")
        if self.shortest:
            lines.append(f"<p>{html.escape(self.shortest)}</p>")
        return "".join(lines)

    def __repr__(self) -> str:
        return "\n".join(f"{c.number} {c.name}: {standing(c)}" for c in self.chapters)


def chapters() -> Overview:
    """The chapters beside this notebook, as they were last saved."""
    return overview(Path.cwd())


def overview(work: Path) -> Overview:
    """The chapters in a student's folder, as they were last saved."""
    return Overview(tuple(chapters_in(work)), _shortest(work / RESULTS / "running_table.json"))


def standing(chapter: Chapter) -> str:
    """How far it is, in words."""
    if chapter.problem or not chapter.begun:
        return chapter.problem or "not begun"
    if chapter.done:
        return "all exercises passed"
    passed, written = (chapter.exercises.count(state) for state in ("passed", "written"))
    said = f"{passed} of {len(chapter.exercises)} exercises passed"
    return said + f", {written} more written" * bool(written)


def _row(chapter: Chapter) -> str:
    signs = "".join(
        f'<span style="color:{colour}" aria-hidden="true">{sign}</span>'
        for sign, colour in (_SIGNS[state] for state in chapter.exercises)
    )
    cells = (
        f"<b>{_link(chapter)}</b>",
        html.escape(chapter.about),
        f'<span style="letter-spacing:2px">{signs}</span>',
        standing(chapter),
    )
    return "".join(["<tr>", *(f'<td style="text-align:left">{c}</td>' for c in cells), "</tr>"])


def _link(chapter: Chapter) -> str:
    name = f"{chapter.number} {chapter.name}"
    return f'<a href="{html.escape(chapter.file)}">{html.escape(name)}</a>'


def _shortest(table: Path) -> str:
    """A sentence about the shortest file in the running table; "" where none can be read."""
    try:
        rows = json.loads(table.read_bytes())
        row = min(rows, key=lambda row: row["file_bytes"])
        right = 100 * row["correct"] / row["images"]
        return (
            f"Your running table has {len(rows)} row{'s' * (len(rows) > 1)}. The shortest file in "
            f"it is that of “{row['name']}”: {row['file_bytes']:,} bytes, {right:.2f} % right on "
            f"the test images of {row['dataset']}."
        )
    except (OSError, ValueError, LookupError, TypeError, ZeroDivisionError):
        return ""
