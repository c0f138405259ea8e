"""A chapter that runs from top to bottom in a browser, and its explorer in a student's hands."""

import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page

from tests import ROOT
from tests.chapters import jupyter
from tests.chapters.small import HIGH

_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => ({
    source: cell.model.sharedModel.source,
    outputs: cell.model.outputs ? cell.model.outputs.toJSON() : [],
}))"""
_MAKE_ROOM = """() => {
    const [commands, toggle] = [window.jupyterapp?.commands, 'application:toggle-left-area'];
    return commands?.hasCommand(toggle) && commands.execute(toggle);
}"""
_SHUT_DOWN = "() => jupyterapp.serviceManager.sessions.shutdownAll()"
_NEEDED = """explorer => {
    const words = document.createTreeWalker(
        explorer.querySelector('.shrink-summary'), NodeFilter.SHOW_TEXT).nextNode();
    const range = document.createRange();
    range.selectNodeContents(words);
    return range.getClientRects()[0].bottom - explorer.getBoundingClientRect().top;
}"""
_CHECK = re.compile(r"(\w+)\.check\(\)")


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs: the folder that it serves, and its URL."""

    root: Path
    url: str

    @contextmanager
    def chapter(
        self,
        name: str,
        *,
        chromium: str,
        scratch: Path,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        only: str = ".*",
        at: str = jupyter.LAB,
    ) -> Iterator["Chapter"]:
        """Run a chapter as students get it, in a new browser; look at the end for what went wrong.

        `before`, `after` and `only` are those of `copy`; `at` is `LAB` or `NOTEBOOK`. Each of the
        chapter's checks must have shown that it is not done yet, and no cell an exception or a
        warning.
        """
        path = self.copy(name, scratch.name, before=before, after=after, only=only)
        with jupyter.browser(chromium, scratch) as (page, errors):
            jupyter.open_notebook(page, self.url, path, at)
            if at == jupyter.NOTEBOOK:
                page.evaluate("() => jupyterapp.restored")
                errors.clear()  # Notebook 7.6 has one of its own, with an empty notebook too
            try:
                jupyter.run_all(page)
                chapter = Chapter(page)
                chapter.assert_checks_wait()
                yield chapter
                chapter.assert_no_errors()
                assert errors == []
            finally:
                page.evaluate(_SHUT_DOWN)

    def copy(
        self,
        name: str,
        folder: str,
        *,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        only: str = ".*",
    ) -> str:
        """Write a student's copy of a chapter into a new folder; its path, as the server has it.

        Args:
            before, after: sources of cells that stand around it.
            only: what is left in it: the cells whose ids match.
        """
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        kept = [cell for cell in notebook.cells if re.fullmatch(only, cell.id)]
        cell = nbformat.v4.new_code_cell
        notebook.cells = [*map(cell, before), *kept, *map(cell, after)]
        (self.root / folder).mkdir()
        nbformat.write(notebook, self.root / folder / f"{name}.ipynb")
        return f"{folder}/{name}.ipynb"


@dataclass(frozen=True)
class Chapter:
    """The chapter on the page."""

    page: Page

    def explorer(self, call: str) -> "Explorer":
        """The explorer of the code cell whose source holds `call`, scrolled into view."""
        jupyter.show_cell(self.page, call)
        itself = jupyter.cell(self.page, call).locator(".shrink-explorer")
        itself.wait_for()
        explorer = Explorer(self.page, itself)
        explorer.fits_a_laptop()
        return explorer

    def assert_checks_wait(self) -> None:
        """Each check shows its panel: not done yet."""
        checks = [(_CHECK.fullmatch(c["source"]), c["outputs"]) for c in self._cells()]
        shown = [(match[1], str(outputs)) for match, outputs in checks if match]
        assert shown
        for name, panel in shown:
            assert "not done yet" in panel and name in panel, f"{name}.check() shows {panel}"

    def assert_no_errors(self) -> None:
        """No cell shows an exception or a warning."""
        for cell in self._cells():
            for output in cell["outputs"]:
                assert output["output_type"] != "error", (cell["source"], output)
                assert output.get("name") != "stderr", (cell["source"], output)

    def _cells(self) -> list[dict]:
        return self.page.evaluate(_CELLS)


@dataclass(frozen=True)
class Explorer:
    """An explorer as a student uses it: sliders by keyboard, boxes, buttons, and what it says."""

    page: Page
    itself: Locator

    @property
    def summary(self) -> str:
        return self.itself.locator(".shrink-summary").inner_text()

    def says(self, words: str | re.Pattern) -> None:
        """Wait until these words stand in it, where all can read them."""
        self.itself.locator("> :not(.shrink-alt)").get_by_text(words).wait_for()

    def fits_a_laptop(self) -> None:
        """At 1280 by 800 all from the first control to the summary's first line is in view."""
        assert self.page.viewport_size["width"] == 1280
        assert self.itself.evaluate(_NEEDED) <= HIGH

    def box(self, number: int) -> Locator:
        """The number box of the slider of this number, from 0 on."""
        return self.itself.locator("input[type=number]").nth(number)

    def fill(self, number: int, value: str) -> None:
        """Type a value into a slider's number box."""
        self.box(number).fill(value)
        self.box(number).press("Enter")

    def button(self, name: str) -> Locator:
        """The first button of exactly this name."""
        return self.itself.get_by_role("button", name=name, exact=True).first

    def press(self, name: str, says: str | re.Pattern | None = None) -> None:
        """Press a button, and wait until the explorer says what it should."""
        self.button(name).click()
        if says:
            self.says(says)

    def key(self, name: str, slider: int = 0) -> None:
        """Press a key on a slider."""
        self.itself.locator(jupyter.SLIDER).nth(slider).focus()
        self.page.keyboard.press(name)

    def key_to_pixels(self, presses: int, record_property=None) -> None:
        """Press arrow keys on the first slider: each brings a new picture, and no label is cut.

        The times are printed and recorded.
        """
        times = sorted(jupyter.key_to_pixels(self.page, presses, explorer=self.itself))
        median, p95 = statistics.median(times), times[int(0.95 * len(times))]
        print(f"key press to pixels: median {median:.0f} ms, p95 {p95:.0f} ms")
        if record_property:
            record_property("key_to_pixels_ms", {"median": median, "p95": p95})
        assert len(times) >= presses
        assert self.cut_off() == []

    def cut_off(self) -> list[str]:
        """The labels and buttons whose words do not fit."""
        return self.itself.locator(".widget-label, button").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
        )

    def answers_and_stops(self, key: str) -> None:
        """Long work has begun: meanwhile a key on the first slider brings a picture; then Stop."""
        drawn = self.page.evaluate("() => window.times.length")
        self.key(key)
        self.page.wait_for_function("n => window.times.length > n", arg=drawn)
        self.stop()

    def sums_up(self, words: str) -> None:
        """Wait until the summary holds these words; it comes after the picture."""
        self.itself.locator(".shrink-summary", has_text=words).wait_for()

    def redraws_on(self, act: Callable[[], None]) -> None:
        """Do something, and wait until it has brought another picture."""
        picture = self.itself.locator(jupyter.FIGURE)
        before = picture.get_attribute("src")
        act()
        self.page.wait_for_function(
            "([picture, before]) => picture.src !== before", arg=[picture.element_handle(), before]
        )

    def stop(self) -> None:
        """Stop long work before it ends by itself."""
        self.button("Stop").click()
        self.itself.get_by_text("stopped", exact=True).wait_for()

    def mine_and_reference(self) -> None:
        """Without an answer *mine* says so in the error panel, which *reference* takes away."""
        self.press("mine", says="has no answer of yours")
        self.press("reference")
        self.no_error()

    def no_error(self) -> None:
        """Wait until the error panel is gone."""
        self.itself.locator(".shrink-error pre").wait_for(state="detached")

    def shoot(self, name: str) -> None:
        """Keep a picture when `$SHRINK_SCREENSHOTS` names a folder."""
        if folder := os.environ.get("SHRINK_SCREENSHOTS"):
            self.page.evaluate(_MAKE_ROOM)
            self.itself.evaluate("element => element.scrollIntoView({block: 'center'})")
            self.page.wait_for_timeout(500)
            self.page.screenshot(path=Path(folder) / name)
