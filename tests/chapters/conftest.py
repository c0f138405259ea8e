"""One JupyterLab for all tests that open a chapter in a browser."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest


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
