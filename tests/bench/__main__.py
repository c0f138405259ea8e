"""`make bench`: the figures that the course quotes, as ratios within one run.

Machines are shared and noisy: each pair is timed in turns, A B A B, and medians are quoted. Names
as arguments choose figures: `make bench ARGS="masks browser-03"`, or `browser` for all of those.
`make bench ARGS=--write` runs all and writes them into course/measured.md.
"""

import argparse
import datetime
import itertools
import os
import platform
from collections.abc import Iterable
from functools import partial

import psutil
import torch

from tests import ROOT
from tests.bench import (
    allocating,
    chapters,
    coding,
    curvature,
    distilling,
    explorers,
    few_bits,
    library,
    quantized,
    side_by_side,
    surgery,
    synflow,
    tickets,
    xnor,
)
from tests.bench.rows import Row

MEASURED = ROOT / "course" / "measured.md"
BEGIN, END = "<!-- make bench -->", "<!-- end of make bench -->"
FIGURES = {
    "counts": library.counts,
    "masks": library.masks,
    "blocks": library.blocks,
    "surgery": surgery.beside_torch_pruning,
    "widths": surgery.widths,
    "curvature": curvature.diagonals,
    "curvature-large": curvature.large_diagonals,
    "synflow": synflow.beside_the_authors,
    "masks-held": tickets.masks_held,
    "side-by-side": side_by_side.trainings,
    "xnor": xnor.products,
    "sparse": library.sparse_products,
    "integers": quantized.inference,
    "quantizing": quantized.quantizing,
    "fake-quantizing": few_bits.fake_quantization,
    "allocating": allocating.allocations,
    "clustering": coding.clustering,
    "coding": coding.coding,
    "files": coding.files,
    "distilling": distilling.epochs,
    "png": library.png,
    "text": library.text,
    "explorers": explorers.explorers,
    **{f"browser-{name[:2]}": partial(chapters.browser, name) for name in chapters.EXPLORERS},
    "memory": chapters.memory,
}


def machine() -> str:
    """This machine in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    versions = f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}"
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, {gpu}; "
        f"{platform.system()}, {versions}"
    )


def table(rows: Iterable[Row], words: str, day: datetime.date) -> str:
    """The rows as measured.md shows them, with the machine that they were measured on."""
    lines = [
        f"Measured on {day} on a machine with {words}. Ratios are those of one run; times on "
        "another machine are others.",
        "",
        "| what | here | beside | |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def put_in(text: str, new: str) -> str:
    """The text with what stands between the two marks replaced."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def _figures(asked: str) -> list[str]:
    """The names of that figure, or of those that it begins with a dash behind."""
    found = [name for name in FIGURES if name == asked or name.startswith(f"{asked}-")]
    if not found:
        raise argparse.ArgumentTypeError(f"no figure {asked!r}; there are {', '.join(FIGURES)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", type=_figures, metavar="figure")
    parser.add_argument("--write", action="store_true", help="all of them, into course/measured.md")
    parser.add_argument(
        "--machine", help="the machine in words, for the table in course/measured.md"
    )
    args = parser.parse_args()
    if args.write and args.figures:
        parser.error("--write takes all figures")
    words = args.machine or machine()
    print(words)
    rows = []
    for name in itertools.chain(*args.figures) if args.figures else FIGURES:
        for row in FIGURES[name]():
            print(row, flush=True)
            rows.append(row)
    if args.write:
        text = put_in(
            MEASURED.read_text(encoding="utf-8"), table(rows, words, datetime.date.today())
        )
        MEASURED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
