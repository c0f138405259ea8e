"""The bar of bytes: parts end to end, the rest last, all in proportion to the whole."""

import pytest
from matplotlib.figure import Figure

from shrink.classroom.explorers import bars


def test_parts_stand_end_to_end_and_end_where_the_bytes_do():
    ax = Figure().subplots()
    drawn = bars.draw(ax, ("float32", "packed"), (("red", ""), ("blue", "xx")), "bytes")
    for total, parts in ((50, (20, 10)), (1000, (0, 1000)), (250, (0, 0))):
        bars.update(drawn, 1000, total, parts, "so many")
        lefts = [bar.get_x() for bar in drawn["parts"]]
        widths = [bar.get_width() for bar in drawn["parts"]]
        assert widths == pytest.approx([x / 10 for x in (*parts, total - sum(parts))])
        assert lefts == pytest.approx([0, parts[0] / 10, sum(parts) / 10])
        assert drawn["words"][1].get_position() == pytest.approx((total / 10 + 2, 1))
    assert [text.get_text() for text in drawn["words"]] == ["1,000", "so many"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["float32", "packed"]
    assert drawn["title"].get_text() == "bytes"
    with pytest.raises(ValueError, match="zip"):
        bars.update(drawn, 1000, 50, (1,), "")
