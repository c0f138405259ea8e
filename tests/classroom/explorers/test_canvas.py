"""The explorer's canvas: its text is where Agg's own is, and is drawn once."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shrink.classroom import plots  # noqa: F401  (sets the course's fonts)
from shrink.classroom.explorers import canvas
from shrink.classroom.explorers.canvas import Canvas

LINES = (
    "no fixed efficient AVATAR, 3.25 %",
    "  two  spaces ",
    "10⁹ → 10",
    "\N{MINUS SIGN} \N{MINUS SIGN}",
    "jf jfg qj|",
    "",
)
LIMIT = 255 / 4 + 12  # an eighth of a pixel each way, and a rounding: that part of an edge's colour


def drawn(kind, *texts, dpi=100, **style):
    """A figure with texts, (x, y, words, style) each, its pixels as integers, and its canvas."""
    figure = Figure(figsize=(4, 2), dpi=dpi)
    figure.set_canvas(kind(figure))
    for x, y, words, own in texts:
        figure.text(x, y, words, **style | own)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).astype(int), figure.canvas


def both(*texts, **style):
    mine, _ = drawn(Canvas, *texts, **style)
    aggs, _ = drawn(FigureCanvasAgg, *texts, **style)
    return mine, aggs


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    "style",
    [
        {},
        {"ha": "center", "va": "center"},
        {"ha": "right", "va": "top", "fontsize": 17, "weight": "bold"},
        {"fontsize": 40, "style": "italic"},
        {"color": "#D55E00", "alpha": 0.5, "family": "monospace"},
        {"color": "white", "backgroundcolor": "black"},
        {"family": ["cmr10", "DejaVu Sans"]},
    ],
)
def test_text_is_where_agg_has_it(line, style):
    for i, x in enumerate(np.linspace(0.3, 0.4, 7)):
        mine, aggs = both((x, 0.5 + i / 300, line, {}), **style)
        assert abs(mine - aggs).max() <= LIMIT
        assert abs(mine.sum() - aggs.sum()) <= 0.02 * abs(aggs - 255).sum()
        assert (aggs != 255).any() == bool(line.strip()) or "backgroundcolor" in style


def test_a_word_in_two_places_of_a_pixel_and_in_two_colours():
    mine, aggs = both(
        (0.2, 0.5, "Hill", {}),
        (0.20125, 0.2025, "Hill", {"color": "blue"}),
        (0.6, 0.5, "Hill", {"alpha": 0.3}),
    )
    assert abs(mine - aggs).max() <= LIMIT


def test_several_lines_and_colours_over_each_other():
    mine, aggs = both(
        (0.2, 0.5, "one\nand two", {"color": "red"}),
        (0.21, 0.5, "one\nand two", {"color": "blue", "alpha": 0.7}),
    )
    assert abs(mine - aggs).max() <= LIMIT + 8


@pytest.mark.parametrize(
    "style",
    [
        {"rotation": 30},
        {"rotation": 90},
        {"antialiased": False},
        {"fontfeatures": ["-kern", "-liga"]},
        {"language": "nl"},
        {"math_fontfamily": "cm"},
    ],
)
def test_what_is_special_is_aggs_own(style):
    words = "$x^2$ of it" if "math_fontfamily" in style else "a fine AVATAR"
    ordinary = (0.4, 0.8, words.strip("$"), {})
    mine, aggs = (pixels[40:] for pixels in both(ordinary, (0.4, 0.4, words, style)))
    assert (mine == aggs).all() and (aggs != 255).any()


def test_clipped_text_is_clipped():
    def clipped(kind):
        figure = Figure(figsize=(4, 2), dpi=100)
        figure.set_canvas(kind(figure))
        ax = figure.add_axes((0.2, 0.2, 0.3, 0.6))
        ax.text(0.8, 0.5, "over the edge", clip_on=True)
        figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba()).astype(int)[60:140, 100:]

    assert (clipped(Canvas) == clipped(FigureCanvasAgg)).all()


@pytest.mark.parametrize("x", [-0.5, -0.02, 0.98, 0.999, 1.001, 3])
@pytest.mark.parametrize("y", [-2, -0.02, 0.5, 0.97, 1.01, 2])
def test_text_at_the_edge_is_cut_and_beyond_it_nothing(x, y):
    mine, aggs = both((x, y, "cut off here", {}))
    assert abs(mine - aggs).max() <= LIMIT


@pytest.fixture
def made(monkeypatch):
    """The pieces of lines that Agg has drawn."""
    made, draw = [], canvas._Renderer._drawn

    def counted(self, text, *more):
        made.append(text)
        return draw(self, text, *more)

    monkeypatch.setattr(canvas._Renderer, "_drawn", counted)
    return made


def test_what_was_drawn_is_not_drawn_again(made):
    first, it = drawn(Canvas, (0.2, 0.5, "ten of 10", {}), (0.2, 0.2, "ten more", {}))
    made.clear()
    it.draw()
    assert (np.asarray(it.buffer_rgba()) == first).all() and made == []
    it.figure.texts[0].set_text("ten of the")
    it.draw()
    assert made == ["the"]
    it.figure.texts[1].set_color("red")
    it.draw()
    assert made == ["the"]
    it.figure.texts[1].set_fontsize(20)
    it.draw()
    assert made == ["the", "ten ", "more"]


def test_of_new_numbers_soon_nothing_is_drawn(made):
    _, it = drawn(Canvas, (0.2, 0.5, "0", {"family": "monospace"}))
    for number in range(300):
        if number == 200:
            made.clear()
        it.figure.texts[0].set_text(f"{number:,.2f} of {number**2:,}")
        it.draw()
    assert made == []


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(canvas, "KEPT", 5)
    _, it = drawn(Canvas, (0.2, 0.5, "a", {}))
    for i in range(20):
        it.figure.texts[0].set_text(f"{chr(97 + i)} of 20")
        it.draw()
        assert len(it.renderer._lines) <= 5 and len(it.renderer._pieces) <= 5


def test_another_resolution_has_a_renderer_of_its_own():
    texts = [(0.2, 0.5, "as sharp", {})]
    _, it = drawn(Canvas, *texts)
    before = it.get_renderer()
    assert it.get_renderer() is before
    it.figure.set_dpi(150)
    it.draw()
    assert it.get_renderer() is not before
    aggs, _ = drawn(FigureCanvasAgg, *texts, dpi=150)
    assert abs(np.asarray(it.buffer_rgba()).astype(int) - aggs).max() <= LIMIT


def test_a_line_is_measured_as_agg_measures_it():
    _, mine = drawn(Canvas, (0.2, 0.5, "a", {}))
    _, aggs = drawn(FigureCanvasAgg, (0.2, 0.5, "a", {}))
    prop = mine.figure.texts[0].get_fontproperties()
    for line in LINES:
        measured = [
            c.get_renderer().get_text_width_height_descent(line, prop, False) for c in (mine, aggs)
        ]
        assert measured[0] == pytest.approx(measured[1], abs=1), line
