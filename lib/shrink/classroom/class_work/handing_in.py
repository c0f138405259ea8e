"""What a student's network gave, as a small file to hand in; the name typed seeds the network."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Protocol

import torch

from shrink.classroom import CourseError
from shrink.classroom.training import pick_device
from shrink.classroom.written import RESULTS
from shrink.files import write_atomically

if TYPE_CHECKING:
    from shrink.classroom.class_work.group import Group

FORMAT, VERSION = "shrink class result", 1
LONGEST_NAME = 80
FIELDS = ("format", "version", "experiment", "student", "seed", "dataset", "machine", "results")
LARGEST = 64 * 1024  # bytes of what is handed in; a result has about a thousand


class ClassExperiment(Protocol):
    """What is asked of a chapter's EXPERIMENT.

    Args:
        name: as the files have it, and sorted by it: `02-prune`.
        title: the question, above the figure.
        datasets: those it is done on, one or another; empty where the data do not matter.
        largest: the most bytes of what is handed in.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    largest: int

    def checked(self, found: object, student: str) -> dict:
        """What a student found, put in order; raises `CourseError` unless it can be right."""

    def stored(self, checked: Mapping) -> dict:
        """What `checked` gave, as JSON takes it."""

    def group(self, dataset: str | None, results: tuple[Result, ...]) -> Group:
        """The class's results on one data set; `CourseError` where they cannot be measured here."""


@dataclass(frozen=True)
class Result:
    """What one student found, as the experiment's `checked` gave it.

    `file` is where it was read, relative to the class's folder; "" of what is handed in here.
    """

    experiment: ClassExperiment
    student: str
    dataset: str | None
    machine: str
    found: dict
    file: str = field(default="", compare=False)

    def record(self) -> dict:
        """The content of the file, with a digest by which an edit by hand is noticed."""
        results = self.experiment.stored(self.found)
        name, seed = self.experiment.name, seed_of(self.student)
        values = (FORMAT, VERSION, name, self.student, seed, self.dataset, self.machine)
        record = dict(zip(FIELDS, (*values, results), strict=True))
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return record | {"digest": digest}


@dataclass(frozen=True, repr=False)
class HandedIn:
    """Where a result was written; a notebook shows it as one line."""

    path: Path
    student: str

    def __repr__(self) -> str:
        return printable(
            f'wrote {self.path}, the file to hand in; it holds the name "{self.student}" as typed '
            "(a nickname will do)"
        )


def seed_of(name: str) -> int:
    """The seed that a name stands for, in 0 to 2^31 - 1; case and spare blanks do not matter.

    Raises `CourseError` when the name is empty or longer than 80 characters.

    >>> seed_of("Ada Lovelace"), seed_of("  ada   LOVELACE "), seed_of("Ada")
    (197116655, 197116655, 2130125190)
    """
    return int.from_bytes(hashlib.sha256(same_name(name).encode()).digest()[:4], "big") >> 1


def same_name(name: str) -> str:
    """What is the same for all ways to type one name; raises as `seed_of` does."""
    if not isinstance(name, str):
        raise CourseError(f'a name is a text such as "Ada", not {brief(name)}')
    if not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise CourseError(f"a name has 1 to {LONGEST_NAME} characters, unlike {brief(name)}")
    if any(unicodedata.category(c) == "Cs" for c in name):
        raise CourseError(f"{brief(name)} is not a text in Unicode")
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", " ".join(folded.split()))


def hand_in(
    experiment: ClassExperiment,
    name: str,
    found: Mapping[str, Mapping[int | str, float] | bytes],
    dataset: str | None = None,
    folder: Path | str = RESULTS,
) -> HandedIn:
    """Write what a student found as a JSON file in `folder`; an earlier one of theirs is replaced.

    Args:
        experiment: the chapter's `EXPERIMENT`.
        name: the student's name or nickname, which seeded the network.
        found: series → x → y, for every x of the experiment and every series, or the one that
            `Experiment.series_of` deals out to the name; in a league, {"file": the bytes of a codec
            file}.
        dataset: the name of the data, where they matter to the experiment.

    Raises:
        CourseError: one of these is not as it must be; the message names it. Nothing is written.
    """
    seed = seed_of(name)
    check_dataset(experiment, dataset)
    result = Result(experiment, name.strip(), dataset, _machine(), experiment.checked(found, name))
    letters = unicodedata.normalize("NFKD", same_name(name)).encode("ascii", "ignore").decode()
    slug = re.sub("[^a-z0-9]+", "-", letters.lower())[:40].strip("-") or "student"
    path = Path(folder) / f"{stem(experiment, dataset)}-{slug}-{seed & 0xFFFFFF:06x}.json"
    text = json.dumps(result.record(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    return HandedIn(path, result.student)


def check_dataset(experiment: ClassExperiment, dataset: object) -> None:
    """Raise `CourseError` unless the data are among those of the experiment."""
    datasets = experiment.datasets
    if dataset not in (datasets or (None,)):
        needed = f"on one of {', '.join(datasets)}" if datasets else "of no data set"
        raise CourseError(f"{experiment.name} is {needed}, not {brief(dataset)}")


def stem(experiment: ClassExperiment, dataset: str | None) -> str:
    """How the names of its files begin, a student's and the class's: `class-02-prune-glyphs`."""
    return "-".join(["class", experiment.name, *([dataset] if dataset else [])])


def printable(text: str) -> str:
    """The text with all that steers a terminal written out.

    >>> print(printable("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def by_name(what: str, given: object, names: tuple) -> dict[str, object]:
    """The mapping's values under exactly these names, as texts and in their order."""
    names = [str(name) for name in names]
    found = {str(key): value for key, value in given.items()} if isinstance(given, Mapping) else {}
    if set(found) != set(names) or len(given) != len(found):
        got = list(given) if isinstance(given, Mapping) else given
        raise CourseError(f"{what} must be for {', '.join(names)}, not {brief(got)}")
    return {name: found[name] for name in names}


def _machine() -> str:
    return (
        f"{platform.system()} {platform.machine()}, cores: {os.cpu_count()}, "
        f"torch {torch.__version__}, threads: {torch.get_num_threads()}, {pick_device()}"
    )
