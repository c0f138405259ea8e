"""The class is the experiment: what each student's network gave, as a small file to hand in.

Each name seeds a network of its own. `hand_in` writes what that network gave; `shrink gather` puts
a class's files into one figure an experiment. A new experiment is an entry in `EXPERIMENTS`.
"""

import base64
import hashlib
import json
import os
import platform
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from reprlib import repr as brief

import torch

from shrink.chapters.code import league
from shrink.classroom import CourseError
from shrink.classroom.training import pick_device
from shrink.files import write_atomically

FORMAT, VERSION = "shrink class result", 1
DATASETS = ("mnist", "glyphs", "digits")
LONGEST_NAME = 80
FIELDS = ("format", "version", "experiment", "student", "seed", "dataset", "machine", "results")
LARGEST = 64 * 1024  # bytes of what is handed in; a result has about a thousand


class _OnData:
    """What is done on one of some data sets, or without any."""

    name: str
    datasets: tuple[str, ...]

    def check_dataset(self, dataset: object) -> None:
        """Raise `CourseError` unless the data are among those of the experiment."""
        if dataset not in (self.datasets or (None,)):
            needed = f"on one of {', '.join(self.datasets)}" if self.datasets else "of no data set"
            raise CourseError(f"{self.name} is {needed}, not {brief(dataset)}")


@dataclass(frozen=True)
class Experiment(_OnData):
    """What every student of a class does once, and how the class's results are shown.

    `x` are the same for all: numbers, or categories as texts. A y is within `limits`, both
    included. `y_scale` is "linear", "log" or "accuracy" (`plots.accuracy_axis`). Results on two
    of `datasets` are never in one figure; without any, the data do not matter. A dashed line is
    drawn at the mean of the category `baseline`.
    """

    name: str
    title: str
    x: tuple[int, ...] | tuple[str, ...]
    y_label: str
    limits: tuple[float, float]
    series: tuple[str, ...]
    x_label: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    datasets: tuple[str, ...] = ()
    baseline: str | None = None

    @property
    def largest(self) -> int:
        """The most bytes of what is handed in."""
        return LARGEST

    def checked(self, found: object) -> dict[str, tuple[float, ...]]:
        """The y's of each series in the order of x; `CourseError` unless all are there and good."""
        low, high = self.limits
        by_series = _by_name("the results", found, self.series)
        checked = {}
        for series, row in by_series.items():
            by_x = _by_name(f"the results of {series}", row, self.x)
            for x, y in by_x.items():
                if not isinstance(y, Real) or isinstance(y, bool) or not low <= y <= high:
                    needed = f"a number from {low:g} to {high:g}"
                    raise CourseError(f"{series}, {x}: {brief(y)} is not {needed}")
            checked[series] = tuple(map(float, by_x.values()))
        return checked

    def stored(self, checked: Mapping[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
        """What `checked` gave, as it is written."""
        labels = [str(x) for x in self.x]
        return {series: dict(zip(labels, ys, strict=True)) for series, ys in checked.items()}


@dataclass(frozen=True)
class League(_OnData):
    """What every student makes as short and as good as they can: a file of a network.

    The result is the file, as `shrink.codec` writes it, with at most `most` bytes: who gathers the
    class reads it as it came from a stranger, and measures the network in it. `model` is one of
    `models`.
    """

    name: str
    title: str
    model: str
    most: int
    datasets: tuple[str, ...] = ()

    @property
    def largest(self) -> int:
        """The most bytes of what is handed in: the file in base64, and what else a result has."""
        return LARGEST + 4 * -(-self.most // 3)

    def checked(self, found: object) -> dict[str, bytes]:
        """The file, given as bytes or in base64; `CourseError` unless it holds such a network."""
        content = _by_name("the results", found, ("file",))["file"]
        if isinstance(content, str):
            try:
                content = base64.b64decode(content, validate=True)
            except ValueError as error:
                raise CourseError(f"damaged: the file is no base64 ({error})") from None
        if not isinstance(content, bytes):
            raise CourseError(f"the file is {brief(content)}, and not bytes")
        if len(content) > self.most:
            raise CourseError(f"the file has {len(content):,} bytes, and {self.most:,} at most")
        league.network(content, self.model)
        return {"file": content}

    def stored(self, checked: Mapping[str, bytes]) -> dict[str, str]:
        """What `checked` gave, as it is written."""
        return {"file": base64.b64encode(checked["file"]).decode()}


EXPERIMENTS: dict[str, Experiment | League] = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="01-measure",
            title="how long does an image take?",
            x=(1, 4, 16, 64, 256),
            x_label="images at once",
            x_scale="log",
            y_label="time an image, µs",
            y_scale="log",
            limits=(1e-9, 1e9),
            series=("lenet-300-100", "lenet-5"),
        ),
        Experiment(
            name="02-prune",
            title="90 % pruned: does it recover?",
            x=("dense", "90 % pruned", "fine-tuned", "dense, same steps"),
            y_label="accuracy on validation images, %",
            y_scale="accuracy",
            limits=(0, 100),
            series=("lenet-300-100",),
            datasets=DATASETS,
            baseline="dense",
        ),
        Experiment(
            name="03-quantize",
            title="how few bits does a weight need?",
            x=(2, 3, 4, 5, 6, 8),
            x_label="bits a weight",
            y_label="accuracy on validation images, %",
            y_scale="accuracy",
            limits=(0, 100),
            series=("one scale", "a scale a channel"),
            datasets=DATASETS,
        ),
        Experiment(
            name="04-share",
            title="how few values does a layer need?",
            x=(2, 3, 4, 8, 16),
            x_label="values a layer",
            x_scale="log",
            y_label="accuracy on validation images, %",
            y_scale="accuracy",
            limits=(0, 100),
            series=("clustered", "trained"),
            datasets=DATASETS,
        ),
        League(
            name="05-code",
            title="the byte league: how short, and how good?",
            model="lenet-300-100",
            most=300_000,
            datasets=DATASETS,
        ),
        Experiment(
            name="06-distil",
            title="how many labelled images is a teacher worth?",
            x=(50, 200, 1000, 5000),
            x_label="images",
            x_scale="log",
            y_label="accuracy on validation images, %",
            y_scale="accuracy",
            limits=(0, 100),
            series=("labels", "labels and answers"),
            datasets=DATASETS,
        ),
    )
}


@dataclass(frozen=True)
class Result:
    """What one student found: series → the y's, in the order of the experiment's x; or the file."""

    experiment: str
    student: str
    dataset: str | None
    machine: str
    found: dict[str, tuple[float, ...]] | dict[str, bytes]

    def record(self) -> dict:
        """The content of the file, with a digest by which an edit by hand is noticed."""
        results = EXPERIMENTS[self.experiment].stored(self.found)
        seed = seed_of(self.student)
        values = (FORMAT, VERSION, self.experiment, self.student, seed, self.dataset, self.machine)
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
    experiment: str,
    name: str,
    found: Mapping[str, Mapping[int | str, float] | bytes],
    dataset: str | None = None,
    folder: Path | str = ".",
) -> HandedIn:
    """Write what a student found as a JSON file in `folder`; an earlier one of theirs is replaced.

    Args:
        experiment: one of `EXPERIMENTS`.
        name: the student's name or nickname, which seeded the network.
        found: series → x → y, for every series and x of the experiment; in a league, {"file": the
            bytes of a codec file}.
        dataset: the name of the data, where they matter to the experiment.

    Raises:
        CourseError: one of these is not as it must be; the message names it. Nothing is written.
    """
    seed = seed_of(name)
    plan = named(experiment)
    plan.check_dataset(dataset)
    result = Result(plan.name, name.strip(), dataset, _machine(), plan.checked(found))
    letters = unicodedata.normalize("NFKD", same_name(name)).encode("ascii", "ignore").decode()
    slug = re.sub("[^a-z0-9]+", "-", letters.lower())[:40].strip("-") or "student"
    path = Path(folder) / f"{stem(plan.name, dataset)}-{slug}-{seed & 0xFFFFFF:06x}.json"
    text = json.dumps(result.record(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    return HandedIn(path, result.student)


def named(name: object) -> Experiment | League:
    """The experiment of that name; raises `CourseError` when there is none."""
    if not isinstance(name, str) or name not in EXPERIMENTS:
        raise CourseError(f"no experiment {brief(name)}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def stem(experiment: str, dataset: str | None) -> str:
    """How the files of an experiment begin: the students' and the class's.

    >>> stem("02-prune", "glyphs")
    'class-02-prune-glyphs'
    """
    return "-".join(["class", experiment, *([dataset] if dataset else [])])


def printable(text: str) -> str:
    """The text with all that steers a terminal written out.

    >>> print(printable("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _by_name(what: str, given: object, names: tuple) -> dict[str, object]:
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
