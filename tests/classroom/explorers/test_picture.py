"""The picture: what never moves, what seldom does, and what moves upon them."""

import io

import numpy as np
import pytest
from PIL import Image

from shrink.classroom.explorers.picture import Held, Picture

SIZE = (2, 1)


class Lines:
    """A level that is held and a dot that moves, of (level, x); and where the level went."""

    def __init__(self, held=True, fails=lambda level: False):
        self.held, self.fails = held, fails
        self.moves = []

    def draw(self, figure, result):
        ax = figure.subplots()
        ax.set(xlim=(0, 10), ylim=(0, 10))
        level = [ax.axhline(0, color="red", lw=8, zorder=9 if self.held else 1)]
        return {"level": Held(level) if self.held else level, "dot": ax.plot([], [], "o", ms=9)[0]}

    def update(self, artists, result):
        level, x = result
        artists["dot"].set_data([x], [5])
        if self.held:
            artists["level"].show(level, lambda lines: self.move(lines, level))
        else:
            self.move(artists["level"], level)

    def move(self, lines, level):
        self.moves.append(level)
        lines[0].set_ydata([level] * 2)
        if self.fails(level):
            raise ValueError("on the way")

    def picture(self):
        return Picture(self.draw, self.update, SIZE)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_what_is_held_is_drawn_as_if_it_were_not():
    for result in ((2, 3), (2, 9), (7, 9), (7, 1), (2, 1)):
        held, free = Lines().picture(), Lines(held=False).picture()
        for before in ((1, 1), (8, 2), result):
            shown = held.of(before), free.of(before)
        assert (pixels(shown[0]) == pixels(shown[1])).all(), result


def test_what_is_held_moves_only_when_it_shows_something_else():
    lines = Lines()
    picture = lines.picture()
    seen = [picture.of(result) for result in ((2, 3), (2, 9), (7, 9), (7, 1), (2, 1), (2, 3))]
    assert lines.moves == [2, 7, 2]
    assert seen[0] == seen[-1] and len(set(seen)) == 5


def test_what_is_held_lies_below_what_moves():
    shown = pixels(Lines().picture().of((5, 5)))
    middle = shown[shown.shape[0] // 2 - 2 : shown.shape[0] // 2 + 2]
    assert (middle[..., 2] > middle[..., 0]).any(), "the dot is not to be seen on the red line"


def test_after_an_error_what_is_held_is_moved_again():
    broken = {7}
    lines = Lines(fails=broken.__contains__)
    picture = lines.picture()
    picture.of((2, 3))
    with pytest.raises(ValueError, match="on the way"):
        picture.of((7, 3))
    broken.clear()
    assert picture.of((7, 3)) == Lines().picture().of((7, 3))
    assert lines.moves == [2, 7, 7]
