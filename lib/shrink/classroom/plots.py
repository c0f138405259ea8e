"""The one style of the course's figures, and the figures that several chapters draw.

Importing this sets matplotlib's defaults, once: a student's own figures look like the course's.
Nothing here uses pyplot. Functions take arrays and return a `Plot`.
"""

import base64
import html
import io
import itertools
import os
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind people can tell apart; one colour a technique.
COLOURS = {
    "dense": "#777777",
    "pruned": "#0072B2",
    "fine-tuned": "#D55E00",
    "quantized": "#009E73",
    "shared": "#CC79A7",
    "coded": "#E69F00",
    "distilled": "#56B4E9",
}
ALL = "#949494"  # of what others are a part; seen on a light ground and on a dark one
PAPER = {"fc": "white", "ec": "none", "pad": 0.5}  # a box under words that lines cross
SCALE = 1.35 if os.environ.get("SHRINK_PROJECT") == "1" else 1.0  # for a projector

mpl.rcParams.update(
    {
        "font.size": 9 * SCALE,
        "axes.titlesize": 9.5 * SCALE,
        "lines.linewidth": 1.5 * SCALE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values())[1:]),
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 100,
    }
)

# Figures are drawn on white; on a dark theme the lightness is turned over and the hue kept.
STYLE_SHEET = (
    "<style>[data-jp-theme-light='false'] img.shrink-figure,"
    "[data-jp-theme-light='false'] .shrink-figure img"
    "{filter:invert(0.9) hue-rotate(180deg) brightness(1.2)}</style>"
)


class Plot(Figure):
    """A figure that a notebook shows as a PNG with a text alternative, on light and dark themes."""

    def __init__(self, *args: object, alt: str = "", **kwargs: object) -> None:
        super().__init__(*args, layout="constrained", **kwargs)
        FigureCanvasAgg(self)
        self.alt = alt

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return image_html(buffer.getvalue(), self.alt)


def image_html(png: bytes, alt: str) -> str:
    """A picture as HTML that needs nothing else, with its text alternative."""
    data = base64.b64encode(png).decode()
    image = f'alt="{html.escape(alt)}" src="data:image/png;base64,{data}"'
    return f'{STYLE_SHEET}<img class="shrink-figure" {image}>'


def new(panels: int = 1, *, alt: str, width: float = 4.5, height: float = 2.8) -> tuple[Plot, list]:
    """An empty plot of one to three panels side by side, each `width` by `height` inches."""
    plot = Plot(figsize=(width * panels * SCALE, height * SCALE), alt=alt)
    return plot, list(np.atleast_1d(plot.subplots(1, panels)))


def digits(images: np.ndarray, captions: Sequence[str] | None = None) -> Plot:
    """A row of images (n, 28, 28) as dark ink on white, with a caption above each."""
    captions = captions or [""] * len(images)
    size = (0.8 * len(images) * SCALE, 1.1 * SCALE)
    plot = Plot(figsize=size, alt="digits: " + ", ".join(captions))
    for ax, image, caption in zip(plot.subplots(1, len(images)), images, captions, strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
        ax.set_title(caption, loc="center")
    return plot


def accuracy_axis(ax: Axes) -> None:
    """Make y the accuracy in %, stretched towards 100 so that 97 and 98 stand apart.

    The scale is the logarithm of the error, upside down.
    """
    ax.set_yscale(
        "function",
        functions=(
            lambda accuracy: -np.log10(np.clip(100 - accuracy, 0.1, None)),
            lambda height: 100 - 10.0**-height,
        ),
    )
    ax.set_yticks([10, 50, 80, 90, 95, 98, 99, 99.5])
    ax.set_yticks([], minor=True)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_ylim(5, 99.7)
    ax.set_ylabel("accuracy, %")


def curves(
    ax: Axes,
    x: np.ndarray,
    ys: Mapping[str, Sequence[float]],
    baseline: tuple[str, float] | None = None,
) -> None:
    """One line per name, with a legend; the baseline is a dashed grey line across.

    Lines differ in their markers as well as in their colours.
    """
    for (name, y), marker in zip(ys.items(), itertools.cycle("os^Dv")):
        ax.plot(x, y, marker=marker if len(x) <= 25 else None, ms=4, label=name)
    if baseline is not None:
        ax.axhline(baseline[1], color=COLOURS["dense"], ls="--", label=baseline[0])
    if len(ys) + (baseline is not None) > 1:
        ax.legend(fontsize="small")


def bars(ax: Axes, names: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    """Groups of bars: one group per name, one colour and hatch per key of `values`."""
    width = 0.8 / len(values)
    for i, ((label, heights), hatch) in enumerate(zip(values.items(), itertools.cycle(["", "//"]))):
        places = np.arange(len(names)) + (i - (len(values) - 1) / 2) * width
        drawn = ax.bar(places, heights, width, label=label, hatch=hatch, edgecolor="white")
        ax.bar_label(drawn, fmt="%.3g", fontsize="small")
    ax.set_xticks(range(len(names)), names)
    ax.legend(fontsize="small", ncols=len(values))
