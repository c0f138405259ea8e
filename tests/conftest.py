"""What the tests share: how deep they go, a cache of their own, marks for what a machine may lack.

A test marked `deep` runs with --deep only; depth.py says what else that changes. One marked
`mnist`, `browser` or `gpu` is skipped where that is missing. With CI=true a missing MNIST or
Chromium is a failure instead, so that nothing goes untested unseen.
"""

import functools
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.chapters")  # its helpers too say what they found

from tests import depth  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--deep", action="store_true", help="every seed, example and `deep` test")


def pytest_configure(config):
    depth.DEEP = config.getoption("--deep")
    hypothesis.settings.load_profile("deep" if depth.DEEP else "few")
    give_a_cache(config)


# The short run draws the same examples each time, so that it is red for a reason that lies in a
# change; the deep one looks further.
hypothesis.settings.register_profile("few", deadline=None, max_examples=20, derandomize=True)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=100, derandomize=False)


def give_a_cache(config):
    """Give the session an empty cache, unless $SHRINK_CACHE names one; MNIST stays at hand."""
    if os.environ.get("SHRINK_CACHE"):
        return
    keep_mnist_at_hand()
    folder = tempfile.mkdtemp(prefix="shrink-tests-")
    os.environ["SHRINK_CACHE"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    config.add_cleanup(lambda: os.environ.pop("SHRINK_CACHE", None))


def keep_mnist_at_hand():
    """Name the user's own cache as $SHRINK_DATA where MNIST lies only there."""
    from shrink.classroom import mnist
    from shrink.classroom.cache import cache_dir

    given = Path(os.environ.get("SHRINK_DATA") or os.devnull, "mnist")
    if not any(given.glob("*.gz")) and (cache_dir() / "mnist").is_dir() and mnist.at_hand():
        os.environ["SHRINK_DATA"] = str(cache_dir())


DRIVES_A_BROWSER = ("test_browser.py", "test_busy.py", "test_other_front_ends.py", "test_access.py")
NOTEBOOKS = "test_notebooks.py"
OF_ALL_CHAPTERS = (NOTEBOOKS, "test_exercises.py")
LONGEST = (*DRIVES_A_BROWSER, NOTEBOOKS)  # minutes each: they begin, so that all end together


def pytest_collection_modifyitems(config, items):
    """Leave out what is too deep, and with workers begin with what takes longest."""
    if not depth.DEEP:
        config.hook.pytest_deselected(items=[i for i in items if i.get_closest_marker("deep")])
        items[:] = [i for i in items if not i.get_closest_marker("deep")]
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: [*LONGEST, item.path.name].index(item.path.name))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Who gets what: a file stays whole, so that what it trains is trained once."""
    from xdist.scheduler import LoadFileScheduling

    class Shared(LoadFileScheduling):
        """What drives a browser is one worker's; so is what runs a chapter, or asks its checks."""

        def _split_scope(self, nodeid):
            path, _, test = nodeid.partition("::")
            if Path(path).name in DRIVES_A_BROWSER:
                return "browser"
            if Path(path).name in OF_ALL_CHAPTERS and "[" in test:
                return path + re.match(r"\w+", test.partition("[")[2])[0]
            return path

    return Shared(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    for mark, lacks in LACKS.items():
        if item.get_closest_marker(mark) and (reason := lacks()):
            if mark != "gpu" and os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


@functools.cache
def lacks_mnist():
    from shrink.classroom import mnist

    return None if mnist.at_hand() else "MNIST is not at hand: run `shrink data mnist`"


@functools.cache
def lacks_browser():
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return None if find_chromium() else "Chromium is not installed, nor named by $CHROMIUM"


@functools.cache
def lacks_gpu():
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


LACKS = {"mnist": lacks_mnist, "browser": lacks_browser, "gpu": lacks_gpu}


def find_chromium():
    """The path of a Chromium: the one that $CHROMIUM names, or else the first on the path."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium():
    """The path of the Chromium that the browser tests drive."""
    path = find_chromium()
    assert path, "a test that asks for chromium is to be marked `browser`"
    return path
