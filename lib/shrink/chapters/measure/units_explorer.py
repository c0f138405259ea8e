"""The small explorer at the top of chapter 01: units against multiply-accumulates and time."""

import ipywidgets as widgets
import torch

from shrink.chapters.measure.units import MOST, UnitsLab, describe, summarise
from shrink.chapters.measure.units_figure import draw, update
from shrink.classroom.explorers.controls import wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.training import pick_device


def explore_units(device: torch.device | str | None = None) -> Explorer:
    """A network of one hidden layer; its time is measured on `device`, by default the best one."""
    lab = UnitsLab(torch.device(device) if device else pick_device())
    units = widgets.FloatLogSlider(
        MOST, base=2, min=0, max=MOST.bit_length() - 1, step=1, description="units", **wide(420)
    )
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls={"units": units},
        size=(8.0, 1.6),
        alt=describe,
    )
