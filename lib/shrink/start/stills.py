"""What the start page shows before any of its cells is run."""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_output

from shrink.start.explorer import explore
from shrink.start.overview import overview

_OF_THE_WIDGET = "application/vnd.jupyter.widget-view+json"


def outputs(work: Path) -> dict[str, list[NotebookNode]]:
    """The outputs by the ids of their cells: the picture without its slider, and the map."""
    data, metadata = explore()._repr_mimebundle_()
    data.pop(_OF_THE_WIDGET, None)
    seen = overview(work)
    return {
        "look": [new_output("display_data", data=data, metadata=metadata)],
        "map": [
            new_output(
                "display_data", data={"text/html": seen._repr_html_(), "text/plain": repr(seen)}
            )
        ],
    }
