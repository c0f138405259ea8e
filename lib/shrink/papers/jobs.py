"""A paper's jobs, run side by side: in processes of this machine, or on the workers of Dask.

A paper's `run` makes every part of a seed, or reads it where an earlier call has left it. So the
jobs only fill the files that `run` then reads, and the record is the same without them. What
passes between the processes is names and numbers: each loads the data set itself, once.
"""

import functools
import hashlib
import os
import platform
import socket
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
from shrink.classroom.cache import cache_dir, kept_or_refused
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar, without_bars
from shrink.files import lock, sweep

PATIENCE = 10  # seconds in which a scheduler must answer
HOW = "start them with `dask worker ADDRESS --nthreads 1`"


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


def run_here(waves: Iterable[list[Job]], dataset: Dataset, folder: Path, jobs: int) -> str:
    """Run the jobs in so many processes of this machine; return its kind.

    Raises:
        CourseError: a job fails, and is named; or a process is killed. The others are stopped;
            what is done stays done.
    """
    from joblib import parallel_config
    from joblib.externals.loky import get_reusable_executor

    with _order(dataset, folder) as order:
        try:
            with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
                return _run(waves, order, f"{jobs} processes")
        except BrokenExecutor as error:
            raise CourseError(
                "a process was killed, perhaps for its memory: the same command goes on from "
                "here, with fewer --jobs if there is too little"
            ) from error
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def run_on_dask(waves: Iterable[list[Job]], dataset: Dataset, folder: Path, address: str) -> str:
    """Run the jobs on the workers of a Dask scheduler; return the kinds of their machines.

    Where all workers end, and the scheduler does not, it waits for new ones, which go on with the
    jobs that are left.

    Raises:
        CourseError: `distributed` is not installed, no scheduler answers, or it is lost while jobs
            run; it has no workers, or one of these would do other work than this process; or a job
            fails, and is named.
    """
    require("dask", "distributed")
    from distributed import CancelledError, Client, KilledWorker
    from distributed.comm import CommClosedError
    from joblib import parallel_config

    if not address.strip():  # a client without one would start a cluster of its own
        raise CourseError("--dask needs the address of a scheduler, as tcp://localhost:8786")
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CourseError(f"no Dask scheduler answers at {address}: {error}") from error
    with client, _order(dataset, folder) as order:
        try:
            _check_workers(client, order)
            with parallel_config("dask", client=client):
                return _run(waves, order, f"{len(client.nthreads())} workers of Dask")
        except (CancelledError, CommClosedError) as error:
            raise CourseError(
                f"the Dask scheduler at {address} is lost: start it again, with its workers; the "
                "same command goes on from here"
            ) from error
        except KilledWorker as error:
            raise CourseError(
                f"several workers were killed, perhaps for their memory, at one job: {error}"
            ) from error


@dataclass(frozen=True)
class Order:
    """What goes with each job to a worker, which must be as the process that sends it.

    `folder` and `mark`, a file, are paths within the cache.
    """

    data: str
    device: str
    folder: Path
    mark: Path
    code: str
    torch: str


@contextmanager
def _order(dataset: Dataset, folder: Path) -> Iterator[Order]:
    """An order, and inside the file by which workers know our cache."""
    cache, marks = cache_dir(), folder / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    sweep(marks)
    mark = folder / f".{marks.name}.{uuid.uuid4().hex}"
    with open(mark, "xb") as file:
        lock(file)  # so that a later run sweeps it if this one is killed
        try:
            yield Order(
                data=dataset.name,
                device=str(dataset.train.images.device),
                folder=folder.relative_to(cache),
                mark=mark.relative_to(cache),
                code=_code(),
                torch=torch.__version__,
            )
        finally:
            mark.unlink(missing_ok=True)


def _run(waves: Iterable[list[Job]], order: Order, where: str) -> str:
    """Run wave after wave in joblib's workers; return the kinds of their machines."""
    from joblib import Parallel, delayed

    waves = list(waves)
    machines = set()
    with new_bar(f"jobs, {where}", total=sum(map(len, waves)), unit="job") as bar:
        for wave in waves:
            # as soon as they are done, whichever it is, and each handed out by itself
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            for found in parallel(delayed(_work)(job, order) for job in wave):
                machines.add(found)
                bar.update()
    return "; ".join(sorted(machines))


def _work(job: Job, order: Order) -> str:
    """In a worker: do the job, and return the kind of machine."""
    try:
        found = _check(order)
        with without_bars(), kept_or_refused():  # its files are all that it is for
            job.run(_loaded(order.data, order.device), cache_dir() / order.folder)
    except Exception as error:
        what = "" if isinstance(error, CourseError) else f"{type(error).__name__}: "
        raise CourseError(f"{job}: {what}{error}") from error
    return found


@functools.lru_cache(maxsize=1)
def _loaded(name: str, device: str) -> Dataset:
    return data.load(name, device, announce=False)


def _check_workers(client: Any, order: Order) -> None:
    """Raise `CourseError` if there are no workers, or one is not fit, before hours are spent."""
    from distributed.comm import CommClosedError

    threads = client.nthreads()
    if not threads:
        raise CourseError(f"the scheduler has no workers: {HOW}")
    for address, number in sorted(threads.items()):
        if number != 1:
            raise CourseError(f"the worker {address} has {number} threads: {HOW}")
    try:
        client.run(_check, order)
    except (CourseError, CommClosedError):  # the second where the scheduler is lost
        raise
    except Exception as error:  # what its Python says: no module, no such function
        raise CourseError(f"a worker does not have this version of shrink: {error}") from error


@functools.lru_cache(maxsize=1)
def _check(order: Order) -> str:
    """In a worker: the kind of machine; `CourseError` if work done here would not be the same."""
    here = f"the worker {socket.gethostname()}, process {os.getpid()},"
    if _code() != order.code:
        raise CourseError(f"{here} has other code of shrink")
    if torch.__version__ != order.torch:
        raise CourseError(f"{here} has torch {torch.__version__}, not {order.torch}")
    if not (cache_dir() / order.mark).exists():
        raise CourseError(
            f"{here} keeps things elsewhere, in {cache_dir()}: let SHRINK_CACHE name one folder "
            "that all share"
        )
    return machine(order.device)


@functools.cache
def _code() -> str:
    """A hash of all code of shrink: the version's number stays the same while one writes."""
    root = Path(shrink.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
