"""A chapter outside JupyterLab: in Notebook 7, in Voilà, and as a page that nbconvert has written.

Each has a short copy: the set-up, the explorer, one check and a cell below it. All the rest is as
in JupyterLab, where every chapter runs whole (test_browser.py).
"""

import os
import subprocess
import sys

import pytest

from tests.chapters import jupyter
from tests.chapters.in_jupyterlab import Explorer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CHAPTER, EXPLORER = "02_prune", "explore_pruning(data"
SHORT = r"setup.*|explore.*|exercise-1(-\w+)?"
LAST = "print('this', 'is', 'the', 'end')"
SAID = "this is the end"


def test_in_notebook_7_the_explorer_moves_and_a_check_stops_nothing(run_chapter):
    with run_chapter(CHAPTER, only=SHORT, after=[LAST], at=jupyter.NOTEBOOK) as chapter:
        assert chapter.page.get_by_text(SAID).count() == 1
        explorer = chapter.explorer(EXPLORER)
        explorer.redraws_on(lambda: explorer.fill(0, "0.9"))
        explorer.sums_up("Sparsity 0.9:")
        explorer.redraws_on(lambda: explorer.key("ArrowRight"))
        explorer.sums_up("Sparsity 0.91:")
        explorer.shoot("notebook-7.png")


def test_in_voila_the_explorer_moves_and_a_check_ends_no_page(jupyterlab, chromium, tmp_path):
    path = jupyterlab.copy(CHAPTER, tmp_path.name, only=SHORT, after=[LAST])
    with jupyter.browser(chromium, tmp_path) as (page, _):  # offline it misses icons and MathJax
        page.goto(jupyterlab.url.format(path=f"{jupyter.VOILA}/{path}"))
        page.get_by_text(SAID).wait_for()
        page.get_by_role("status").filter(has_text="not done yet").wait_for()
        explorer = Explorer(page, page.locator(".shrink-explorer"))
        explorer.itself.wait_for()
        explorer.redraws_on(lambda: explorer.key("ArrowRight"))
        explorer.sums_up("Sparsity 0.51:")
        explorer.shoot("voila.png")


def test_a_page_of_nbconvert_shows_the_explorers_picture_offline(jupyterlab, chromium, tmp_path):
    path = jupyterlab.copy(CHAPTER, tmp_path.name, only=SHORT)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--allow-errors", "--to=html"]
    environment = {n: value for n, value in os.environ.items() if n != "PYTEST_VERSION"}
    environment |= {"SHRINK_DATASET": "glyphs", "JPY_SESSION_NAME": "a terminal in JupyterLab"}
    notebook = jupyterlab.root / path
    subprocess.run([*command, notebook], env=environment, capture_output=True, check=True)
    with jupyter.browser(chromium, tmp_path) as (page, _):
        page.context.set_offline(True)
        page.goto(notebook.with_suffix(".html").as_uri())
        picture = page.locator("img.shrink-figure")
        assert picture.evaluate("image => image.naturalWidth") > 500
        assert len(picture.get_attribute("alt").split()) > 5
        assert page.get_by_text("magnitude_mask: not done yet").count() == 1
        Explorer(page, picture).shoot("nbconvert.png")
