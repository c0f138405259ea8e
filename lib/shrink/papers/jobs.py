"""A paper's jobs, run side by side: in processes of this machine, or on the workers of Dask.

A paper's `run` makes every part of a seed, or reads it where an earlier call has left it. So the
jobs only fill the files that `run` then reads, and the record is the same without them. What
passes between the processes is names and numbers: each loads the data set itself, once.
"""

import functools
import hashlib
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import shrink
from shrink.classroom import CourseError, data
from shrink.classroom.book.extras import require
from shrink.classroom.cache import cache_dir
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar, without_bars
from shrink.files import write_atomically

PATIENCE = 10  # seconds in which a scheduler must answer
HOW = "start workers with `dask worker ADDRESS --nthreads 1`"


@dataclass(frozen=True)
class Job:
    """Work that leaves its result in files: `function(dataset, seed, folder, *arguments)`.

    The folder is the seed's. The function is one of a module, found there by its name, and the
    arguments are plain values: both go to another process.

    >>> print(Job(print, 3, ("magnitude", 0.9)))
    seed 3, magnitude, 0.9
    """

    function: Callable[..., object]
    seed: int
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return ", ".join([f"seed {self.seed}", *map(str, self.arguments)])

    def run(self, dataset: Dataset, folder: Path) -> object:
        """Do it, in one thread; `folder` is the one for all seeds."""
        with one_thread():
            return self.function(dataset, self.seed, folder / f"seed-{self.seed}", *self.arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes in one thread; after, in as many as before.

    With another number of threads sums are added up in another order: the last digits differ.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def waves_of(module: ModuleType, seeds: Sequence[int]) -> list[list[Job]]:
    """What a paper's module says in `waves(seeds)`, or one wave: `run` of each seed.

    The jobs of a wave are independent; they may need what the waves before it made.
    """
    waves = getattr(module, "waves", None)
    return [list(w) for w in waves(seeds)] if waves else [[Job(module.run, s) for s in seeds]]


def machine(device: torch.device | str) -> str:
    """Where a record was made, in a few words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {device}"


def run_here(waves: Iterable[list[Job]], dataset: Dataset, folder: Path, jobs: int) -> None:
    """Run the jobs in so many processes of this machine.

    Raises:
        CourseError: a job fails, and is named; or a process is killed. The others are stopped;
            what is done stays done.
    """
    from joblib import parallel_config
    from joblib.externals.loky import get_reusable_executor

    try:
        with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            _run(waves, dataset, folder, f"{jobs} processes")
    except BrokenExecutor as error:
        raise CourseError(
            "a process was killed, perhaps for its memory: the same command goes on from here, "
            "with fewer --jobs if there is too little"
        ) from error
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def run_on_dask(waves: Iterable[list[Job]], dataset: Dataset, folder: Path, address: str) -> str:
    """Run the jobs on the workers of a Dask scheduler; return the kinds of their machines.

    Raises:
        CourseError: `distributed` is not installed, no scheduler answers, it has no workers, these
            are not fit (`_refuse`), or a job fails, and is named.
    """
    require("dask", "distributed")
    from distributed import Client
    from joblib import parallel_config

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CourseError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        machines = _machines(client, dataset)
        with parallel_config("dask", client=client):
            _run(waves, dataset, folder, f"{len(client.nthreads())} workers")
    return machines


def _run(waves: Iterable[list[Job]], dataset: Dataset, folder: Path, where: str) -> None:
    from joblib import Parallel, delayed

    device = str(dataset.train.images.device)
    order = dataset.name, device, folder.relative_to(cache_dir())
    waves = list(waves)
    with new_bar(f"jobs, {where}", total=sum(map(len, waves)), unit="job") as bar:
        for wave in waves:
            work = (delayed(_work)(job, *order) for job in wave)
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            for _ in parallel(work):
                bar.update()


def _work(job: Job, name: str, device: str, folder: Path) -> None:
    """In a worker: do the job. The folder is given within the cache, which may lie elsewhere."""
    try:
        with without_bars():
            job.run(_loaded(name, device), cache_dir() / folder)
    except Exception as error:
        what = "" if isinstance(error, CourseError) else f"{type(error).__name__}: "
        raise CourseError(f"{job}: {what}{error}") from error


@functools.lru_cache(maxsize=1)
def _loaded(name: str, device: str) -> Dataset:
    return data.load(name, device, announce=False)


@dataclass(frozen=True)
class Worker:
    """What a worker says of itself."""

    code: str
    torch: str
    machine: str
    same_cache: bool


def _worker(mark: Path, device: str) -> Worker:
    """What this process is; `mark` is the path within the cache of a file that lies in ours."""
    here = cache_dir()
    return Worker(_code(), torch.__version__, machine(device), (here / mark).exists())


@functools.cache
def _code() -> str:
    """A hash of all code of shrink: what a version number does not say while one writes."""
    root = Path(shrink.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _machines(client: Any, dataset: Dataset) -> str:
    """The kinds of the workers' machines; `CourseError` if some worker is not fit."""
    threads = client.nthreads()
    if not threads:
        raise CourseError(f"the scheduler has no workers: {HOW}")
    device = str(dataset.train.images.device)
    mark = Path("reproduce", f"seen-{uuid.uuid4().hex}")
    write_atomically(cache_dir() / mark, b"")
    try:
        found = client.run(_worker, mark, device)
    except Exception as error:
        raise CourseError(f"a worker does not run this version of shrink: {error}") from error
    finally:
        (cache_dir() / mark).unlink()
    for address, worker in sorted(found.items()):
        _refuse(address, worker, threads[address])
    return "; ".join(sorted({worker.machine for worker in found.values()}))


def _refuse(address: str, worker: Worker, threads: int) -> None:
    """Raise `CourseError` if a worker would do other work than we, or leave it elsewhere."""
    if threads != 1:
        raise CourseError(f"the worker {address} has {threads} threads: {HOW}")
    if worker.code != _code():
        raise CourseError(f"the worker {address} runs another version of shrink")
    if worker.torch != torch.__version__:
        raise CourseError(
            f"the worker {address} has torch {worker.torch}, and here is {torch.__version__}"
        )
    if not worker.same_cache:
        raise CourseError(
            f"the worker {address} has another cache: SHRINK_CACHE must name a folder that all "
            f"machines share, here {cache_dir()}"
        )
