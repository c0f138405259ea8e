"""A paper whose jobs take no time: each leaves a number in a file, and a line that says who did it.

A file in the cache asks for more. "meet": the first two seeds wait for each other. "kill", "break"
and "wait" name a part, as "seed-1 thrice": before it is made its process is killed, the job fails,
or it waits for a minute, and leaves a file "waiting".
"""

import os
import signal
import time

import torch

from shrink.classroom import CourseError
from shrink.classroom.cache import cache_dir, cached_tensors
from shrink.papers.jobs import Job
from shrink.papers.tables import Record

RECIPE = {"times": {"twice": 2, "thrice": 3}}


class Result(Record):
    """Nothing is said of it."""


def run(dataset, seed, folder):
    return {arm: second(dataset, seed, folder, arm) for arm in RECIPE["times"]}


def waves(seeds):
    yield [Job(first, seed) for seed in seeds]
    yield [Job(second, seed, (arm,)) for seed in seeds for arm in RECIPE["times"]]


def first(dataset, seed, folder):
    """A long sum, and in how many threads it was made."""
    images = dataset.train.images.flatten(1)
    weights = torch.randn(images.shape[1], generator=torch.Generator().manual_seed(seed))
    meet(seed)
    return kept(folder / "first", lambda: (images @ weights).sum())


def second(dataset, seed, folder, arm):
    base = first(dataset, seed, folder)["number"]
    return kept(folder / arm, lambda: torch.tensor(base * RECIPE["times"][arm]))


def kept(path, number):
    def make():
        part = f"{path.parent.name} {path.name}"
        disturb(part)
        with open(cache_dir() / "made", "a") as file:
            file.write(f"{part} {os.getpid()}\n")
        return {"number": number(), "threads": torch.tensor(torch.get_num_threads())}

    found = cached_tensors(path.with_suffix(".safetensors"), make)
    return {name: float(found[name]) for name in ("number", "threads")}


def asked(what):
    path = cache_dir() / what
    return path.exists() and path.read_text()


def disturb(part):
    if part == asked("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if part == asked("break"):
        raise CourseError("an arm breaks")
    if part == asked("wait"):
        (cache_dir() / "waiting").write_text(str(os.getpid()))
        time.sleep(60)


def meet(seed):
    """Wait for the other of the first two seeds, which runs beside this one."""
    if asked("meet") is False or seed > 1:
        return
    (cache_dir() / f"here-{seed}").touch()
    end = time.monotonic() + 60
    while not (cache_dir() / f"here-{1 - seed}").exists():
        assert time.monotonic() < end, "the other seed does not run meanwhile"
        time.sleep(0.02)
