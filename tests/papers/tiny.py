"""A paper whose jobs take no time: each leaves a number in its file, and says that it was made.

A file named "slow" in the folder makes jobs wait; "wrong" makes those of that arm fail.
"""

import os
import signal
import time
from functools import partial

import torch

from shrink.classroom import CourseError
from shrink.classroom.cache import cached_tensors
from shrink.papers.jobs import Job
from shrink.papers.tables import Record

RECIPE = {"arms": ["twice", "thrice"], "size": 300}


class Result(Record):
    def __str__(self):
        return "tiny"


def run(dataset, seed, folder):
    return {arm: second(dataset, seed, folder, arm) for arm in RECIPE["arms"]}


def waves(seeds):
    yield [Job(first, seed) for seed in seeds]
    yield [Job(second, seed, (arm,)) for seed in seeds for arm in RECIPE["arms"]]


def first(dataset, seed, folder):
    """A sum of so many numbers that its last digits show how many threads made it."""

    def make():
        torch.manual_seed(seed)
        images = dataset.train.images.flatten(1)
        weights = torch.randn(images.shape[1], RECIPE["size"])
        return {"sum": (images @ weights).sum(), "threads": torch.tensor(torch.get_num_threads())}

    return _kept(folder / "first", make)


def second(dataset, seed, folder, arm):
    def make():
        base = first(dataset, seed, folder)
        return {"number": base["sum"] * (2 + RECIPE["arms"].index(arm)), "of": base["threads"]}

    return {name: float(t) for name, t in sorted(_kept(folder / arm, make).items())}


def _kept(path, make):
    return cached_tensors(path.with_suffix(".safetensors"), partial(_noted, path, make))


def _noted(path, make):
    """Make it, and write into the seed's file `made` what was made and by which process."""
    at = path.parent.parent
    path.parent.mkdir(parents=True, exist_ok=True)
    if (at / "killed").exists() and (at / "killed").read_text() == path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if (at / "wrong").exists() and (at / "wrong").read_text() == path.name:
        raise CourseError("the arm is wrong")
    if (at / "slow").exists():
        time.sleep(float((at / "slow").read_text()))
    found = make()
    with open(path.parent / "made", "a") as file:
        file.write(f"{path.name} {os.getpid()}\n")
    return found
