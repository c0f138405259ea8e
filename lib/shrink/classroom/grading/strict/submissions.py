"""What was handed in: every submission has a row, be it graded or not.

In a folder each entry of its own, a file or a student's folder, has a row at least. Within it,
at any depth, these have one: what holds a notebook, whatever its name, and what is named as one.
Nothing is said of litter: hidden files and folders, `__MACOSX` and its like, READMEs, what the
chapters themselves write, their folder for it, and the start page. A hidden file that holds a
notebook is no litter, nor is a start page in which somebody answers an exercise.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from nbformat import NotebookNode

from shrink.classroom import CourseError
from shrink.classroom.book import START
from shrink.classroom.book.cells import LONGEST
from shrink.classroom.book.notebook import code_of, read_notebook
from shrink.classroom.grading.check import find_chapters
from shrink.classroom.grading.identify import NotGraded, is_named
from shrink.classroom.written import RESULTS

LARGEST = 20_000_000  # bytes of a notebook
MOST_CELLS = 2000
MOST_PARTS = 1_000_000  # commas and brackets of its JSON, each some 100 bytes once it is read
MOST_CODE = 500_000  # characters of all its code cells
_LITTER = re.compile(
    r"__macosx|__pycache__|thumbs\.db|desktop\.ini|icon\r|~\$.*|readme(\.\w+)?"
    r"|class-\d\d-.*\.json|running_table\.json(\.lock)?|.*\.(safetensors|shrk)|network\.file",
    re.IGNORECASE,
)
_NOTEBOOK = re.compile(rb'"(cells|worksheets|nbformat)"\s*:')
_KINDS = (  # how a file begins, and what it is then
    (rb"PK\x03\x04", "an archive, which is not unpacked here"),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!", "an archive, which is not unpacked here"),
    (rb"%PDF", "a PDF; ask for the notebook"),
    (rb"(?i:\s*<(!doctype|html))", "a web page; ask for the notebook"),
    (rb"\s*\{\\rtf", "a text of a word processor; ask for the notebook"),
)


def find(wanted: Sequence[str], work: Path, chapters: Collection[str]) -> list[tuple[str, Path]]:
    """What to grade, each with the name it has in the report, in order.

    Raises `CourseError` when a path is not there, or when there is nothing at all.
    """
    found: dict[Path, str] = {}
    names = [name for name in wanted if name in chapters or name.isdecimal()]
    if names or not wanted:
        found |= {path: f"{work.name}/{path.name}" for path in find_chapters(names, work)}
    for name in wanted:
        path = Path(name)
        if name in names:
            continue
        if path.is_dir():
            inside = path.name if len(wanted) > 1 else ""
            submitted = [one for entry in _entries(path) for one in _submitted(entry, chapters)]
            found |= {one: str(Path(inside, one.relative_to(path))) for one in submitted}
        elif os.path.lexists(path):
            found[path.resolve()] = name
        else:
            raise CourseError(f"no such notebook or folder: {name}")
    if not found:
        raise CourseError(f"no notebook in {', '.join(wanted)}")
    return sorted((label, path) for path, label in found.items())


def read(path: Path) -> NotebookNode:
    """The notebook; raises `NotGraded` for what is no file, too large, or no notebook."""
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            raise NotGraded("unreadable", "a link, not a file")
        if stat.S_ISDIR(facts.st_mode):
            raise NotGraded("unreadable", f"a folder, and no notebook in it: {_held(path)}")
        if not stat.S_ISREG(facts.st_mode):
            raise NotGraded("unreadable", "a device, not a file")
        if facts.st_size > LARGEST:
            size = facts.st_size / 1e6
            raise NotGraded("unreadable", f"{size:.0f} MB long; at most {LARGEST / 1e6:.0f} MB")
        _countable(path.read_bytes())
        notebook = read_notebook(path)
        _short(notebook)
        return notebook
    except CourseError as error:
        if isinstance(error, NotGraded):
            raise
        told = _kind(path) or str(error).removeprefix(f"{path} ")
        raise NotGraded("unreadable", told) from error
    except OSError as error:
        raise NotGraded("unreadable", str(error.strerror)) from error


def _countable(content: bytes) -> None:
    """Raise `NotGraded` for a file that would fill the memory; the pictures in it would not."""
    cells, parts = content.count(b'"cell_type"'), sum(map(content.count, (b",", b"[", b"{")))
    if cells > MOST_CELLS:
        raise NotGraded("unreadable", f"{cells:,} cells; at most {MOST_CELLS:,} are read")
    if parts > MOST_PARTS:
        raise NotGraded("unreadable", f"JSON of {parts:,} parts; at most {MOST_PARTS:,} are read")


def _short(notebook: NotebookNode) -> None:
    """Raise `NotGraded` for more code than anybody writes; a cell that is too long is skipped."""
    lengths = (len(cell.source) for cell in code_of(notebook))
    if (code := sum(n for n in lengths if n <= LONGEST)) > MOST_CODE:
        message = f"{code:,} characters of code; at most {MOST_CODE:,} are read"
        raise NotGraded("unreadable", message)


def _submitted(entry: Path, chapters: Collection[str]) -> list[Path]:
    """What has a row of an entry of the folder: the entry itself, if there is nothing else."""
    return list(_notebooks(entry, chapters)) or [entry]


def _notebooks(entry: Path, chapters: Collection[str]) -> Iterator[Path]:
    """What holds a notebook, or is named as one; links are not followed."""
    if entry.is_dir() and not entry.is_symlink():
        found = [one for inside in _entries(entry) for one in _notebooks(inside, chapters)]
        yield from found or ([entry] if _is_named_as_one(entry, chapters) else [])
    elif _is_named_as_one(entry, chapters) or _holds_notebook(entry):
        yield entry


def _is_named_as_one(path: Path, chapters: Collection[str]) -> bool:
    named = any(is_named(path.name, chapter) for chapter in chapters)
    return named or ".ipynb" in path.name.lower()


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder without the litter, in order; none where it may not be read."""
    try:
        return sorted(path for path in folder.iterdir() if not _is_litter(path))
    except OSError:
        return []


def _is_litter(path: Path) -> bool:
    if path.name.startswith("."):
        return path.is_dir() or not _holds_notebook(path)
    if path.name == RESULTS.name and path.is_dir() and not path.is_symlink():
        return not _entries(path)
    return bool(_LITTER.fullmatch(path.name)) or _is_start_page(path)


def _is_start_page(path: Path) -> bool:
    return is_named(path.name, START) and _holds_notebook(path) and b".answer" not in _content(path)


def _holds_notebook(path: Path) -> bool:
    """Whether a file's content is a notebook's, in any encoding, damaged ones too."""
    content = _content(path)
    begin = content[:100].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return begin.startswith(b"{") and bool(_NOTEBOOK.search(content))


def _content(path: Path) -> bytes:
    """A file without its zeros, in which the encoding matters little, if it may be read."""
    try:
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= LARGEST:
            return path.read_bytes().replace(b"\0", b"")
    except OSError:
        pass
    return b""


def _held(folder: Path) -> str:
    """What lies in a folder, for a person who looks for the notebook."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return str(error.strerror)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "it is empty"


def _kind(path: Path) -> str | None:
    """What a file that is no notebook is, if that helps."""
    with open(path, "rb") as file:
        begin = file.read(1000)
    if not begin.strip():
        return "an empty file"
    return next((kind for pattern, kind in _KINDS if re.match(pattern, begin)), None)
