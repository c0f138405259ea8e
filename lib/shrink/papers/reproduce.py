"""What `shrink reproduce` does: a paper's table, run seed by seed, stored with how it was made.

Each paper is a module of `shrink.papers`. Its `run` trains what one seed needs
and keeps every part in a folder, so that a killed run goes on where it was. The record of all seeds
is one JSON file; those that the course quotes are shipped beside the modules.
"""

import hashlib
import importlib
import json
import platform
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType

import torch

from shrink.arguments import whole_number
from shrink.classroom import CourseError
from shrink.classroom.cache import cache_dir
from shrink.classroom.data import Dataset
from shrink.files import write_atomically
from shrink.papers import jobs as side_by_side
from shrink.papers.jobs import Job
from shrink.papers.tables import Record

PAPERS = (
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
)


def stored(paper: str) -> Record:
    """The shipped result of a paper, which a notebook shows as a table with its verdict.

    Raises `ValueError` for a paper that is not one of `PAPERS`.
    """
    module = _module(paper)
    text = (resources.files("shrink.papers") / f"{paper}.json").read_text("utf-8")
    return module.Result(json.loads(text))


def reproduce(
    paper: str,
    dataset: Dataset,
    seeds: Sequence[int],
    out: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
) -> Record:
    """Run the paper's recipe for each seed, write the record to `out`, and return the result.

    What is trained is kept in the cache, under the recipe, the data, the kind of device and torch's
    version; the same call after a kill goes on from there. All is computed in one thread, or in
    `jobs` processes of one thread each, or on the workers of the Dask scheduler at `dask`: the
    record is the same.

    Raises:
        ValueError: the paper is not one of `PAPERS`, or `jobs` is below 1, or above it with `dask`.
        TypeError: `jobs` is not whole.
        CourseError: `seeds` are fewer than two, or one comes twice; or the jobs cannot be done.
    """
    module = _module(paper)
    if whole_number("jobs", jobs, 1) > 1 and dask is not None:
        raise ValueError(f"the jobs run in {jobs} processes here or on the workers of Dask")
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise CourseError(f"at least two different seeds are compared, not {list(seeds)}")
    plan = {"recipe": module.RECIPE, "data": dataset.name, "torch": torch.__version__}
    device = dataset.test.images.device
    about = json.dumps({**plan, "device": device.type}, sort_keys=True)
    name = hashlib.sha256(about.encode()).hexdigest()[:16]
    folder = cache_dir() / "reproduce" / f"{paper}-{name}"
    command = f"shrink reproduce {paper} --seeds {' '.join(map(str, seeds))}"
    machine, waves = side_by_side.machine(device), side_by_side.waves_of(module, seeds)
    if dask is not None:
        machine = side_by_side.run_on_dask(waves, dataset, folder, dask)
        command += f" --dask {dask}"
    elif jobs > 1:
        machine = side_by_side.run_here(waves, dataset, folder, jobs)
        command += f" --jobs {jobs}"
    record = {
        "command": command,
        **plan,
        "python": platform.python_version(),
        "machine": machine,
        "seeds": {str(s): Job(module.run, s).run(dataset, folder) for s in seeds},
    }
    write_atomically(out, (json.dumps(record, indent=1) + "\n").encode())
    return module.Result(record)


def _module(paper: str) -> ModuleType:
    if paper not in PAPERS:
        raise ValueError(f"no paper named {paper!r}; there are {', '.join(PAPERS)}")
    return importlib.import_module(f"shrink.papers.{paper.replace('-', '_')}")
