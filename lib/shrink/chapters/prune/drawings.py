"""The figures that only chapter 02 draws."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from shrink.classroom import plots


def histogram(ax: Axes, weights: np.ndarray, threshold: float, *, title: str) -> None:
    """The weights' histogram, counts on a log scale, with what lies below the threshold shaded."""
    ax.hist(weights.ravel(), bins=101, log=True, color=plots.COLOURS["dense"])
    ax.axvspan(-threshold, threshold, color=plots.COLOURS["pruned"], alpha=0.3, lw=0)
    ax.set(xlabel="weight", ylabel="weights in the bin", title=title)


def dots(ax: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """A column of dots a group, its mean as a bar."""
    for i, values in enumerate(groups.values()):
        ax.plot([i] * len(values), values, "o", color=plots.COLOURS["pruned"], alpha=0.6)
        ax.hlines(np.mean(values), i - 0.25, i + 0.25, color="black")
    ax.set_xticks(range(len(groups)), [name.replace(" ", "\n") for name in groups])
