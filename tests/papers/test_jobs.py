"""A paper's jobs side by side: the same record as in one process, whoever is killed meanwhile."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest
import torch

from shrink import cli
from shrink.classroom import CourseError, data
from shrink.classroom import cache as kept_files
from shrink.classroom.progress import new_bar
from shrink.papers import jobs, obd, reproduce
from shrink.papers.jobs import Job
from tests import ROOT
from tests.papers import tiny

SEEDS = [0, 1, 2]
PARTS = sorted(f"seed-{s} {part}" for s in SEEDS for part in ("first", *tiny.RECIPE["times"]))
COMMAND = """
import signal, sys
from shrink import cli
from shrink.classroom import data
from shrink.papers import reproduce
from tests.papers import tiny

signal.signal(signal.SIGINT, signal.default_int_handler)  # even behind &
load = data.load
data.load = lambda *_: load("digits", announce=False)
reproduce._module = lambda paper: tiny
sys.exit(cli.main(["reproduce", "pruning", "--seeds", "0", "1", "2", *sys.argv[1:]]))
"""
here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "lib"), str(ROOT)])}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache of its own, and the tiny paper in place of the others."""
    return own_cache(monkeypatch, tmp_path)


def own_cache(monkeypatch, folder):
    (folder / "cache").mkdir()
    monkeypatch.setenv("SHRINK_CACHE", str(folder / "cache"))
    monkeypatch.setattr(reproduce, "_module", lambda paper: tiny)
    return folder / "cache"


def run(digits, cache, **how):
    """The record, without the command, and the command."""
    out = cache.parent / "out.json"
    record = reproduce.reproduce("pruning", digits, SEEDS, out, **how).record
    assert json.loads(out.read_text()) == record
    return record, record.pop("command")


def made(cache):
    """The parts that were made, and the process that made each."""
    lines = (cache / "made").read_text().splitlines()
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}, len(lines)


def assert_each_once(cache):
    found, lines = made(cache)
    assert sorted(found) == PARTS and lines == len(PARTS)
    return found


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    """The record of one process, which computes in one thread where torch has two."""
    with pytest.MonkeyPatch.context() as patch:
        cache = own_cache(patch, tmp_path_factory.mktemp("alone"))
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            record, command = run(digits, cache)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
    assert command == "shrink reproduce pruning --seeds 0 1 2"
    assert set(assert_each_once(cache).values()) == {os.getpid()}
    numbers = [arm for seed in record["seeds"].values() for arm in seed.values()]
    assert {arm["threads"] for arm in numbers} == {1}
    assert len({arm["number"] for arm in numbers}) == len(numbers) == 6
    return record


def test_two_processes_share_the_work_and_the_record_is_the_same(digits, cache, alone):
    (cache / "meet").touch()
    record, command = run(digits, cache, jobs=2)
    assert record == alone and command == "shrink reproduce pruning --seeds 0 1 2 --jobs 2"
    who = assert_each_once(cache)
    assert len({who["seed-0 first"], who["seed-1 first"], os.getpid()}) == 3
    assert not [*cache.glob("reproduce/*/.*")]


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        env={**here, "SHRINK_CACHE": os.environ["SHRINK_CACHE"]},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def test_a_run_that_is_killed_goes_on_where_it_was(digits, cache, alone):
    (cache / "kill").write_text("seed-1 twice")
    killed = command("--out", cache / "out.json")
    said, _ = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    before, lines = made(cache)
    assert lines == len(before) == 4 and not (cache / "out.json").exists()
    (cache / "kill").unlink()
    assert run(digits, cache)[0] == alone
    who = assert_each_once(cache)
    assert before.items() <= who.items()
    assert {who[part] for part in PARTS if part not in before} == {os.getpid()}


@pytest.mark.deep
def test_a_killed_process_is_said_and_the_run_goes_on(digits, cache, alone):
    (cache / "kill").write_text("seed-1 twice")
    with pytest.raises(CourseError, match=r"a process was killed.* goes on from here"):
        run(digits, cache, jobs=2)
    (cache / "kill").unlink()
    assert run(digits, cache)[0] == alone


@pytest.mark.deep
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here")
def test_ctrl_c_stops_all_processes(cache):
    (cache / "wait").write_text("seed-1 first")
    running = command("--jobs", 2, "--out", cache / "out.json", start_new_session=True)
    started = time.monotonic()
    while not (cache / "waiting").exists():
        assert running.poll() is None and time.monotonic() - started < 120
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "shrink: stopped" and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((cache / "waiting").read_text()), 0)
    assert not [*cache.glob("reproduce/*/.*")] and not (cache / "out.json").exists()


@contextmanager
def cluster(folder):
    """A scheduler with two workers, in processes of their own: its address, and the scheduler's.

    The workers' cache is in the folder.
    """
    from distributed import Client

    (folder / "cache").mkdir()
    file = folder / "scheduler.json"
    start = [sys.executable, "-m", "distributed.cli.dask_{}", "--scheduler-file", str(file)]
    only_here = ["--host", "127.0.0.1", "--port", "0"]
    one = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
    running = []
    try:
        for kind, options in (("scheduler", only_here), ("worker", one), ("worker", one)):
            words = [word.format(kind) for word in start]
            with open(folder / f"log-{len(running)}", "w") as log:
                process = subprocess.Popen(
                    [*words, *options, "--no-dashboard"],
                    env={**here, "SHRINK_CACHE": str(folder / "cache")},
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                )
            running.append(process)
        ends = time.monotonic() + 120
        while not (file.exists() and file.read_text().endswith("}")):
            assert running[0].poll() is None and time.monotonic() < ends
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, running[0]
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """The address of a scheduler with two workers, and their cache."""
    folder = tmp_path_factory.mktemp("dask")
    with cluster(folder) as (address, _):
        yield address, folder / "cache"


@pytest.fixture
def on_dask(dask, monkeypatch):
    """The scheduler's address, with its workers' cache ours, and empty."""
    address, cache = dask
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    monkeypatch.setenv("SHRINK_CACHE", str(cache))
    monkeypatch.setattr(reproduce, "_module", lambda paper: tiny)
    return address, cache


def test_two_workers_of_dask_make_the_same_record(digits, on_dask, alone):
    address, cache = on_dask
    (cache / "meet").touch()
    record, command = run(digits, cache, dask=address)
    assert record == alone
    assert command == f"shrink reproduce pruning --seeds 0 1 2 --dask {address}"
    who = assert_each_once(cache)
    assert len({who["seed-0 first"], who["seed-1 first"], os.getpid()}) == 3


def test_a_job_that_fails_on_dask_is_named(digits, on_dask):
    address, cache = on_dask
    (cache / "break").write_text("seed-1 twice")
    with pytest.raises(CourseError, match=r"^seed 1, twice: an arm breaks$"):
        run(digits, cache, dask=address)


def test_a_scheduler_that_is_lost_is_said(digits, on_dask, monkeypatch):
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    address, _ = on_dask
    lost = rf"the Dask scheduler at {address} is lost.* goes on from here"
    for where in ("_check_workers", "_run"):
        for error in (
            FutureCancelledError("a job", "scheduler-connection-lost"),
            CommClosedError(),
        ):

            def breaks(*_, error=error):
                raise error

            with monkeypatch.context() as patch, pytest.raises(CourseError, match=lost):
                patch.setattr(jobs, where, breaks)
                run(digits, on_dask[1], dask=address)


@pytest.mark.deep
def test_a_run_whose_scheduler_is_killed_goes_on_where_it_was(digits, monkeypatch, tmp_path, alone):
    monkeypatch.setattr(reproduce, "_module", lambda paper: tiny)
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    cache = tmp_path / "cache"
    with cluster(tmp_path) as (address, scheduler):
        (cache / "wait").write_text("seed-1 first")

        def kill():
            while not (cache / "waiting").exists() and scheduler.poll() is None:
                time.sleep(0.05)
            scheduler.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(CourseError, match=r"is lost.* goes on from here"):
            run(digits, cache, dask=address)
        killer.join()
    (cache / "wait").unlink()
    assert run(digits, cache)[0] == alone


def test_an_address_is_needed(digits, cache):
    with pytest.raises(CourseError, match="--dask needs the address of a scheduler"):
        run(digits, cache, dask=" ")


@pytest.mark.parametrize("how", [{"jobs": 0}, {"jobs": -1}, {"jobs": 2, "dask": "tcp://a:1"}])
def test_a_number_of_jobs_is_one_or_more_and_only_without_dask(digits, cache, how):
    with pytest.raises(ValueError, match="jobs"):
        run(digits, cache, **how)


def test_workers_that_would_do_other_work_are_refused(digits, on_dask, monkeypatch, tmp_path):
    address, cache = on_dask

    def refused(match):
        with pytest.raises(CourseError, match=match):
            run(digits, cache, dask=address)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_code", lambda: "another")
        refused("has other code of shrink")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        refused("has torch 2.*, not 1.0")
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    refused("keeps things elsewhere.*SHRINK_CACHE")
    assert not (cache / "made").exists()


class Scheduler:
    """Stands for one, whose workers have so many threads each."""

    def __init__(self, **threads):
        self.threads = threads

    def nthreads(self):
        return self.threads

    def run(self, function, order):
        raise ModuleNotFoundError("No module named 'shrink'")


@pytest.mark.parametrize(
    ("scheduler", "match"),
    [
        (Scheduler(), "no workers: start them with `dask worker ADDRESS --nthreads 1`"),
        (Scheduler(a=1, b=4), "the worker b has 4 threads: start them with .* --nthreads 1"),
        (Scheduler(a=1), "does not have this version of shrink: No module named 'shrink'"),
    ],
)
def test_what_is_wrong_with_the_workers_is_said_beforehand(scheduler, match):
    with pytest.raises(CourseError, match=match):
        jobs._check_workers(scheduler, None)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{}", "nonsense://{}", "{}:{}:{}"])
def test_where_no_scheduler_answers_the_address_is_named(digits, cache, address, monkeypatch):
    monkeypatch.setattr(jobs, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = address.replace("{}", str(free.getsockname()[1]))
    with pytest.raises(CourseError, match=f"no Dask scheduler answers at {address}"):
        run(digits, cache, dask=address)


def test_a_killed_process_is_named_in_the_error(digits, cache, monkeypatch):
    def broken(*args):
        raise BrokenProcessPool("a worker stopped")

    monkeypatch.setattr(jobs, "_run", broken)
    with pytest.raises(CourseError, match=r"a process was killed.* goes on from here"):
        run(digits, cache, jobs=2)


def test_a_job_that_fails_is_named_whatever_it_raises(digits, cache):
    with jobs._order(digits, cache / "reproduce") as order:
        with pytest.raises(CourseError, match=r"^seed 3, 0: ZeroDivisionError: .*zero$") as raised:
            jobs._work(Job(failing, 3, (0,)), order)
        assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_job_whose_file_cannot_be_stored_fails(digits, cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_files, "write_atomically", full)
    full_disk = r"^seed 3: OSError: .*No space left on device"
    with (
        jobs._order(digits, cache / "reproduce") as order,
        pytest.raises(CourseError, match=full_disk),
    ):
        jobs._work(Job(storing, 3), order)
    assert storing(digits, 3, cache)["number"] == 3  # where it is not for the file, it goes on


def storing(dataset, seed, folder):
    return kept_files.cached_tensors(
        folder / "number.safetensors", lambda: {"number": torch.tensor(seed)}
    )


def failing(dataset, seed, folder, number):
    return seed / number


def test_bars_of_jobs_are_not_shown(digits, cache, capsys):
    with jobs._order(digits, cache / "reproduce") as order:
        jobs._work(Job(showing, 3), order)
    assert "inside" not in capsys.readouterr().err
    showing()
    assert "inside" in capsys.readouterr().err


def showing(*_):
    with new_bar("inside", total=1) as bar:
        bar.update()


def test_a_paper_without_waves_has_one_job_a_seed():
    [wave] = jobs.waves_of(obd, [0, 1])
    assert wave == [Job(obd.run, 0), Job(obd.run, 1)]
    assert [len(wave) for wave in jobs.waves_of(tiny, [0, 1])] == [2, 4]


@pytest.mark.parametrize("words", [["0"], ["-1"], ["two"], ["2", "--dask", "tcp://a:1"]])
def test_the_command_refuses_what_is_no_number_of_processes(words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "obd", "--jobs", *words])
    assert "--jobs" in capsys.readouterr().err


def test_the_command_hands_on_how_the_jobs_are_run(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(data, "load", lambda *_: "data")
    monkeypatch.setattr(reproduce, "reproduce", lambda *args, **how: calls.append(how))
    for words in ([], ["--jobs", "3"], ["--dask", "tcp://a:1"]):
        assert cli.main(["reproduce", "obd", "--out", str(tmp_path), *words]) == 0
    assert calls == [
        {"jobs": 1, "dask": None},
        {"jobs": 3, "dask": None},
        {"jobs": 1, "dask": "tcp://a:1"},
    ]
