"""Jupyter in a real Chromium: a server of its own, a page, a notebook run from top to bottom."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, sync_playwright

_CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WATCH = """image => {
    window.times = [];
    window.pressed = undefined;
    document.addEventListener('keydown', () => { window.pressed = performance.now() }, true);
    window.watching?.disconnect();
    window.watching = new MutationObserver(async () => {
        if (window.pressed === undefined) return;  // no key has asked for this picture
        try {
            await image.decode();
        } catch {
            return;  // a newer picture has taken its place
        }
        requestAnimationFrame(() => window.times.push(performance.now() - window.pressed));
    });
    window.watching.observe(image, {attributes: true, attributeFilter: ['src']});
}"""
_RUN_ALL = """async () => {
    await jupyterapp.restored;
    const notebook = jupyterapp.shell.currentWidget;
    await notebook.context.ready;
    await notebook.revealed;
    await notebook.context.sessionContext.ready;
    return await jupyterapp.commands.execute('notebook:run-all-cells');
}"""
_SHOW = """async text => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const index = notebook.widgets.findIndex(c => c.model.sharedModel.source.includes(text));
    await notebook.scrollToItem(index, 'center').catch(() => {});  // another scroll came between
}"""
_ENDS = ("min", "now", "max")
LAB, NOTEBOOK, VOILA = "lab/tree", "notebooks", "voila/render"  # what begins their paths
SLIDER = ".noUi-handle"
FIGURE = "img.shrink-figure.widget-image"
PATIENCE = 60_000  # ms until a wait is given up: a busy machine is slow, and what comes ends it


@contextmanager
def server(root: Path, scratch: Path, *, dark: bool = False, **environment: str) -> Iterator[str]:
    """JupyterLab on a free local port, with settings of its own; the URL takes a path as {path}.

    Notebook 7 and Voilà answer there too, under their own paths. The kernels have the test's
    environment and what `environment` adds.
    """
    settings = scratch / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    if dark:
        (settings / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", "--allow-root"]
    command += [f"--ServerApp.root_dir={root}", "--expose-app-in-browser"]
    command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
    with started(command, scratch, **environment) as url:
        yield url


@contextmanager
def started(command: Sequence[str], scratch: Path, **environment: str) -> Iterator[str]:
    """The server that the command starts, on a free local port; the URL takes a path as {path}.

    It has the test's environment and what `environment` adds, and folders of its own for what a
    user has in theirs.
    """
    folders = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    given = {**os.environ, **environment}
    given |= {name: str(scratch / folder) for name, folder in folders.items()}
    given.pop("PYTEST_VERSION", None)  # the kernel is a live one, not nbval's
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(12)
    where = [f"--port={port}", "--ServerApp.port_retries=0", "--no-browser"]
    where += [f"--IdentityProvider.token={token}"]
    url = f"http://127.0.0.1:{port}"
    log = scratch / "server.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [*command, *where], env=given, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(f"{url}/api/status?token={token}", process, log)
        yield f"{url}/{{path}}?token={token}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise TimeoutError(log.read_text())


@contextmanager
def browser(chromium: str, scratch: Path) -> Iterator[tuple[Page, list[str]]]:
    """A page in headless Chromium, and the list in which its console errors arrive."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            scratch / "profile",
            executable_path=chromium,
            headless=True,
            args=list(_CHROMIUM),
            viewport={"width": 1280, "height": 1000},
        )
        page, errors = context.pages[0], []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda m: errors.append(_where(m)) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
        yield page, errors
        context.close()


def _where(message: ConsoleMessage) -> str:
    return f"{message.text} ({message.location['url']}:{message.location['lineNumber']})"


def open_notebook(page: Page, url: str, name: str, at: str = LAB) -> None:
    """Open a notebook in JupyterLab, or at `NOTEBOOK`; wait until its session can be asked for."""
    page.goto(url.format(path=f"{at}/{name}") + "&reset")
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context?.sessionContext")


def run_all(page: Page) -> None:
    """Run every cell of the open notebook; a cell that raises is an AssertionError."""
    if not page.evaluate(_RUN_ALL):
        raise AssertionError("a cell raised: " + page.locator(".jp-Notebook").inner_text()[-800:])


def start_all(page: Page) -> None:
    """Begin to run every cell; the page's `window.finished` says when they have run."""
    page.evaluate(f"() => {{ ({_RUN_ALL})().finally(() => {{ window.finished = true; }}); }}")


def cell(page: Page, text: str) -> Locator:
    """The code cell whose source holds the text, with its output."""
    return page.locator(".jp-CodeCell", has_text=text)


def show_cell(page: Page, text: str) -> None:
    """Scroll to the first cell whose source holds the text; JupyterLab keeps no others attached."""
    page.evaluate(_SHOW, text)


def run_until_figure(page: Page, text: str) -> float:
    """Seconds from the command to run every cell to the pixels of the explorer in that cell."""
    page.evaluate("async () => { await jupyterapp.restored; window.began = performance.now(); }")
    start_all(page)
    for _ in range(3000):
        show_cell(page, text)
        figure = cell(page, text).locator(FIGURE)
        if figure.count() and figure.first.evaluate("image => image.naturalWidth > 100"):
            break
        page.wait_for_timeout(100)
    seconds = page.evaluate("() => (performance.now() - window.began) / 1000")
    page.wait_for_function("() => window.finished", timeout=300_000)
    return seconds


def key_to_pixels(
    page: Page, presses: int, slider: int = 0, explorer: Locator | None = None
) -> list[float]:
    """Milliseconds from each arrow key on a slider to the new pixels on screen.

    It moves right, and turns where it ends. `explorer` may be left out where there is but one.
    """
    explorer = explorer or page.locator("body")
    figure = explorer.locator(FIGURE).first
    figure.wait_for()
    handle, key = explorer.locator(SLIDER).nth(slider), "ArrowRight"
    handle.focus()
    figure.evaluate(_WATCH)
    for i in range(presses):
        low, now, high = (float(handle.get_attribute(f"aria-value{e}")) for e in _ENDS)
        key = {low: "ArrowRight", high: "ArrowLeft"}.get(now, key)
        page.keyboard.press(key)
        page.wait_for_function("n => window.times.length >= n", arg=i + 1)
        page.wait_for_timeout(60)
    return page.evaluate("() => window.times")
