"""The command `shrink`: reads the command line, does what it asks, and says errors in one line.

The commands import what they need themselves, so that `shrink --help` does not wait for torch.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType

from shrink.classroom import CourseError
from shrink.classroom.book.extras import require
from shrink.classroom.book.places import places, repository


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 when all is well."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    parser = _parser()
    args = parser.parse_args(words[:at])
    args.extra = words[at + 1 :]
    if args.extra and args.command is not _lab:
        parser.error("only `shrink lab` takes more after --")
    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("shrink: stopped", file=sys.stderr)
        return 130
    except (CourseError, OSError) as error:
        print(f"shrink: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if args.command is _check else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shrink", description="The course Shrink.")
    version = f"%(prog)s {metadata.version('shrink')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, function, text: str, root: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        if root:
            text = "the folder of the course, or the one that holds work/"
            command.add_argument("--root", metavar="FOLDER", help=text)
        return command

    lab = add("lab", _lab, "open JupyterLab in work/, with a copy of each chapter")
    text = "for a projector: larger type and thicker lines in figures and explorers"
    lab.add_argument("--project", action="store_true", help=text)
    lab.epilog = "What stands after -- goes to JupyterLab: shrink lab -- --port=9999"
    check = add("check", _check, "say which exercises are done")
    check.add_argument("chapters", nargs="*", metavar="chapter", help="2, 02_prune or a path")
    check.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="for each cell")
    form = check.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    text = "print a table for a spreadsheet (with --strict)"
    form.add_argument("--csv", action="store_true", help=text)
    text = "print the full report on each exercise (with --strict)"
    form.add_argument("--detail", action="store_true", help=text)
    strict = check.add_argument_group("grading, for teachers")
    text = "grade notebooks, or folders of them; trust nothing in them except the answers"
    strict.add_argument("--strict", action="store_true", help=text)
    strict.add_argument("--chapter", help="2 or 02_prune (default: each notebook says it)")
    text = "memory of each, beyond what torch takes (default: 2048)"
    strict.add_argument("--memory", type=_megabytes, metavar="MB", help=text)
    check.set_defaults(usage_error=check.error)
    get = add("data", _data, "fetch MNIST (11 MB) into the cache", root=False)
    get.add_argument("name", choices=["mnist"])
    build = add("build", _build, "write the notebooks from course/")
    how = build.add_mutually_exclusive_group()
    how.add_argument("--solved", action="store_true", help="with solutions, into build/solved/")
    how.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    add("update", _update, "bring the chapters in work/ up to date; answers are carried over")
    again = add("reproduce", _reproduce, "compute a paper's table on MNIST; resumes when stopped")
    papers = [
        "pruning",
        "deep-compression",
        "deep-compression-smaller",
        "deep-compression-record",
        "distillation",
        "structured",
        "metapruning",
        "obd",
        "synflow",
        "prune-at-init",
        "lottery",
        "dsd",
        "binaryconnect",
        "ternary",
        "lsq",
        "three-curves",
        "adaround",
    ]
    again.add_argument("paper", choices=papers)
    again.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="N")
    again.add_argument("--out", type=Path, metavar="FILE", help="default: work/<paper>.json")
    where = again.add_mutually_exclusive_group()
    text = "run seeds and arms in so many processes, one thread each (default: 1)"
    where.add_argument("--jobs", type=_processes, default=1, metavar="N", help=text)
    text = "run them on the workers of the Dask scheduler there, as tcp://localhost:8786"
    where.add_argument("--dask", metavar="ADDRESS", help=text)
    text = "draw what a class handed in: one picture per experiment, without names"
    gather = add("gather", _gather, text, root=False)
    gather.add_argument("folder", type=Path, help="with the files class-*.json, or folders of them")
    text = "for the pictures (default: the same folder)"
    gather.add_argument("--out", type=Path, metavar="FOLDER", help=text)
    baselines = add("baselines", _baselines, "train the shipped networks again (for authors)")
    baselines.add_argument("name", choices=["glyphs", "mnist"])
    text = "only these; the files and records of the others stay (default: all)"
    baselines.add_argument("networks", nargs="*", metavar="network", help=text)
    text = "compute beforehand what chapters show, as before a lesson; resumes when stopped"
    warm = add("warm", _warm, text, root=False)
    warm.add_argument("chapters", nargs="*", type=_chapter, metavar="chapter", help="2 or 02_prune")
    text = "compute what ships for the chapters' first pictures (for authors)"
    prepare = add("prepare", _prepare, text)
    prepare.add_argument(
        "chapters", nargs="*", type=_chapter, metavar="chapter", help="2 or 02_prune"
    )
    add("doctor", _doctor, "say whether this machine can run the course")
    return parser


def _seconds(text: str) -> float:
    try:
        if 0 < (seconds := float(text)) < 1e6:
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")


def _megabytes(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 2**30:
        return int(text)
    raise argparse.ArgumentTypeError(f"not a number of MB: {text!r}")


def _processes(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 1000:
        return int(text)
    raise argparse.ArgumentTypeError(f"not a number of processes: {text!r}")


def _chapter(text: str) -> str:
    """The name, `02_prune`, of a chapter that is given by its number, its name, or both."""
    from shrink import chapters

    names = chapters.numbered()
    for name in names:
        number, _, chapter = name.partition("_")
        if text in (name, chapter, number, number.lstrip("0")):
            return name
    raise argparse.ArgumentTypeError(f"no chapter {text!r}; there are {', '.join(names)}")


def _lab(args: argparse.Namespace) -> int:
    require("lab", "jupyterlab", "nbformat")
    from shrink.classroom.book import lab, page
    from shrink.start.stills import outputs

    place = places(args.root)
    if said := lab.try_mnist_once():
        print(said)
    copies = lab.prepare(place.notebooks, place.work)
    page.refresh(place.notebooks, place.work, partial(outputs, place.work))
    new = f", new in it: {', '.join(path.stem for path in copies)}" if copies else ""
    print(f"your chapters are in {place.work}{new}")
    return lab.start(lab.command(place.work, args.extra), project=args.project)


def _check(args: argparse.Namespace) -> int:
    if args.strict:
        return _check_strict(args)
    only_strict = ("chapter", "csv", "detail", "memory")
    if given := [n for n in only_strict if getattr(args, n) not in (None, False)]:
        args.usage_error(f"--{given[0]} goes with --strict")
    require("lab", "nbformat", "nbval", "pytest")
    from shrink.classroom.grading import check

    only_paths = args.chapters and all(map(check.is_path, args.chapters))
    work = None if only_paths else places(args.root).work
    results = []
    for path in check.find_chapters(args.chapters, work):
        print(f"checking {path} ...", file=sys.stderr, flush=True)
        results.append(check.check(path, args.timeout or check.CELL_TIMEOUT))
        if not args.json:
            print(check.as_text(results[-1]), flush=True)
    if args.json:
        print(check.as_json(results))
    return 0 if all(result.core_done for result in results) else 1


def _check_strict(args: argparse.Namespace) -> int:
    root = repository(args.root)
    require("course", "jupytext", "nbformat")
    from shrink.classroom.grading.strict import grading, report, tables

    form = report.as_detail if args.detail else report.as_summary
    if args.csv or args.json:
        form = tables.as_csv if args.csv else tables.as_json
    to = sys.stderr if args.csv or args.json else sys.stdout
    print(grading.WARNING, file=to, flush=True)
    timeout, memory = args.timeout or grading.TIMEOUT, args.memory or grading.MEMORY
    graded = grading.grade(args.chapters, root, args.chapter, timeout, memory)
    _say(form(graded))
    return 0 if all(submission.core_done for submission in graded) else 1


def _data(args: argparse.Namespace) -> int:
    from shrink.classroom import mnist
    from shrink.classroom.book import doctor

    if folder := doctor.mnist_folder():
        print(f"MNIST is at hand already, in {folder}")
    else:
        print(f"MNIST is in {mnist.fetch()}")
    return 0


def _build(args: argparse.Namespace) -> int:
    root = repository(args.root)
    require("course", "jupytext", "nbformat")
    from shrink.classroom.book import builder

    if args.check:
        if differing := builder.check_built(root / "course", root / "notebooks"):
            names = ", ".join(differing)
            raise CourseError(f"not what the build writes: {names}; run `make notebooks`")
        return 0
    out = root / "build" / "solved" if args.solved else root / "notebooks"
    written = builder.build(root / "course", out, solved=args.solved)
    print("\n".join(f"wrote {path}" for path in written) or f"{out} is up to date")
    return 0


def _update(args: argparse.Namespace) -> int:
    require("lab", "nbformat")
    from shrink.classroom.book import page, update
    from shrink.start.stills import outputs

    place = places(args.root)
    changes = update.update(place.notebooks, place.work)
    print("\n".join(map(str, changes)))
    page.refresh(place.notebooks, place.work, partial(outputs, place.work))
    return 1 if any(change.what == "failed" for change in changes) else 0


def _baselines(args: argparse.Namespace) -> int:
    folder = repository(args.root) / "lib" / "shrink" / "classroom" / "shipped"
    from shrink.classroom import baselines, data
    from shrink.classroom.training import pick_device

    if not folder.parent.is_dir():
        raise CourseError(f"no source tree here: {folder.parent} is missing")
    dataset = data.load(args.name, pick_device())
    print("\n".join(baselines.ship(folder, dataset, args.networks)))
    return 0


def _warm(args: argparse.Namespace) -> int:
    from shrink import chapters
    from shrink.classroom import data
    from shrink.classroom.training import pick_device

    dataset = data.load(device=pick_device())
    for chapter, content in _prepared(args.chapters):
        print(f"{chapter} ...", flush=True)
        for make in chapters.steps(content, dataset):
            make()
    print("all is made and kept")
    return 0


def _prepare(args: argparse.Namespace) -> int:
    root = repository(args.root)
    from shrink.classroom import archives, data

    if not archives.folder().is_relative_to(root):
        raise CourseError(f"no source tree here: the package is in {archives.folder().parents[1]}")
    for name in ("glyphs", "mnist"):
        dataset = data.load(name)
        for chapter, content in _prepared(args.chapters):
            path = f"{chapter[3:]}-{name}"
            print(archives.ship(path, partial(content.first_picture, dataset)))
    return 0


def _prepared(names: Sequence[str]) -> Iterator[tuple[str, ModuleType]]:
    """What is prepared, of the chapters of these names, or of all that prepare something."""
    from shrink import chapters

    for name in names or chapters.numbered():
        if content := chapters.prepared(name):
            yield name, content


def _reproduce(args: argparse.Namespace) -> int:
    if args.dask is not None:
        require("dask", "distributed")
    from shrink.classroom import data
    from shrink.classroom.training import pick_device
    from shrink.papers.reproduce import reproduce

    out = args.out or places(args.root).work / f"{args.paper}.json"
    dataset = data.load("mnist", pick_device())
    print(reproduce(args.paper, dataset, args.seeds, out, jobs=args.jobs, dask=args.dask))
    print(f"the record is in {out}")
    return 0


def _gather(args: argparse.Namespace) -> int:
    from shrink import chapters
    from shrink.classroom.class_work.gather import gather, write

    written = write(gather(args.folder, chapters.experiments()), args.out or args.folder)
    groups, skipped = written.gathered.groups, written.gathered.skipped
    lines = [*map(str, groups)]
    if skipped:
        lines += [f"left out: {len(skipped)}", *(f"  {file}" for file in skipped)]
    _say("\n".join([*lines, *(f"wrote {path}" for path in written.pictures)]))
    if not groups:
        raise CourseError(f"no results in {args.folder}")
    for line in written.failed:
        print(f"shrink: {' '.join(line.split())}", file=sys.stderr)
    return 1 if written.failed else 0


def _say(text: str) -> None:
    """Print the text; what the terminal's encoding lacks is written out."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _doctor(args: argparse.Namespace) -> int:
    from shrink import chapters
    from shrink.classroom.book import doctor

    try:
        work = places(args.root).work
    except CourseError:
        work = None
    steps = {name: partial(chapters.steps, content) for name, content in _prepared(())}
    findings = []
    for finding in doctor.examine(work, steps):
        print(finding, flush=True)
        findings.append(finding)
    print(doctor.verdict(findings))
    return 1 if any(finding.remedy for finding in findings) else 0
