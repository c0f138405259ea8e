"""The chapters in a real browser: what a student waits for, and the memory it takes."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Page

from shrink.classroom import mnist
from shrink.classroom.book.update import copy_missing
from tests import ROOT
from tests.bench.rows import Row, goal
from tests.chapters import jupyter
from tests.conftest import find_chromium

EXPLORERS = {  # and their sliders that are moved, by number
    "01_measure": ("explore_costs(", {"memory": 0}),
    "02_prune": ("explore_pruning(", {"sparsity": 0}),
    "03_quantize": ("explore_quantization(", {"bits": 0, "clip": 2}),
    "04_share": ("explore_sharing(", {"k": 0}),
    "05_code": ("explore_coding(", {"gap bits": 0, "sparsity": 1}),
    "06_distil": ("explore_distillation(", {"temperature": 0, "bias": 1}),
    "07_structure": ("explore_structure(", {"kept": 0}),
    "08_saliency": ("explore_saliency(", {"deleted": 0}),
    "09_tickets": ("explore_tickets(", {"round": 0}),
    "10_few_bits": ("explore_few_bits(", {"bits": 0}),
    "11_mixed": ("explore_mixed(", {"budget": 0, "fc": 6}),
}
PATIENCE = {"glyphs": 100, "mnist": 150}  # ms from a key press to the pixels, 95 of 100 times
PROCESSES = {"jupyterlab": "server", "ipykernel_launcher": "kernel"}


def browser(chapter: str) -> Iterator[Row]:
    """A chapter once to fill the cache, once to be timed from its top and by the keyboard."""
    if find_chromium() is None:
        yield Row(f"chapter {chapter[:2]} in a browser", "not measured", "no Chromium", "")
        return
    call, sliders = EXPLORERS[chapter]
    for name in ["glyphs", "mnist"] if mnist.at_hand() else ["glyphs"]:
        os.environ["SHRINK_DATASET"] = name
        for _ in ("networks and sweeps into the cache", "to be timed"):
            with _session(chapter) as page:
                first = jupyter.run_until_figure(page, call)
                jupyter.show_cell(page, call)
                explorer = jupyter.cell(page, call)
                times = {
                    slider: jupyter.key_to_pixels(page, 40, number, explorer)
                    for slider, number in sliders.items()
                }
        where = f"chapter {chapter[:2]} on {name}"
        yield Row(
            f"{where}, cache warm, from the top to its explorer",
            f"{first:.1f} s",
            *goal(first, 15, "s"),
        )
        for slider, found in times.items():
            median, p95 = statistics.median(found), np.percentile(found, 95)
            yield Row(
                f"{where}, key press on {slider} to new pixels, median and p95",
                f"{median:.0f} and {p95:.0f} ms",
                *goal(p95, PATIENCE[name], "ms"),
            )


def memory() -> Iterator[Row]:
    """The most memory that a student's server and kernel each took, added up (Linux only)."""
    if find_chromium() is None or not Path("/proc/self/status").exists():
        yield Row("memory of a student", "not measured", "needs Linux and Chromium", "")
        return
    for name in ["glyphs", "mnist"] if mnist.at_hand() else ["glyphs"]:
        os.environ["SHRINK_DATASET"] = name
        for chapter in EXPLORERS:
            with _session(chapter) as page:
                began = time.perf_counter()
                jupyter.run_all(page)
                seconds = time.perf_counter() - began
                peaks = _peaks()
            parts = " and ".join(f"{kind} {peaks[kind]:.0f} MB" for kind in PROCESSES.values())
            yield Row(
                f"chapter {chapter[:2]} on {name}, memory of a student, every cell run",
                f"{sum(peaks.values()):.0f} MB",
                parts,
                f"run in {seconds:.0f} s",
            )


def _peaks() -> dict[str, float]:
    """The peak resident memory in MB of the server and the kernel that this process started."""
    peaks = dict.fromkeys(PROCESSES.values(), 0.0)
    for process in psutil.Process().children(recursive=True):
        command = " ".join(process.cmdline())
        for word, kind in PROCESSES.items():
            if word in command:
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                peaks[kind] += int(peak.split()[1]) * 1024 / 1e6
    return peaks


@contextmanager
def _session(chapter: str) -> Iterator[Page]:
    """A page in which the chapter is open, as students get it."""
    scratch = Path(tempfile.mkdtemp(prefix="shrink-bench-"))
    try:
        copy_missing(ROOT / "notebooks", scratch / "work")
        with (
            jupyter.server(scratch / "work", scratch / "lab") as url,
            jupyter.browser(find_chromium(), scratch) as (page, _),
        ):
            jupyter.open_notebook(page, url, f"{chapter}.ipynb")
            yield page
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
