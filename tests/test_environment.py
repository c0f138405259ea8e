"""The environment: what is tested is what the lock, and with it environment.yml, installs."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from shrink.cli import main
from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
LOCK = {r.name.lower().replace("_", "-"): r for r in map(Requirement, LINES)}
TESTS = """
import os, pytest
from hypothesis import settings as examples
from tests import depth
@pytest.mark.mnist
def test_mnist(): pass
@pytest.mark.browser
def test_browser(): pass
@pytest.mark.gpu
def test_gpu(): pass
@pytest.mark.deep
def test_deep(): pass
def test_how_deep(): print("seeds", *depth.seeds(30), "examples", examples().max_examples)
def test_cache(): print("cache", os.environ["SHRINK_CACHE"], os.environ.get("SHRINK_DATA"))
"""
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def test_the_lock_has_exact_versions_in_order():
    assert all(re.fullmatch(r"[\w-]+==[\w.]+( ; sys_platform != \"win32\")?", li) for li in LINES)
    assert sorted(LINES, key=str.lower) == LINES
    assert len(LOCK) == len(LINES)
    assert not LOCK.keys() & {"shrink", "pip", "setuptools"}


def test_the_lock_holds_every_dependency():
    extras = PROJECT["optional-dependencies"]
    wanted = [PROJECT["dependencies"], *(extras[name] for name in ("lab", "course", "test"))]
    for requirement in map(Requirement, itertools.chain(*wanted)):
        assert requirement.specifier.contains(str(LOCK[requirement.name].specifier)[2:])


def test_the_locked_versions_are_those_under_test():
    for name, requirement in LOCK.items():
        if requirement.marker is None or requirement.marker.evaluate():
            installed = metadata.version(name).partition("+")[0]  # torch says which build it is
            assert requirement.specifier.contains(installed), f"{name} {installed} is installed"


def test_environment_yml_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "shrink"
    python, pip, packages = environment["dependencies"]
    assert Requirement(python.replace("=", "==")).specifier.contains("3.11") and pip == "pip"
    assert packages == {"pip": ["-r requirements.lock", "-e ."]}
    assert "https://download.pytorch.org/whl/cpu" in (ROOT / "environment.yml").read_text()


BLOCKED = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
sys.meta_path.insert(0, Blocker())
import shrink.chapters
for module in pkgutil.walk_packages(shrink.chapters.__path__, "shrink.chapters."):
    importlib.import_module(module.name)
"""


def test_the_notebooks_need_no_extra():
    """No chapter, nor what it imports, asks for a package that comes with an extra."""
    extras = map(Requirement, itertools.chain(*PROJECT["optional-dependencies"].values()))
    names = {requirement.name.replace("-", "_") for requirement in extras}
    assert {"jupyterlab", "nbval", "pytest", "jupytext", "nbformat"} <= names
    command = [sys.executable, "-c", BLOCKED, *names]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["lab"], "jupyterlab", "lab"),
        (["update"], "nbformat", "lab"),
        (["check"], "nbval", "lab"),
        (["check"], "pytest", "lab"),
        (["check", "--strict"], "jupytext", "course"),
        (["build"], "jupytext", "course"),
        (["reproduce", "obd", "--dask", "tcp://localhost:8786"], "distributed", "dask"),
    ],
)
def test_a_command_that_needs_an_extra_says_which(monkeypatch, capsys, words, package, extra):
    def find(name, *_):
        return None if name == package else find_spec(name)

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert main([*words, "--root", str(ROOT)]) != 0
    told = capsys.readouterr().err
    assert told == f'shrink: {package} is not installed here: run `pip install "shrink[{extra}]"`\n'
    extras = PROJECT["optional-dependencies"][extra]
    assert package in {requirement.name for requirement in map(Requirement, extras)}


@pytest.fixture
def run_marked(tmp_path):
    """Runs pytest with our conftest on a test of each mark, where nothing is at hand."""

    folder = tmp_path / "tests"
    folder.mkdir()
    for name in ("__init__.py", "conftest.py", "depth.py"):
        (folder / name).write_bytes((ROOT / "tests" / name).read_bytes())
    (folder / "test_one.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  mnist\n  browser\n  gpu\n  deep\n")

    def run(*options, **environment):
        (tmp_path / "home").mkdir(exist_ok=True)
        dropped = ("CI", "CHROMIUM", "SHRINK_DATA", "SHRINK_CACHE", "PYTEST_ADDOPTS")
        clean = {name: value for name, value in os.environ.items() if name not in dropped}
        bare = {"PATH": os.devnull, "XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
        gpu = {"CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "pytest", "-rA", "-s", "-p", "no:cacheprovider", *options]
        ended = subprocess.run(
            command,
            env={**clean, **bare, **gpu, **environment},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return ended.stdout

    return run


def test_what_is_missing_is_skipped_with_the_reason(run_marked):
    told = run_marked()
    for reason in ("MNIST is not at hand", "Chromium is not installed", "no CUDA device"):
        assert re.search(rf"SKIPPED \[1\] .*{reason}", told)
    assert "2 passed, 3 skipped, 1 deselected" in told
    cache = re.search(r"cache (\S+) None", told)[1]
    assert "shrink-tests-" in cache and not Path(cache).exists()


def test_deep_asks_more_often_and_runs_what_is_marked(run_marked):
    told = run_marked()
    assert "::test_deep" not in told and "seeds 0 1 2 3 examples 20" in told
    told = run_marked("--deep")
    assert "PASSED test_one.py::test_deep" in told
    assert " 28 29 examples 100" in told


def test_in_ci_a_missing_gpu_is_skipped_and_all_else_is_a_failure(run_marked, tmp_path):
    told = run_marked(CI="true", SHRINK_CACHE=str(tmp_path / "mine"))
    for test, reason in (("mnist", "MNIST is not"), ("browser", "Chromium is not")):
        assert re.search(rf"(ERROR|FAILED) test_one.py::test_{test} - .*{reason}", told)
    assert re.search(r"SKIPPED \[1\] .*no CUDA device", told)
    assert f"cache {tmp_path / 'mine'} None" in told


@pytest.mark.mnist
def test_mnist_in_the_users_cache_is_found(run_marked, tmp_path):
    from shrink.classroom.book.doctor import mnist_folder

    (tmp_path / "home" / "shrink").mkdir(parents=True)
    (tmp_path / "home" / "shrink" / "mnist").symlink_to(mnist_folder().resolve())
    told = run_marked()
    assert "PASSED test_one.py::test_mnist" in told
    assert f"{tmp_path / 'home' / 'shrink'}\n" in told


def make(tmp_path, target, **variables):
    """`make target` in a folder with the Makefile and a python3 that only notes its arguments."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        if not (tmp_path / name).exists():
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = ["make", target, *(f"{name}={value}" for name, value in variables.items())]
    outer = ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")  # of the make that runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )


FAKE = """#!/bin/sh
echo "$@" >> "{log}"
case "$1 $2 $3" in
  "-m venv --clear") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && cp "$0" "$4/bin/shrink";;
  "--version  ") echo "Python 3.99";;
  "-m pip install") test ! -e "{log}.broken";;
esac
"""


@needs_make
def test_make_installs_once_and_starts_afresh_after_an_interrupted_install(tmp_path):
    log = tmp_path / "log"
    fake = tmp_path / "python"
    fake.write_text(FAKE.format(log=log))
    fake.chmod(0o755)
    broken = tmp_path / "log.broken"
    broken.touch()
    assert make(tmp_path, "lab", PYTHON=fake).returncode != 0
    broken.unlink()
    log.unlink()
    assert make(tmp_path, "lab", PYTHON=fake, ARGS="--port=1").returncode == 0
    words = log.read_text().splitlines()[1:]
    assert words == [
        "-m venv --clear .venv",
        "-m pip install -r requirements.lock",
        "-m pip install --no-deps -e .",
        "lab -- --port=1",
    ]
    log.unlink()
    assert make(tmp_path, "lab", PYTHON=fake).returncode == 0
    assert log.read_text().splitlines() == ["lab"]


@needs_make
def test_all_tests_run_on_each_end_of_the_supported_pythons_that_is_at_hand(tmp_path):
    for name in ("own", "python3.99"):
        (tmp_path / name).write_text(FAKE.format(log=tmp_path / "log"))
        (tmp_path / name).chmod(0o755)
    ends = "python3.99 python-that-is-not-here"
    ended = make(tmp_path, "test-all", PYTHON=tmp_path / "own", ENDS=ends, ARGS="-x")
    assert ended.returncode == 0, ended.stderr
    assert "then 10 each on: python3.99\n" in ended.stdout and "12 to 25 minutes" in ended.stdout
    words = (tmp_path / "log").read_text().splitlines()
    words = [line for line in words if line.startswith(("-m venv", "-m pytest"))]
    deep, short = (line for line in words if "pytest" in line)
    assert words == ["-m venv --clear .venv", deep, "-m venv --clear .venv-python3.99", short]
    assert deep.endswith("--deep -x") and short.endswith("-m not browser -x")


@needs_make
def test_make_names_the_pythons_it_can_use(tmp_path):
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ended = make(tmp_path, ".venv", PYTHON=old)
    assert ended.returncode != 0 and "needs Python 3.11 to 3.13" in ended.stderr
    assert not (tmp_path / ".venv").exists()
