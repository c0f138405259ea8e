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
from shrink.chapters.code.view import CODES, STACK, Codes, View
from shrink.classroom import plots

SIZE = (6.4, 4.4)  # inches
DENSE = plots.COLOURS["dense"]
IN = {"fixed": "fixed codes", "huffman": "Huffman codes", "ans": "ANS"}
WIDTH = 30  # of a bar, points
HIGHEST = 12  # bits that a panel of codes shows; few symbols have longer codes
NAMED = 8  # symbols at most that are named in their bars
LETTER = 0.03  # of a panel's width, that a letter of a name takes
LINE = 2.1  # bits, that it is high


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    above, below = figure.add_gridspec(2, 1, height_ratios=(8, 9))
    gaps, values = below.subgridspec(1, 2).subplots()
    return {
        **_draw_bytes(figure.add_subplot(above)),
        "gaps": _draw_codes(gaps, COLOURS["gaps"]),
        "values": _draw_codes(values, COLOURS["values"]),
    }


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    bars = [  # one collection of thick lines a part: much faster than eight rectangles
        ax.vlines(
            GAP_BITS, 0, 1, lw=WIDTH * plots.SCALE, color=COLOURS.get(name, COLOURS[parts[0]])
        )
        for name, parts in STACK.items()
    ]
    least = ax.hlines(np.ones(8), np.array(GAP_BITS) - 0.45, np.array(GAP_BITS) + 0.45, color="k")
    frame = ax.bar([1], [1], 0.9, fill=False, ec="black", lw=1.6)
    texts = [ax.text(bits, 0, "", ha="center", va="bottom") for bits in GAP_BITS]
    ax.set(xticks=GAP_BITS, xlabel="gap bits", ylabel="KB", xlim=(0.4, 8.6), ylim=(0, 100))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    title = ax.set_title("bytes")
    colours = [bar.get_color()[0] for bar in bars]
    handles = [Line2D([], [], color="black"), *(Patch(color=colour) for colour in colours[::-1])]
    names = ["at the entropy", *list(STACK)[::-1]]  # from the top down, as they lie
    ax.legend(handles, names, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.2)
    return {
        "bars": bars,
        "least": least,
        "frame": frame[0],
        "fillers": texts,
        "byte_axis": ax.yaxis,
        "byte_title": title,
    }


def _draw_codes(ax: Axes, colour: str) -> dict[str, Any]:
    lengths = ax.stairs([1], [0, 1], fill=True, color=colour, alpha=0.55)
    edges = ax.vlines([0], 0, 1, color="white", lw=0.8)
    least = ax.stairs([1], [0, 1], baseline=None, color="black", lw=1.4, zorder=3)
    (fixed,) = ax.plot([0, 1], [0, 0], color=DENSE, ls="--")
    texts = [ax.text(0, 0, "", ha="center", va="bottom") for _ in range(NAMED)]
    black = Line2D([], [], color="black", lw=1.4)
    ax.legend(
        [fixed, lengths, black],
        ["fixed", "Huffman", "deserved"],
        loc="upper left",
        labelspacing=0.2,
        handlelength=1.4,
        borderaxespad=0,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1.3 * HIGHEST), yticks=range(0, HIGHEST + 1, 3), ylabel="bits")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.set_xlabel("share, the commonest first, %")
    return {
        "lengths": lengths,
        "edges": edges,
        "least": least,
        "fixed": fixed,
        "texts": texts,
        "title": ax.set_title("codes"),
    }


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_bytes(artists, view)
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
    artists["byte_axis"].axes.set_ylim(0, 1.15 * top)
    artists["least"].set_segments(
        [
            [(bits - 0.45, y), (bits + 0.45, y)]
            for bits, y in zip(GAP_BITS, view.least / 1000, strict=True)
        ]
    )
    here = GAP_BITS.index(view.gap_bits)
    artists["frame"].set(x=view.gap_bits - 0.45, height=floor[here])
    for text, height, share in zip(
        artists["fillers"], floor, view.fillers / np.maximum(view.entries, 1), strict=True
    ):
        text.set(y=height + 0.01 * top, text=f"{100 * share:.2g} %")
    artists["byte_title"].set_text(
        f"the file in {IN[view.code]}, {view.sparsity} % pruned; above each bar its fillers"
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
    artists["title"].set_text(_mean_of(view, what, codes))


def _mean_of(view: View, what: str, codes: Codes) -> str:
    """The title of a panel of codes: bits on average by the code on show, beside the entropy."""
    if not codes.symbols:
        return f"{view.layer} has no zeros, and so no {what}"
    bits = {"fixed": codes.fixed, "huffman": codes.huffman, "ans": codes.ans}[view.code]
    return f"{view.layer} {what}: {CODES[view.code]} {bits:.3g}, entropy {codes.entropy:.3g}"


def _name_symbols(texts: list[Text], codes: Codes, ends: np.ndarray, ideal: np.ndarray) -> None:
    """Write symbols into their bars, or above them where a bar is low."""
    for i, text in enumerate(texts):
        name = codes.symbols[i] if i < len(codes.symbols) else ""
        if not name or codes.share[i] < LETTER * len(name):
            text.set_text("")
            continue
        inside = min(codes.lengths[i], ideal[i]) > LINE
        low = 0 if inside else max(codes.lengths[i], ideal[i])
        if low < codes.fixed < low + LINE and not inside:
            low = codes.fixed  # above that line, not across it
        text.set(position=((ends[i] + ends[i + 1]) / 2, low + 0.1), text=name)
