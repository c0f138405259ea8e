"""A legend of what is drawn: its rows close up."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shrink.classroom.explorers import legend

LOOKS = {
    "line": {"color": "C0", "ls": "--"},
    "dot": {"color": "C1", "marker": "o", "ls": ""},
    "area": {"color": "C2", "lw": 6},
}


@pytest.fixture
def ax():
    figure = Figure(figsize=(4, 3), dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def shown(rows):
    return {name: words.get_position() for name, (_, words) in rows.items() if words.get_visible()}


def test_names_of_what_is_not_drawn_are_not_there_and_leave_no_gap(ax):
    rows = legend.draw(ax, LOOKS, 0.1, 0.9)
    behind = legend.KEY + legend.GAP
    every = [(behind, -i * legend.ROW) for i in range(3)]
    assert shown(rows) == dict(zip(LOOKS, every, strict=True))
    legend.update(rows, {"area", "line"})
    assert shown(rows) == {"line": every[0], "area": every[1]}
    assert [key.get_visible() for key, _ in rows.values()] == [True, False, True]
    legend.update(rows, ())
    assert shown(rows) == {}


def test_columns_are_filled_row_by_row(ax):
    rows = legend.draw(ax, LOOKS, 0, 1, columns=2)
    behind = legend.KEY + legend.GAP
    assert shown(rows) == {
        "line": (behind, 0),
        "dot": (legend.COLUMN + behind, 0),
        "area": (behind, -legend.ROW),
    }


def test_keys_stand_before_their_names_where_it_was_asked_for(ax):
    rows = legend.draw(ax, LOOKS, 0.25, 0.75)
    corner = ax.transAxes.transform((0.25, 0.75))
    for i, (name, (key, words)) in enumerate(rows.items()):
        ends = key.get_transform().transform(key.get_xydata()) - corner
        assert ends[:, 1] == pytest.approx([-100 * legend.ROW * i] * len(ends))
        assert ends[:, 0].mean() == pytest.approx(50 * legend.KEY)
        assert len(ends) == (1 if name == "dot" else 2)
        x, _ = words.get_transform().transform(words.get_position()) - corner
        assert x == pytest.approx(100 * (legend.KEY + legend.GAP))
