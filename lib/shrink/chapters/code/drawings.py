"""The figures that only chapter 05 draws."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from shrink.classroom import plots


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
        ax.scatter(x, depth, s=600 * share * plots.SCALE**2, color=plots.COLOURS["coded"], zorder=3)
        ax.annotate(
            name,
            (x, depth),
            (0, -10 * plots.SCALE),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="top",
            fontsize="x-small",
        )
    deepest = max((depth for _, depth in place.values()), default=0)
    ax.set(yticks=range(deepest + 1), ylim=(deepest + 1.6, -0.3), xticks=[], ylabel="bits")
    ax.spines["bottom"].set_visible(False)


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
        colour = plots.COLOURS["coded" if name in sizes else "dense"]
        ax.barh(i, size / 1000, 0.6, color=colour)
        ax.barh(i, (end - size) / 1000, 0.6, size / 1000, color=colour, alpha=0.25)
        ratio = "" if size == whole else f", {whole / size:.1f}x"
        ax.text(end / 1000, i, f" {size:,} bytes{ratio}", va="center", fontsize="small")
    ax.set_yticks(range(len(sizes) + len(beside)), [*sizes, *beside])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max([*sizes.values(), *beside.values()]) / 1000)
    ax.set_xlabel("KB")


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
    colours = (plots.COLOURS["dense"], plots.COLOURS["coded"])
    for (name, found), colour, marker in zip(recipes.items(), colours, "so", strict=True):
        sizes, errors = map(np.array, found)
        ax.plot(
            sizes.ravel(),
            errors.ravel(),
            marker,
            color=colour,
            ms=4 * plots.SCALE,
            mew=0,
            alpha=0.6,
        )
        ax.plot(sizes.mean(1), errors.mean(1), marker=marker, ms=0, color=colour)
        ax.plot([], [], f"{marker}-", color=colour, ms=4 * plots.SCALE, label=name)
    ax.plot(
        *paper, "*", color=plots.COLOURS["fine-tuned"], ms=11 * plots.SCALE, label="the paper's"
    )
    highest = max(paper[1], *(max(map(max, errors)) for _, errors in recipes.values()))
    ax.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %")
    ax.set_ylim(0, 1.1 * highest)
    marks = [2_000, 5_000, 10_000, 20_000, 50_000]
    ax.set_xticks(marks, [f"{mark:,}" for mark in marks])
    ax.set_xticks([], minor=True)
    ax.legend(fontsize="small")
