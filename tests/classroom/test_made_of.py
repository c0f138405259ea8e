"""The key of a thing moves with everything that went in, and with nothing else."""

import importlib
import linecache
import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import shrink
from shrink.classroom import training
from shrink.classroom.cache import kept, kept_path
from shrink.classroom.made_of import devices_in, fingerprint, key_of

WORK = '''
"""Prose."""
from shrink.beside import helper, HALF, other
from shrink.files import write_atomically

def work(x):
    """Prose."""
    return helper(x) * HALF
'''
BESIDE = """
HALF = 0.5
def helper(x):
    return x + 1
def other(x):
    return x
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Writes a module of ours and one it imports from, and gives its function's key."""
    monkeypatch.setattr(shrink, "__path__", [*shrink.__path__, str(tmp_path)])
    names = ("beside", "work")

    def key(work: str = WORK, beside: str = BESIDE) -> str:
        for name, source in zip(names, (beside, work), strict=True):
            (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
            sys.modules.pop(f"shrink.{name}", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return key_of(importlib.import_module("shrink.work").work)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield key
    for name in names:
        sys.modules.pop(f"shrink.{name}", None)
        vars(shrink).pop(name, None)


@dataclass
class Plan:
    epochs: int
    rate: float


PARTS = [
    None,
    1,
    True,
    1.0,
    "1",
    b"1",
    math.nan,
    torch.tensor([1, 2]),
    torch.tensor([1, 3]),
    torch.tensor([[1, 2]]),
    torch.tensor([1, 2], dtype=torch.int32),
    np.array([1, 2]),
    torch.tensor(1.0, dtype=torch.bfloat16),
    torch.float32,
    torch.device("cpu"),
    [1, 2],
    [[1], 2],
    {"a": 1},
    {"b": 1},
    Plan(1, 2.0),
    Plan(2, 2.0),
    training.train,
    training.Recipe,
    training,
    nn.Linear(2, 2),
    nn.Linear(2, 2),
    nn.Dropout(0.1),
    nn.Dropout(0.2),
]


def test_each_part_has_its_own_key_and_keeps_it():
    keys = [key_of(part) for part in PARTS]
    assert len(set(keys)) == len(PARTS)
    assert keys == [key_of(part) for part in PARTS]


def test_parts_do_not_run_into_each_other():
    assert key_of("ab", "c") != key_of("a", "bc") != key_of(["a", "bc"])
    assert key_of([1], 2) != key_of([1, 2])


def test_a_tensor_counts_by_its_numbers_and_not_by_how_they_lie_in_memory():
    x = torch.arange(6).reshape(2, 3)
    assert key_of(x.T) == key_of(x.T.contiguous()) != key_of(x)


@pytest.mark.parametrize(
    ("part", "named"),
    [({1}, "set"), (object(), "object"), (lambda: 1, "lambda"), ({"a": [{1}]}, "set")],
)
def test_what_has_no_key_is_named(part, named):
    with pytest.raises(TypeError, match=named):
        key_of(part)


def test_code_counts_with_all_of_ours_that_it_names(work):
    keys = {
        work(),
        work(WORK.replace("* HALF", "/ HALF")),
        work(beside=BESIDE.replace("x + 1", "x + 2")),
        work(beside=BESIDE.replace("0.5", "0.25")),
    }
    assert len(keys) == 4


def test_a_module_that_is_only_named_does_not_count(work):
    short = WORK.replace("from shrink.files", "import json as J\nfrom shrink.files")
    named = short.replace("return helper(x)", "return J and helper(x)")
    assert work(named) == work(named.replace("json as J", "math as J"))


def test_prose_and_what_it_does_not_name_do_not_count(work):
    assert work() == work(WORK.replace("Prose", "Other prose") + "\n# a comment\n")
    assert work() == work(beside=BESIDE.replace("return x\n", "return -x\n"))


def test_a_key_is_the_same_in_another_process():
    code = (
        "from shrink.classroom import training; from shrink.classroom.made_of import key_of; "
        "print(key_of(training.train, training.Recipe(3)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == key_of(training.train, training.Recipe(3))


@pytest.mark.parametrize("shape", [(7,), (300, 10), (40, 5, 6)])
def test_a_fingerprint_outlives_the_last_digits_and_nothing_else(shape):
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        numbers, noise = torch.randn(2, *shape, generator=generator)
        found = fingerprint(numbers)
        assert fingerprint(numbers * (1 + 1e-7 * noise)) == found
        others = (numbers + 1, numbers * 1.1, numbers.flip(0), numbers.roll(1, -1), -numbers)
        assert found not in [fingerprint(other) for other in others]
    assert fingerprint(torch.zeros(shape)) == (0.0,) * 6


def test_devices_are_found_wherever_a_tensor_is():
    there, meta = torch.zeros(1), torch.zeros(1, device="meta")
    parts = ("a", {"x": [there]}, nn.Linear(1, 1, device="meta"), Plan(1, there))
    assert devices_in(parts) == ["cpu", "meta"]
    assert devices_in(("a", 1)) == [] and devices_in(meta) == ["meta"]


def test_what_is_kept_is_made_once_for_the_same_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    made = []

    def make():
        made.append(1)
        return {"x": torch.tensor([len(made)])}

    assert kept("folder/thing", make, "a", 1)["x"] == 1
    assert kept("folder/thing", make, "a", 1)["x"] == 1
    assert kept("folder/thing", make, "a", 2)["x"] == 2
    assert len(list((tmp_path / "folder").glob("thing-*.safetensors"))) == 2


def test_what_is_kept_is_of_this_torch(monkeypatch):
    before = kept_path("x", 1)
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert kept_path("x", 1) != before
