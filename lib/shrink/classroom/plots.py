"""The one style of the course's figures, and the figures that chapters draw.

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
# Where an estimate's energy goes, out of the same palette: memory blue, the dearer the darker.
ENERGY_COLOURS = {"arithmetic": "#D55E00", "SRAM": "#56B4E9", "DRAM": "#0072B2"}
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
    "{filter:invert(0.9) hue-rotate(180deg)}</style>"
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
        data = base64.b64encode(buffer.getvalue()).decode()
        return (
            f'{STYLE_SHEET}<img class="shrink-figure" alt="{html.escape(self.alt)}" '
            f'src="data:image/png;base64,{data}">'
        )


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


def histogram(ax: Axes, weights: np.ndarray, threshold: float, *, title: str) -> None:
    """The weights' histogram, counts on a log scale, with what lies below the threshold shaded."""
    ax.hist(weights.ravel(), bins=101, log=True, color=COLOURS["dense"])
    ax.axvspan(-threshold, threshold, color=COLOURS["pruned"], alpha=0.3, lw=0)
    ax.set(xlabel="weight", ylabel="weights in the bin", title=title)


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
    ax.set_ylim(5, 99.7)
    ax.set_ylabel("accuracy, %")


def curves(
    ax: Axes,
    x: np.ndarray,
    ys: Mapping[str, Sequence[float]],
    baseline: tuple[str, float] | None = None,
) -> None:
    """One line a name, with a legend; the baseline is a dashed grey line across.

    Lines differ in their markers as well as in their colours.
    """
    for (name, y), marker in zip(ys.items(), itertools.cycle("os^Dv")):
        ax.plot(x, y, marker=marker if len(x) <= 25 else None, ms=4, label=name)
    if baseline is not None:
        ax.axhline(baseline[1], color=COLOURS["dense"], ls="--", label=baseline[0])
    if len(ys) + (baseline is not None) > 1:
        ax.legend(fontsize="small")


def bars(ax: Axes, names: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    """Groups of bars side by side, one group a name, one colour and hatch a key of `values`."""
    width = 0.8 / len(values)
    for i, ((label, heights), hatch) in enumerate(zip(values.items(), itertools.cycle(["", "//"]))):
        places = np.arange(len(names)) + (i - (len(values) - 1) / 2) * width
        drawn = ax.bar(places, heights, width, label=label, hatch=hatch, edgecolor="white")
        ax.bar_label(drawn, fmt="%.3g", fontsize="small")
    ax.set_xticks(range(len(names)), names)
    ax.legend(fontsize="small", ncols=len(values))


def roofline(
    ax: Axes,
    flops: float,
    ceilings: Mapping[str, float],
    points: Mapping[str, Mapping[str, tuple[float, float]]],
) -> None:
    """The roofs of a machine, and groups of named points under them.

    `flops` is the roof of arithmetic in operations a second, `ceilings` those of memories by name
    in bytes a second; a point has operations a byte, and operations a second.
    """
    x = np.geomspace(0.1, 1000, 200)
    for (name, bandwidth), style in zip(ceilings.items(), itertools.cycle(["-", ":", "--"])):
        label = f"roof: {name}, arithmetic"
        ax.plot(x, np.minimum(flops, bandwidth * x) / 1e9, style, color="black", label=label)
    for (name, some), marker in zip(points.items(), itertools.cycle("os^Dv")):
        intensity, speed = np.array(list(some.values())).T
        (drawn,) = ax.plot(intensity, speed / 1e9, marker, label=name, alpha=0.8)
        for text, *at in zip(some, intensity, speed / 1e9, strict=True):
            ax.annotate(
                text,
                at,
                (6, -3),
                textcoords="offset points",
                fontsize="x-small",
                color=drawn.get_color(),
            )
    ax.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="10⁹ operations a second")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def dots(ax: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """A column of dots a group, its mean as a bar."""
    for i, values in enumerate(groups.values()):
        ax.plot([i] * len(values), values, "o", color=COLOURS["pruned"], alpha=0.6)
        ax.hlines(np.mean(values), i - 0.25, i + 0.25, color="black")
    ax.set_xticks(range(len(groups)), [name.replace(" ", "\n") for name in groups])


def files_of_seeds(
    ax: Axes,
    recipes: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]],
    paper: tuple[float, float],
) -> None:
    """Errors in % over the bytes of files, on a log scale: a dot a seed, a line through the means.

    Args:
        recipes: two, name → bytes and errors, each a row a file and a number a seed.
        paper: bytes and error of the paper's file, a star.
    """
    colours = (COLOURS["dense"], COLOURS["coded"])
    for (name, found), colour, marker in zip(recipes.items(), colours, "so", strict=True):
        sizes, errors = map(np.array, found)
        ax.plot(sizes.ravel(), errors.ravel(), marker, color=colour, ms=4 * SCALE, mew=0, alpha=0.6)
        ax.plot(sizes.mean(1), errors.mean(1), marker=marker, ms=0, color=colour)
        ax.plot([], [], f"{marker}-", color=colour, ms=4 * SCALE, label=name)
    ax.plot(*paper, "*", color=COLOURS["fine-tuned"], ms=11 * SCALE, label="the paper's")
    highest = max(paper[1], *(max(map(max, errors)) for _, errors in recipes.values()))
    ax.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %")
    ax.set_ylim(0, 1.1 * highest)
    marks = [2_000, 5_000, 10_000, 20_000, 50_000]
    ax.set_xticks(marks, [f"{mark:,}" for mark in marks])
    ax.set_xticks([], minor=True)
    ax.legend(fontsize="small")


def stages(ax: Axes, sizes: Mapping[str, int], beside: Mapping[str, int], whole: int) -> None:
    """Bytes stage by stage, from the top down: each bar what is left, its pale end what that saved.

    `beside` are other sizes to compare with, in grey. Each bar has its bytes, and how many times
    it is shorter than `whole`.
    """
    before = 0
    for i, (name, size) in enumerate([*sizes.items(), *beside.items()]):
        end = size
        if name in sizes:
            end, before = max(before, size), size
        colour = COLOURS["coded" if name in sizes else "dense"]
        ax.barh(i, size / 1000, 0.6, color=colour)
        ax.barh(i, (end - size) / 1000, 0.6, size / 1000, color=colour, alpha=0.25)
        ratio = "" if size == whole else f", {whole / size:.1f}x"
        ax.text(end / 1000, i, f" {size:,} bytes{ratio}", va="center", fontsize="small")
    ax.set_yticks(range(len(sizes) + len(beside)), [*sizes, *beside])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max([*sizes.values(), *beside.values()]) / 1000)
    ax.set_xlabel("KB")


def code_tree(
    ax: Axes, codes: Sequence[str], names: Sequence[str], shares: Sequence[float]
) -> None:
    """The tree of a prefix code: a step down is a bit, 0 to the left and 1 to the right.

    Args:
        codes: texts of 0 and 1 that end at a leaf each, "" for no leaf.
        names: what stands below each leaf.
        shares: the part of all symbols that the leaf stands for: the area of its dot.
    """
    leaves = sorted(leaf for leaf in zip(codes, names, shares, strict=True) if leaf[0])
    place = {code: (float(i), len(code)) for i, (code, *_) in enumerate(leaves)}
    inner = {code[:end] for code in place for end in range(len(code))}
    for node in sorted(inner, key=len, reverse=True):
        below = [place[node + bit][0] for bit in "01" if node + bit in place]
        place[node] = (float(np.mean(below)), len(node))
    for node, (x, depth) in place.items():
        if node:
            (above, _), bit = place[node[:-1]], node[-1]
            ax.plot([above, x], [depth - 1, depth], "-" if bit == "1" else ":", color="black", lw=1)
    for code, name, share in leaves:
        x, depth = place[code]
        ax.scatter(x, depth, s=600 * share * SCALE**2, color=COLOURS["coded"], zorder=3)
        ax.annotate(
            name,
            (x, depth),
            (0, -10 * SCALE),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="top",
            fontsize="x-small",
        )
    deepest = max((depth for _, depth in place.values()), default=0)
    ax.set(yticks=range(deepest + 1), ylim=(deepest + 1.6, -0.3), xticks=[], ylabel="bits")
    ax.spines["bottom"].set_visible(False)
