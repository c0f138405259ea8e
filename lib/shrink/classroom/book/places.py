"""Where the course lies, in its repository or in the installed package, and a student's work."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from shrink.classroom import CourseError
from shrink.classroom.book.copies import BASES

PACKAGED = Path(str(resources.files("shrink"))) / "notebooks"  # a wheel has them; setup.py
_HOLDS = "the folder that holds course/, notebooks/ and pyproject.toml; go there, or pass --root"


@dataclass(frozen=True)
class Places:
    """The students' notebooks as they are handed out, and the folder of a student's copies."""

    notebooks: Path
    work: Path


def places(given: str | None) -> Places:
    """Where notebooks and copies are, seen from the folder `given` or else the current one.

    In the repository of the course, or below it, both are the repository's. Elsewhere the notebooks
    are those of the installed package, and the copies are in `work/`: the nearest one at or above
    the current folder that has copies, or else a new one in it.

    Raises `CourseError` when there is no such folder, or no notebooks.
    """
    if root := _repository(given):
        return Places(root / "notebooks", root / "work")
    if not PACKAGED.is_dir():
        raise CourseError(f"no course in {given or Path.cwd()}: it is {_HOLDS}")
    if given:
        if not (folder := Path(given).resolve()).is_dir():
            raise CourseError(f"no folder {given}")
        return Places(PACKAGED, folder / "work")
    works = (folder / "work" for folder in _at_or_above())
    has_copies = next((work for work in works if (work / BASES).is_dir()), None)
    return Places(PACKAGED, has_copies or Path.cwd() / "work")


def repository(given: str | None) -> Path:
    """The repository of the course: `given`, or the nearest one at or above the current folder.

    Raises `CourseError` where there is none: what authors and strict grading need is only there.
    """
    if root := _repository(given):
        return root
    where = given or Path.cwd()
    raise CourseError(f"no course in {where}: this needs its repository, {_HOLDS}")


def _repository(given: str | None) -> Path | None:
    folders = [Path(given).resolve()] if given else _at_or_above()
    return next((folder for folder in folders if _is_repository(folder)), None)


def _is_repository(folder: Path) -> bool:
    folders = all((folder / name).is_dir() for name in ("course", "notebooks"))
    return folders and (folder / "pyproject.toml").is_file()


def _at_or_above() -> list[Path]:
    here = Path.cwd()
    return [here, *here.parents]
