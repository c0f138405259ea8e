"""The first minute: `shrink lab`, its URL, one click, and a slider that moves."""

import shutil
import sys
import time

import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

SHRINK = [sys.executable, "-c", "import sys, shrink.cli as c; sys.exit(c.main())"]
RUN = '[data-command="notebook:run-cell-and-select-next"]'
KERNEL = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
SLIDER = f".shrink-explorer {jupyter.SLIDER}"


@pytest.fixture
def url(tmp_path):
    """What `shrink lab` serves of a new clone."""
    root = tmp_path / "course"
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    (root / "course").mkdir()
    (root / "pyproject.toml").touch()
    command = [*SHRINK, "lab", "--root", str(root), "--", "--expose-app-in-browser"]
    no_mnist = {"SHRINK_DATA": str(tmp_path), "SHRINK_PROJECT": ""}
    with jupyter.started(command, tmp_path, **no_mnist) as url:
        yield url


@pytest.mark.timeout(180)
def test_from_the_url_to_a_slider_that_moves_it_is_one_click(
    url, chromium, tmp_path, record_property
):
    with jupyter.browser(chromium, tmp_path) as (page, errors):
        began = time.monotonic()
        page.goto(url.format(path=""))
        page.locator(f"{RUN} >> nth=0").wait_for()
        page.get_by_text("Begin with 01 Measure").wait_for()
        page.wait_for_function(KERNEL)  # it has started with the server
        page.locator(f"{RUN} >> nth=0").click()
        page.locator(SLIDER).wait_for()
        assert page.locator(SLIDER).bounding_box()["y"] < 300  # nothing has scrolled it away
        page.locator(SLIDER).focus()
        page.keyboard.press("ArrowRight")
        page.get_by_text("23,958 of 266,200 weights").wait_for()
        seconds = time.monotonic() - began
        print(f"from the URL to a slider that has moved: {seconds:.1f} s")
        record_property("first_minute_s", seconds)
        assert page.url.partition("?")[0].endswith("/lab/tree/00_start.ipynb")
        assert page.get_by_text("official Jupyter news").count() == 0
        assert errors == []
