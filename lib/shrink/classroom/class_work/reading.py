"""Reads what a folder of a class holds: results of `hand_in`, and whatever else lies there."""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as brief

from shrink.classroom import CourseError
from shrink.classroom.class_work import handing_in
from shrink.classroom.class_work.group import is_ours
from shrink.classroom.class_work.handing_in import LARGEST, ClassExperiment, Result

NAMED_WITHIN = 1024  # bytes, of a file that may be longer than LARGEST, for its experiment


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, named relative to the folder, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return handing_in.printable(f"{self.file}: {self.reason}")


def reason_of(error: Exception) -> str:
    """Why a file is left out, in one line: as a `CourseError` says, or what else was raised."""
    said = " ".join(str(error).split())
    if isinstance(error, CourseError):
        return said
    return f"cannot be used: {type(error).__name__}{f', {said[:200]}' * bool(said)}"


def read_folder(
    folder: Path, experiments: Mapping[str, ClassExperiment]
) -> tuple[list[Result], list[Skipped]]:
    """The results among the JSON files in the folder and the folders in it, by the files' names.

    Hidden files and folders are passed over; what else is no result, or raises anything while it
    is read, is skipped.
    """
    results, skipped = [], []
    for file in _json_files(folder, skipped):
        try:
            result = parse(_read(folder / file, experiments), experiments)
        except Exception as error:
            skipped.append(Skipped(file, reason_of(error)))
        else:
            results.append(replace(result, file=file))
    return results, skipped


def parse(content: bytes, experiments: Mapping[str, ClassExperiment]) -> Result:
    """The result that `hand_in` wrote in one of these experiments, which go by their names.

    Raises `CourseError` with the reason where it is none.
    """
    try:
        record = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise CourseError(f"damaged, or no JSON ({error})") from None
    if not isinstance(record, dict) or record.get("format") != handing_in.FORMAT:
        raise CourseError("not a result of a class experiment")
    version = record.get("version")
    if type(version) is int and version > handing_in.VERSION:
        raise CourseError(f"of a newer course (version {brief(version)}): update this one")
    if type(version) is not int or version != handing_in.VERSION:
        raise CourseError(f"no version {brief(version)}")
    if missing := [name for name in (*handing_in.FIELDS, "digest") if name not in record]:
        raise CourseError(f"incomplete: without {', '.join(missing)}")
    experiment = _named(record["experiment"], experiments)
    _check_length(content, experiment.largest)
    student, dataset, machine = record["student"], record["dataset"], record["machine"]
    if type(record["seed"]) is not int or record["seed"] != handing_in.seed_of(student):
        raise CourseError(f'edited: the seed is not that of "{student}"')
    handing_in.check_dataset(experiment, dataset)
    if not isinstance(machine, str):
        raise CourseError(f"damaged: no machine {brief(machine)}")
    found = experiment.checked(record["results"], student)
    result = Result(experiment, student, dataset, machine, found)
    if result.record() != record:
        raise CourseError("edited: the digest is not that of the content")
    return result


def _named(name: object, experiments: Mapping[str, ClassExperiment]) -> ClassExperiment:
    if not isinstance(name, str) or name not in experiments:
        raise CourseError(f"no experiment {brief(name)}; there are {', '.join(experiments)}")
    return experiments[name]


def _json_files(folder: Path, skipped: list[Skipped]) -> Iterator[str]:
    """The paths relative to the folder, sorted; what cannot be read or is not JSON is skipped."""
    found, places = [], [folder]
    while places:
        place = places.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            shown = place.relative_to(folder).as_posix()
            skipped.append(Skipped(shown, f"cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path, is_folder = place / entry.name, _is_folder(entry)
            shown = path.relative_to(folder).as_posix()
            if entry.name.startswith(".") or is_ours(path):
                continue
            if is_folder and not entry.is_symlink():
                places.append(path)
            elif is_folder or not entry.name.lower().endswith(".json"):
                kind = "a link to a folder" if is_folder else "no .json file"  # not followed
                skipped.append(Skipped(shown, kind))
            else:
                found.append(shown)
    return iter(sorted(found))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _read(path: Path, experiments: Mapping[str, ClassExperiment]) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CourseError("not a file")
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
            largest = _largest(content, experiments)
            content += file.read(largest + 1 - len(content))
    except OSError as error:
        raise CourseError(f"cannot be read ({error.strerror})") from None
    _check_length(content, largest)
    return content


def _largest(begin: bytes, experiments: Mapping[str, ClassExperiment]) -> int:
    """The most bytes of a file that begins so: more than `LARGEST` where its experiment has more.

    What else is read then is refused by the length for its own experiment, in `parse`.
    """
    named = re.search(rb'"experiment"\s*:\s*"([\w-]+)"', begin[:NAMED_WITHIN])
    experiment = experiments.get(named[1].decode()) if named else None
    return experiment.largest if experiment else LARGEST


def _check_length(content: bytes, largest: int) -> None:
    if len(content) > largest:
        raise CourseError(f"larger than {largest // 1024} KB")


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
