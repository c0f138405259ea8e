"""An explorer of a dot on a line, on which the frame is tested."""

import io
import time

import ipywidgets as widgets
import numpy as np
from PIL import Image

from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job


def draw(figure, result):
    ax = figure.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 1), title="where it is")
    (dot,) = ax.plot([result], [0.5], "o")
    return {"dot": dot, "more": [ax.bar([1, 2], [0, 0]), ax.text(5, 0.5, "")]}


def update(artists, x):
    artists["dot"].set_data([x], [0.5])
    bars, text = artists["more"]
    for bar in bars:
        bar.set_height(x / 10)
    text.set_text(f"{x:g}")


def explorer(compute=lambda x: x, *, draw=draw, update=update, more=None, job=None, **controls):
    """`more` are other arguments of the explorer."""
    slider = widgets.FloatSlider(2, min=0, max=10, step=0.5, description="x")
    return Explorer(
        compute,
        draw,
        update,
        lambda x: f"x is <b>{x:g}</b>",
        controls={"x": slider, **controls},
        job=job,
        size=(3, 2),
        alt=lambda x: f"A dot at x < {x + 1:g}",
        **(more or {}),
    )


def pixels(it):
    return np.asarray(Image.open(io.BytesIO(it.image.value)).convert("RGB"))


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def inside(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


class Trying:
    """An explorer of a number, a kind, and a job's number, with tries; what was computed."""

    def __init__(self, *tries, hidden=lambda values: ()):
        self.seen = []
        self.kind = widgets.ToggleButtons(options=[("one", 1), ("two", 2)], description="kind")
        self.epochs = widgets.IntSlider(3, min=1, max=9, step=2, description="epochs")
        self.times = widgets.FloatLogSlider(5, base=2, min=0, max=4, step=1, description="times")
        self.it = explorer(
            self.compute,
            more={"tries": tries, "hidden": hidden},
            job=Job("Go", lambda *_: None, {"epochs": self.epochs}),
            kind=self.kind,
            times=self.times,
        )

    def compute(self, x, kind, times):
        self.seen.append((x, kind, times))
        return x

    def press(self, label):
        next(w for w in inside(self.it) if getattr(w, "description", "") == label).click()
