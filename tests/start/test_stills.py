"""What the page shows before it is run, for the cells that it has."""

import base64

from shrink.classroom.book.builder import build_chapter
from shrink.start.explorer import explore
from shrink.start.stills import outputs
from tests import ROOT, START


def test_the_first_picture_and_the_map_stand_under_cells_of_the_page(tmp_path):
    cells = {cell.id: cell for cell in build_chapter(ROOT / "course" / f"{START}.py", False).cells}
    shown = outputs(tmp_path)
    assert shown.keys() == {name for name, cell in cells.items() if cell.cell_type == "code"}
    (look,), (the_map,) = shown["look"], shown["map"]
    assert base64.b64decode(look.data["image/png"]) == explore().image.value
    assert not [kind for kind in look.data if "widget" in kind]  # there is no kernel to ask
    assert "<table>" in the_map.data["text/html"]


def test_the_first_cell_is_the_one_that_a_click_runs():
    first = build_chapter(ROOT / "course" / f"{START}.py", False).cells[0]
    assert (first.id, first.cell_type) == ("look", "code") and "▶" in first.source
