"""What the start page shows before any of its cells is run."""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_output

from shrink.start.explorer import explore
from shrink.start.overview import overview

_SHOWN = ("image/png", "text/plain")  # in a notebook that is not trusted yet, too


def outputs(work: Path) -> dict[str, list[NotebookNode]]:
    """The outputs by the ids of their cells: the picture without its slider, and the map."""
    data, metadata = explore()._repr_mimebundle_()
    picture = {kind: data[kind] for kind in _SHOWN}
    seen = overview(work)
    the_map = {"text/html": seen._repr_html_(), "text/plain": repr(seen)}
    return {
        "look": [new_output("display_data", data=picture, metadata=metadata)],
        "map": [new_output("display_data", data=the_map)],
    }
