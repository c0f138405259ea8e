"""An extension of the Jupyter server: the start page has its kernel before a browser asks for it.

A press on ▶ that comes while JupyterLab waits for a kernel is lost: the cell's output goes, and
nothing is run. So the kernel of the page that it opens starts with the server.
"""

from typing import Any

from shrink.classroom.book import START


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Nothing is to be done before the server has started."""


async def _start_jupyter_server_extension(server: Any) -> None:
    """Start the session that JupyterLab looks for when it opens the page."""
    page = f"{START}.ipynb"
    if server.default_url.endswith(f"/{page}"):
        await server.session_manager.create_session(
            path=page, name=page, type="notebook", kernel_name="python3"
        )
