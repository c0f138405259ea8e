"""The figure of chapter 05's explorer of codes: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from shrink.chapters.code.parts import COLOURS
from shrink.chapters.code.sizes import GAP_BITS
from shrink.chapters.code.view import STACK, TUNED_AT, Codes, View
from shrink.classroom import plots

DENSE, PRUNED, TUNED = (plots.COLOURS[name] for name in ("dense", "pruned", "fine-tuned"))
IN = {"fixed": "fixed codes", "huffman": "Huffman codes", "ans": "ANS"}
WIDTH = 31  # of a bar, points
HIGHEST = 12  # bits that a panel of codes shows; few symbols have longer codes
NAMED = 14  # symbols at most that are named in their bars
WIDE = 0.07  # of a panel, that a name has room
SMALL, TINY = "small", "x-small"


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(6, 5))
    above = rows[0].subgridspec(1, 2, width_ratios=(6, 4)).subplots()
    below = rows[1].subgridspec(1, 2).subplots()
    return {
        **_draw_bytes(above[0]),
        **_draw_accuracy(above[1], view),
        "gaps": _draw_codes(below[0], COLOURS["gaps"]),
        "values": _draw_codes(below[1], COLOURS["values"]),
    }


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    bars = [  # one collection of thick lines a part: much faster than eight rectangles
        ax.vlines(
            GAP_BITS, 0, 1, lw=WIDTH * plots.SCALE, color=COLOURS.get(name, COLOURS[parts[0]])
        )
        for name, parts in STACK.items()
    ]
    least = ax.hlines(np.ones(8), np.array(GAP_BITS) - 0.45, np.array(GAP_BITS) + 0.45, color="k")
    frame = ax.bar([1], [1], 0.8, fill=False, ec="black", lw=1.6)
    texts = [ax.text(bits, 0, "", ha="center", va="bottom", fontsize=TINY) for bits in GAP_BITS]
    ax.set(xticks=GAP_BITS, xlabel="gap bits", ylabel="KB", xlim=(0.4, 8.6), ylim=(0, 100))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    title = ax.set_title("bytes")
    colours = [bar.get_color()[0] for bar in bars]
    handles = [*(Patch(color=colour) for colour in colours), Line2D([], [], color="black")]
    ax.legend(
        handles,
        [*STACK, "at the entropy"],
        loc="upper right",
        ncols=2,
        fontsize=TINY,
        columnspacing=1,
        handlelength=1.2,
    )
    return {
        "bars": bars,
        "least": least,
        "frame": frame[0],
        "fillers": texts,
        "byte_axis": ax.yaxis,
        "byte_title": title,
    }


def _draw_accuracy(ax: Axes, view: View) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    x = view.stops
    dense = ax.axhline(50, color=DENSE, ls="--", label="dense, float32")
    pruned, tuned = (
        ax.plot(x, x, shape, color=colour, ms=3, label=label)[0]
        for shape, colour, label in (
            ("o-", PRUNED, "pruned and shared only"),
            ("s-", TUNED, f"fine-tuned at {TUNED_AT} %, then the same"),
        )
    )
    (marker,) = ax.plot([], [], "o", ms=9, mec="white")
    ax.set(
        xlabel="sparsity, %", xlim=(48.5, 99.5), xticks=[50, 60, 70, 80, TUNED_AT, 98], ylabel=""
    )
    title = ax.set_title("accuracy")
    ax.legend(loc="lower left", fontsize=TINY)
    return {"dense": dense, "accuracy": [pruned, tuned, marker], "accuracy_title": title}


def _draw_codes(ax: Axes, colour: str) -> dict[str, Any]:
    lengths = ax.stairs([1], [0, 1], fill=True, color=colour, alpha=0.55)
    edges = ax.vlines([0], 0, 1, color="white", lw=0.8)
    least = ax.stairs([1], [0, 1], baseline=None, color="black", lw=1.4, zorder=3)
    (fixed,) = ax.plot([0, 1], [0, 0], color=DENSE, ls="--")
    texts = [ax.text(0, 0, "", ha="center", va="bottom", fontsize=TINY) for _ in range(NAMED)]
    black = Line2D([], [], color="black", lw=1.4)
    ax.legend(
        [fixed, lengths, black],
        ["fixed", "Huffman", "entropy: log2(1 / share)"],
        loc="upper left",
        ncols=3,
        fontsize=TINY,
        columnspacing=1,
        handlelength=1.4,
        borderaxespad=0.1,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1.12 * HIGHEST), yticks=range(0, HIGHEST + 1, 3), ylabel="bits")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.set_xlabel("share of the symbols, the most frequent first, %")
    return {
        "lengths": lengths,
        "edges": edges,
        "least": least,
        "fixed": fixed,
        "texts": texts,
        "title": ax.set_title("codes", fontsize=SMALL),
    }


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_bytes(artists, view)
    pruned, tuned, marker = artists["accuracy"]
    pruned.set_ydata(100 * view.accuracies[0])
    tuned.set_ydata(100 * view.accuracies[1])
    marker.set_data([view.sparsity], [100 * view.accuracy])
    marker.set_color(TUNED if view.tuned else PRUNED)
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    artists["accuracy_title"].set_text(f"accuracy, %, with {view.k} values a layer and 0")
    for what, codes in zip(("gaps", "values"), view.codes, strict=True):
        _update_codes(artists[what], view, what, codes)


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    floor = np.zeros(len(GAP_BITS))
    for bars, stacked in zip(artists["bars"], view.stacked.values(), strict=True):
        upper = floor + np.nan_to_num(stacked) / 1000
        ends = zip(GAP_BITS, floor, upper, strict=True)
        bars.set_segments([[(bits, low), (bits, high)] for bits, low, high in ends])
        floor = upper
    top = 1.08 * max(floor.max(), view.least.max() / 1000)
    artists["byte_axis"].axes.set_ylim(0, 1.4 * top)
    artists["least"].set_segments(
        [
            [(bits - 0.45, y), (bits + 0.45, y)]
            for bits, y in zip(GAP_BITS, view.least / 1000, strict=True)
        ]
    )
    here = GAP_BITS.index(view.gap_bits)
    artists["frame"].set(x=view.gap_bits - 0.4, height=floor[here])
    for text, height, share in zip(
        artists["fillers"], floor, view.fillers / np.maximum(view.entries, 1), strict=True
    ):
        text.set(y=height + 0.01 * top, text=f"{100 * share:.3g} %")
    artists["byte_title"].set_text(
        f"the file in {IN[view.code]}: on each bar, the share of fillers"
    )


def _update_codes(artists: Mapping[str, Any], view: View, what: str, codes: Codes) -> None:
    count = len(codes.symbols)
    share = codes.share if count else np.ones(1)
    ends = np.concatenate([[0.0], share.cumsum()])
    lengths = codes.lengths if count else np.zeros(1)
    artists["lengths"].set_data(lengths, ends)
    ideal = np.log2(1 / share)
    apart = np.minimum(share[1:], share[:-1]) > 0.012  # narrower ones would be white all over
    artists["edges"].set_segments(
        [[(x, 0), (x, n)] for x, n in zip(ends[1:-1][apart], lengths[1:][apart], strict=True)]
    )
    artists["least"].set_data(ideal, ends)
    artists["fixed"].set_ydata([codes.fixed] * 2)
    _name_symbols(artists["texts"], codes, ends, ideal)
    averages = ", ".join(f"{name} {x:.2f}" for name, x in codes.averages)
    artists["title"].set_text(
        f"{view.layer}'s {what}, bits each: fixed {codes.fixed}, {averages}"
        if count
        else f"{view.layer} has no zeros, and so no {what}"
    )


def _name_symbols(texts: list[Text], codes: Codes, ends: np.ndarray, ideal: np.ndarray) -> None:
    """Write symbols and codes into their bars, or above them where a bar is low."""
    for i, text in enumerate(texts):
        named = i < len(codes.symbols) and codes.share[i] >= WIDE
        text.set_text(f"{codes.symbols[i]}\n{codes.codes[i]}" if named else "")
        if named:
            inside = min(codes.lengths[i], ideal[i]) > 0.2 * HIGHEST
            low = 0 if inside else max(codes.lengths[i], ideal[i])
            if low < codes.fixed < low + 0.2 * HIGHEST and not inside:
                low = codes.fixed  # above that line, not across it
            text.set_position(((ends[i] + ends[i + 1]) / 2, low + 0.02 * HIGHEST))
