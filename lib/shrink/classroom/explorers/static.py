"""An explorer where nobody moves it: its picture and its words, which need no scripts."""

import base64
from typing import Any

from shrink.classroom import plots


def static_view(picture: bytes, alt: str, *words: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A PNG, or b"" for none, with words (HTML) below it: by MIME type, and what is said of each.

    nbconvert makes web pages of the HTML, in whose own images the alternative text is lost, and
    PDFs of the PNG.
    """
    shown = [plots.image_html(picture, alt)] if picture else []
    data = {"text/html": "\n".join([*shown, *(f"<div>{text}</div>" for text in words if text)])}
    data["text/plain"] = alt
    if not picture:
        return data, {}
    data["image/png"] = base64.b64encode(picture).decode()
    return data, {"image/png": {"alt": alt}}
