"""The figures that only chapter 01 draws."""

import itertools
from collections.abc import Hashable, Mapping

import numpy as np
from matplotlib.axes import Axes


def roofline(
    ax: Axes,
    flops: float,
    ceilings: Mapping[str, float],
    points: Mapping[str, Mapping[str, tuple[float, float]]],
) -> None:
    """The roofs of a machine, and groups of named points under them.

    `flops` is the roof of arithmetic in operations a second, `ceilings` those of memories by name
    in bytes a second; a point has operations per byte, and operations a second.
    """
    x = np.geomspace(0.1, 1000, 200)
    for (name, bandwidth), style in zip(ceilings.items(), itertools.cycle(["-", ":", "--"])):
        label = f"roof: {name}, arithmetic"
        ax.plot(x, np.minimum(flops, bandwidth * x) / 1e9, style, color="black", label=label)
    every = {(group, name): at for group, some in points.items() for name, at in some.items()}
    heights = spread(every, apart=1.35, near=2)
    for (group, some), marker in zip(points.items(), itertools.cycle("os^Dv")):
        intensity, speed = np.array(list(some.values())).T
        (drawn,) = ax.plot(intensity, speed / 1e9, marker, label=group, alpha=0.8)
        for name, x in zip(some, intensity, strict=True):
            at = 1.22 * x, heights[group, name] / 1e9
            ax.text(*at, name, va="center", fontsize="small", color=drawn.get_color())
    ax.set(xscale="log", yscale="log", xlabel="operations per byte")
    ax.set_ylabel("billion operations a second")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def spread(
    places: Mapping[Hashable, tuple[float, float]], apart: float, near: float
) -> dict[Hashable, float]:
    """Heights of the names of points (x, y): theirs, or lower by `apart` than a name above.

    Both are factors, as the axes are logarithmic: names stand in each other's way where x differs
    by less than a factor `near`.

    >>> spread({"a": (1, 8.0), "b": (1, 7.0), "c": (10, 7.5)}, apart=2, near=3)
    {'a': 8.0, 'c': 7.5, 'b': 4.0}
    """
    heights: dict[Hashable, float] = {}
    for name, (x, y) in sorted(places.items(), key=lambda place: -place[1][1]):
        above = [h for other, h in heights.items() if 1 / near < places[other][0] / x < near]
        heights[name] = min([y, *(h / apart for h in above)])
    return heights
