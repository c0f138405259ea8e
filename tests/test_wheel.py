"""The wheel stands alone: away from the repository a student can start, check and update."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests import ROOT

SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
SHRINK = [  # one command after the other, in one process
    sys.executable,
    "-c",
    "import sys, shrink.cli\nfor line in sys.argv[1:]: print(shrink.cli.main(line.split()))",
]
ANSWERED = """\
from shrink.chapters.prune import magnitude_mask

@magnitude_mask.answer
def magnitude_mask(weight, sparsity):
    raise NotImplementedError("your turn")"""
ONLY_THERE = "this needs its repository, the folder that holds course/, notebooks/ and pyproject"


def run(command, folder, **environment):
    taken_out = ("PYTHONPATH", "JPY_SESSION_NAME")
    kept = {name: value for name, value in os.environ.items() if name not in taken_out}
    return subprocess.run(
        command, cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What a wheel holds that is built from an sdist, unpacked; both are built without a network.

    The sources are copied first: a build writes beside them.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source, unpacked = folder / "source", folder / "unpacked"
    litter = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=litter)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "course/LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    built = run([sys.executable, "-c", SDIST, str(folder)], source)
    assert built.returncode == 0, built.stderr
    (sdist,) = folder.glob("*.tar.gz")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    built = run([sys.executable, "-m", "pip", "wheel", *options, str(sdist)], folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    zipfile.ZipFile(path).extractall(unpacked)
    return unpacked


def test_it_holds_the_notebooks_once_and_all_of_the_package(wheel):
    def names(folder, pattern):
        return {p.relative_to(folder).as_posix() for p in Path(folder).rglob(pattern)}

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (wheel / "shrink" / "notebooks" / path.name).read_bytes() == path.read_bytes()
    packaged = wheel / "shrink"
    assert len(names(packaged, "*.ipynb")) == len(names(ROOT / "notebooks", "*.ipynb"))
    for pattern in ("*.py", "*.json", "*.zip", "*.safetensors"):
        assert names(packaged, pattern) == names(ROOT / "lib" / "shrink", pattern)
    assert not (ROOT / "lib" / "shrink" / "notebooks").exists()


def test_a_student_starts_checks_and_updates_with_the_wheel_alone(wheel, tmp_path):
    """`jupyterlab --version` stands for the server: it ends."""
    work = tmp_path / "work"
    work.mkdir()
    cells = new_code_cell(ANSWERED), new_code_cell("magnitude_mask.check()")
    nbformat.write(new_notebook(cells=list(cells)), work / "02_prune.ipynb")
    words = ("check 2", "update", "lab -- --version")
    ended = run([*SHRINK, *words], tmp_path, PYTHONPATH=str(wheel), SHRINK_DATA=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout.splitlines()
    assert "  not done yet  magnitude_mask" in told and "01_measure: copied" in told
    assert f"your chapters are in {work}" in told
    assert told[-1] == metadata.version("jupyterlab")
    packaged = wheel / "shrink" / "notebooks" / "01_measure.ipynb"
    assert (work / "01_measure.ipynb").read_bytes() == packaged.read_bytes()


def test_what_needs_the_text_of_the_course_says_so_in_one_line(wheel, tmp_path):
    words = ("check --strict", "build", "prepare", "baselines glyphs")
    ended = run([*SHRINK, *words], tmp_path, PYTHONPATH=str(wheel))
    assert ended.stdout.split() == ["2", "1", "1", "1"]
    lines = ended.stderr.splitlines()
    assert len(lines) == len(words) and all(ONLY_THERE in line for line in lines)
