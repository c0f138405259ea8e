"""The picture of the start page: ten digits and answers, the weights left, and the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from shrink.classroom import plots
from shrink.start.network import SIDE, Network, View

WIDTH, HEIGHT = 880, 412  # in pixels, as the lengths below; y points down
_LEFT, _RIGHT = 6, WIDTH - 6
ROWS, COLUMNS = 4, 15  # of the units whose weights are shown, the first ones
_SHADES = 5  # of a colour: few make a short PNG
_STRONG = 0.995  # the quantile of the magnitudes from which on a weight has the full colour
_POSITIVE, _NEGATIVE = (0, 114, 178), (213, 94, 0)  # the palette's blue and vermilion
_FRAME, _WHITE = 228, 255  # grey levels
_INK, _PALE, _WRONG = "#222222", "#D9D9D9", plots.COLOURS["fine-tuned"]


class Picture:
    """Draws a network and what is left of it."""

    def __init__(self, network: Network) -> None:
        self._digits = network.images
        self._squares = _in_squares(_coloured(network.state["fc1.weight"]), frame=_FRAME)

    def draw(self, figure: Figure, view: View) -> dict[str, Any]:
        """Draw what never moves; return the artists that `update` changes."""
        figure.set_layout_engine("none")  # each length is said here
        squares = _axes(figure, 120, 250)
        _say(
            squares,
            f"{ROWS * COLUMNS} of its 300 units, each with one weight for each pixel of the image: "
            "blue is positive, orange negative, empty is gone",
        )
        place = (_LEFT, _RIGHT, 250, 20)
        shown = squares.imshow(self._squares, extent=place, interpolation="nearest", aspect="auto")
        return {
            "answers": self._draw_digits(_axes(figure, 0, 116)),
            "squares": shown,
            **_draw_file(_axes(figure, 378, 34), view),
        }

    def _draw_digits(self, ax: Axes) -> list[Text]:
        """The digits, and below each the text of its answer."""
        _say(ax, "ten digits that it was not trained on, and what it takes them for")
        texts = []
        for i, digit in enumerate(self._digits):
            middle = (i + 0.5) * WIDTH / len(self._digits)
            place = (middle - 34, middle + 34, 88, 20)
            ax.imshow(digit, "gray_r", vmin=0, vmax=1, extent=place, aspect="auto")
            box = {"boxstyle": "round,pad=0.15", "fc": _WRONG, "ec": "none"}
            texts.append(ax.text(middle, 103, "", ha="center", va="center", size="large", bbox=box))
        return texts

    def update(self, artists: Mapping[str, Any], view: View) -> None:
        """Move the artists to the view."""
        for digit, (text, answer) in enumerate(zip(artists["answers"], view.answers, strict=True)):
            wrong = bool(digit != answer)
            text.set(text=f"{answer}", color="white" if wrong else _INK)
            text.set_fontweight("bold" if wrong else "normal")
            text.get_bbox_patch().set_visible(wrong)
        kept = _in_squares(view.kept, frame=True)
        artists["squares"].set_data(np.where(kept[..., None], self._squares, np.uint8(_WHITE)))
        artists["file"].set_width((_RIGHT - _LEFT) * view.file_bytes / view.dense_bytes)
        artists["bytes"].set_text(f"its file: {view.file_bytes:,} bytes")


def _axes(figure: Figure, top: float, height: float) -> Axes:
    """Axes over the whole width, in pixels, which no layout moves."""
    ax = figure.add_axes((0, 1 - (top + height) / HEIGHT, 1, height / HEIGHT))
    ax.set(xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    return ax


def _say(ax: Axes, text: str, **place: Any) -> Text:
    return ax.text(**{"x": _LEFT, "y": 9, "va": "center"} | place, s=text, color=_INK)


def _draw_file(ax: Axes, view: View) -> dict[str, Any]:
    whole = {"xy": (_LEFT, 20), "width": _RIGHT - _LEFT, "height": 12}
    ax.add_patch(Rectangle(**whole, fc=_PALE))
    _say(ax, f"with all its weights: {view.dense_bytes:,}", x=_RIGHT, ha="right")
    file = ax.add_patch(Rectangle(**whole, fc=plots.COLOURS["pruned"]))
    return {"file": file, "bytes": _say(ax, "", weight="bold")}


def _coloured(weight: np.ndarray) -> np.ndarray:
    """The colours (n, inputs, 3), uint8, of the units' weights (n, inputs)."""
    magnitude = np.abs(weight) / np.quantile(np.abs(weight), _STRONG)
    shade = np.ceil(np.clip(magnitude, 0, 1) ** 0.7 * _SHADES) / _SHADES
    full = np.where((weight > 0)[..., None], np.array(_POSITIVE), np.array(_NEGATIVE))
    return (_WHITE - shade[..., None] * (_WHITE - full)).astype(np.uint8)


def _in_squares(units: np.ndarray, frame: object) -> np.ndarray:
    """The first units' (n, SIDE², ...) as squares in rows and columns, with `frame` between."""
    rest = units.shape[2:]
    squares = units[: ROWS * COLUMNS].reshape(-1, SIDE, SIDE, *rest)
    edges = [(0, 0), (0, 1), (0, 1), *[(0, 0) for _ in rest]]
    framed = np.pad(squares, edges, constant_values=frame)
    grid = framed.reshape(ROWS, COLUMNS, SIDE + 1, SIDE + 1, *rest)
    return np.swapaxes(grid, 1, 2).reshape(ROWS * (SIDE + 1), COLUMNS * (SIDE + 1), *rest)[:-1, :-1]
