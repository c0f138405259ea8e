"""Which chapter a notebook is of: by its file's name, its answers, or its title.

Plain and strict checks ask the same question here, so that a renamed copy is the same to both:
`02_prune (1).ipynb`, `Kopie von 02_prune.ipynb`, `02_PRUNE.IPYNB`, `homework.ipynb`.
"""

import re
from collections.abc import Collection, Mapping

from nbformat import NotebookNode

from shrink.chapters import find, names
from shrink.classroom import CourseError
from shrink.classroom.book.notebook import exercises
from shrink.classroom.exercises.exercise import Exercise

_NUMBERED = re.compile(r"#\s*(\d\d)\b")


class NotGraded(CourseError):
    """Raised for what has no place in the grading: a state, why, and the chapter if it has one."""

    def __init__(self, state: str, message: str, chapter: str = "") -> None:
        super().__init__(message)
        self.state, self.message, self.chapter = state, message, chapter


def exercises_of(chapter: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter, by its name; none where there is no such chapter."""
    package = find(chapter)
    return tuple(package.EXERCISES) if package else ()


def names_by_chapter() -> dict[str, set[str]]:
    """The names of the exercises of each chapter, `02_prune` and its like, in order."""
    packages = map(find, names())
    found = {
        package.EXPERIMENT.name.replace("-", "_", 1): {e.name for e in package.EXERCISES}
        for package in packages
    }
    return dict(sorted(found.items()))


def identify(
    file: str,
    notebook: NotebookNode,
    chapters: Mapping[str, Collection[str]],
    asked: str | None = None,
) -> str:
    """The chapter that a notebook is taken for.

    Args:
        file: its name.
        notebook: what is in it.
        chapters: by name, the names of each one's exercises.
        asked: the chapter that it should be; None to look at the notebook.

    Raises:
        NotGraded: it is of no chapter, or of another one than `asked` or its name say.
    """
    title, answered = _title(notebook), exercises(notebook).keys()
    counts = {name: len(answered & set(asks)) for name, asks in chapters.items()}
    named = _most([name for name in chapters if is_named(file, name)], counts)
    by_answers = _most([name for name in chapters if counts[name]], counts)
    titled = next((name for name in chapters if _is_titled(title, name)), None)
    chapter = asked or named or by_answers or titled
    if chapter is None:
        raise NotGraded("no chapter", "neither its name nor its answers are those of a chapter")
    if counts[chapter] and named in (None, chapter):
        return chapter
    for other in (named, by_answers, titled):
        if other not in (None, chapter):
            raise NotGraded("another chapter", f"it is {other}, not {chapter}", other)
    number = _NUMBERED.match(title)
    if number and number[1] != chapter[:2]:
        message = f"its title is {title!r}, not that of {chapter}"
        raise NotGraded("another chapter", message)
    if not (counts[chapter] or named or titled or number):
        raise NotGraded("no chapter", f"nothing in it is of {chapter}")
    return chapter


def _most(names: Collection[str], counts: Mapping[str, int]) -> str | None:
    """The first with the most answers; None of none."""
    return max(names, key=lambda name: counts[name], default=None)


def is_named(file: str, chapter: str) -> bool:
    """Whether a file's name holds the chapter's, whatever stands around it or for its underscore.

    >>> [is_named(f"{name}.ipynb", "02_prune") for name in ("Copy of 02-PRUNE (1)", "12_prune")]
    [True, False]
    """
    number, _, name = chapter.partition("_")
    held = rf"(?<!\d)0*{int(number)}[\W_]*{name}(?![a-z])"
    return bool(re.search(held, file, re.IGNORECASE))


def _is_titled(title: str, chapter: str) -> bool:
    """Whether a title is a chapter's, `# 02 · Prune: take weights away`."""
    number, _, name = chapter.partition("_")
    return bool(re.match(rf"#\s*{number}\W+{name}\b", title, re.IGNORECASE))


def _title(notebook: NotebookNode) -> str:
    """The first line of the notebook's text."""
    texts = (cell.source.strip() for cell in notebook.cells if cell.cell_type == "markdown")
    return next(filter(None, texts), "").partition("\n")[0].strip()
