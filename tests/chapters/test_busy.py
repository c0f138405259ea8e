"""An explorer answers while the cells below it run, as everyone's do after Run All."""

import nbformat
import pytest

from tests.chapters import jupyter

pytestmark = pytest.mark.browser

EXPLORER = """
import time
import ipywidgets
from shrink.classroom.explorers.explorer import Explorer

explorer = Explorer(
    lambda s, kind: (s, kind),
    lambda figure, shown: {"point": figure.subplots().plot([0], [0], "o")},
    lambda artists, shown: artists["point"][0].set_xdata([shown[0] / 1000]),
    lambda shown: f"s is {shown[0]}, kind {shown[1]}",
    controls={
        "s": ipywidgets.IntSlider(6, min=0, max=10, description="s"),
        "kind": ipywidgets.ToggleButtons(options=["one", "two"]),
    },
    size=(4, 2),
    alt=lambda _: "s",
)
explorer
"""
MOVED_BY_A_CELL = "explorer.controls['s'].value = 7"
WAITING = [f"time.sleep({seconds})" for seconds in (4, 4, 4)]


@pytest.fixture
def url(tmp_path):
    """JupyterLab on a notebook with an explorer and long cells below it."""
    cells = [EXPLORER, MOVED_BY_A_CELL, *WAITING]
    notebook = nbformat.v4.new_notebook(
        cells=list(map(nbformat.v4.new_code_cell, cells)),
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    root = tmp_path / "work"
    root.mkdir()
    nbformat.write(notebook, root / "busy.ipynb")
    with jupyter.server(root, tmp_path / "lab") as url:
        yield url


@pytest.mark.timeout(120)
def test_controls_answer_while_the_cells_below_are_busy(url, chromium, tmp_path, record_property):
    with jupyter.browser(chromium, tmp_path) as (page, errors):
        jupyter.open_notebook(page, url, "busy.ipynb")
        jupyter.start_all(page)
        page.get_by_text("s is 7, kind one").wait_for(timeout=60_000)
        times = jupyter.key_to_pixels(page, presses=3)
        page.get_by_role("button", name="two").click()
        page.get_by_text("kind two").wait_for(timeout=2_000)
        busy = page.evaluate("() => window.finished === undefined")
        print("key press to pixels beside busy cells, ms:", [round(t) for t in times])
        record_property("key_to_pixels_busy_ms", times)
        assert busy and max(times) < 2000, times
        assert errors == []
