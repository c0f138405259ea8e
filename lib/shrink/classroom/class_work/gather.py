"""What `shrink gather` does: a class's results, from the files of `hand_in`, as figures.

Whatever else lies in the folder is told and left out, except hidden files and our own pictures. One
bad file costs that file and nothing else, whatever it raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shrink.classroom import CourseError
from shrink.classroom.class_work.group import Group
from shrink.classroom.class_work.handing_in import ClassExperiment, Result, same_name
from shrink.classroom.class_work.reading import Skipped, read_folder, reason_of

Made = TypeVar("Made")


@dataclass(frozen=True)
class Gathered:
    """The results of a folder, in the order of the experiments, and the files left out."""

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Written:
    """What was gathered and could be drawn, its pictures, and a line about each not written."""

    gathered: Gathered
    pictures: tuple[Path, ...]
    failed: tuple[str, ...]


def gather(folder: Path | str, experiments: Sequence[ClassExperiment]) -> Gathered:
    """Read the results in the folder and the folders in it, experiment by experiment in this order.

    Of two results of a student in one experiment the first counts, in the order of the files'
    names. A result of which no group can be made, or told, is left out of it. Writes nothing.
    Raises `CourseError` when there is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"no folder {folder}")
    named = {experiment.name: experiment for experiment in experiments}
    results, skipped = read_folder(folder, named)
    groups, again = _grouped(results)
    skipped += again
    made = []
    for name, dataset in sorted(groups, key=lambda key: ([*named].index(key[0]), key[1] or "")):
        group, left_out = _without_harm(
            lambda some, of=named[name], on=dataset: _told(of.group(on, some)),
            groups[name, dataset],
        )
        made += [group] if group else []
        skipped += left_out
    return Gathered(tuple(made), tuple(skipped))


def write(gathered: Gathered, folder: Path) -> Written:
    """Write the picture of each group into the folder; one that fails does not keep the others.

    Results of which no picture can be drawn are left out of their group.
    """
    groups, pictures, failed, skipped = [], [], [], list(gathered.skipped)
    for group in gathered.groups:
        drawn, left_out = _without_harm(
            lambda some, of=group: _drawn(of if some == of.results else of.of_these(some)),
            group.results,
        )
        skipped += left_out
        if drawn is None:
            continue
        groups.append(drawn[0])
        try:
            pictures.append(drawn[0].write(folder, drawn[1]))
        except (CourseError, OSError) as error:
            failed.append(str(error))
    left = Gathered(tuple(groups), tuple(skipped))
    return Written(left, tuple(pictures), tuple(failed))


def _told(group: Group) -> Group:
    """The group; raises if it cannot be told."""
    str(group)
    return group


def _drawn(group: Group) -> tuple[Group, bytes]:
    """The group and its picture; raises if it cannot be told or drawn."""
    return _told(group), group.picture()


def _without_harm(
    make: Callable[[tuple[Result, ...]], Made], results: Sequence[Result]
) -> tuple[Made | None, list[Skipped]]:
    """What `make` gives of the results without those of which it fails, and these.

    Where it fails of all together, it is tried with each alone. A `CourseError` is about this
    machine, and not about one of them.
    """
    if not results:
        return None, []
    try:
        return make(tuple(results)), []
    except CourseError as error:
        reason = f"cannot be measured here: {error}"
        return None, [Skipped(result.file, reason) for result in results]
    except Exception as error:
        together = reason_of(error)
    alone = results if len(results) > 1 else ()
    bad = [Skipped(result.file, why) for result in alone if (why := _fails(make, result))]
    if not bad:
        return None, [Skipped(result.file, together) for result in results]
    harmful = {skipped.file for skipped in bad}
    made, more = _without_harm(make, [r for r in results if r.file not in harmful])
    return made, [*bad, *more]


def _fails(make: Callable[[tuple[Result, ...]], object], result: Result) -> str:
    """Why `make` fails with this result alone; "" if it does not."""
    try:
        make((result,))
    except Exception as error:
        return reason_of(error)
    return ""


def _grouped(
    results: Sequence[Result],
) -> tuple[dict[tuple[str, str | None], list[Result]], list[Skipped]]:
    """By experiment and data set: the first result of each student; the others are skipped."""
    first: dict[tuple, Result] = {}
    groups: dict[tuple[str, str | None], list[Result]] = {}
    skipped = []
    for result in results:
        of = (result.experiment.name, result.dataset)
        other = first.setdefault((*of, same_name(result.student)), result)
        if other is result:
            groups.setdefault(of, []).append(result)
            continue
        same = "the same result as in" if other.found == result.found else "not the result of"
        reason = f'"{result.student}" again, {same} {other.file}, which counts'
        skipped.append(Skipped(result.file, reason))
    return groups, skipped
