"""The figures that only chapter 01 draws."""

import itertools
from collections.abc import Mapping

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
