"""What the tests of several chapters share: small data for explorers, and one JupyterLab."""

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def nothing_beforehand():
    """Explorers compute what is asked for, and no more."""
    from shrink.classroom.explorers import ahead

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "STOPS", 0)
        yield


@pytest.fixture(scope="module")
def digits():
    from shrink.classroom import data

    return data.load("digits", announce=False)


@pytest.fixture(scope="module")
def small_chapter(request):
    """The module `small` beside the test file."""
    return importlib.import_module(f"{request.module.__package__}.small")


@pytest.fixture(scope="module")
def cache(small_chapter, tmp_path_factory) -> Iterator[Path]:
    """A cache of the test file's own; its chapter is as small as its `prepare` makes it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHRINK_CACHE", str(folder))
        small_chapter.prepare(patch)
        yield folder


@pytest.fixture
def no_answers(small_chapter) -> Iterator[None]:
    """None of the chapter's EXERCISES has an answer after the test."""
    from tests.chapters.small import forget_answers

    yield
    forget_answers(small_chapter.EXERCISES)


@pytest.fixture
def controls(explorer):
    """The controls of the test file's explorer at their first values, and there again after."""
    before = explorer.values
    yield explorer.controls
    for name, value in before.items():
        explorer.controls[name].value = value


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory) -> Iterator:
    """The server, on glyphs. Kernels take the cache that the tests share."""
    from tests.chapters import in_jupyterlab, jupyter  # they need playwright

    root = tmp_path_factory.mktemp("work")
    settings = {"OMP_WAIT_POLICY": "PASSIVE", "SHRINK_DATASET": "glyphs"}
    with jupyter.server(root, tmp_path_factory.mktemp("lab"), **settings) as url:
        yield in_jupyterlab.Lab(root, url)


@pytest.fixture
def run_chapter(jupyterlab, chromium, tmp_path) -> Callable:
    """`with run_chapter("02_prune") as chapter:` runs it in JupyterLab; see Lab.chapter."""
    return partial(jupyterlab.chapter, chromium=chromium, scratch=tmp_path)
