"""A notebook as other front ends save it: each takes its dict, and gives the bytes of the file."""

import json
import unicodedata
from collections.abc import Callable
from copy import deepcopy

from nbformat import NotebookNode

OUTPUT = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two"]}


def saved(notebook: NotebookNode, front_end: str) -> bytes:
    """The notebook as this front end saves it; the notebook itself is left alone."""
    return FRONT_ENDS[front_end](json.loads(json.dumps(deepcopy(notebook))))


def _each(notebook: dict, change: Callable[[dict, int], None]) -> dict:
    for number, cell in enumerate(notebook["cells"]):
        change(cell, number)
    return notebook


def _without_ids(notebook: dict, minor: int) -> dict:
    notebook["nbformat_minor"] = minor
    return _each(notebook, lambda cell, _: cell.pop("id", None))


def _text(notebook: dict, **options) -> bytes:
    return json.dumps(notebook, indent=1, ensure_ascii=False, **options).encode()


def jupyter(notebook: dict) -> bytes:
    """Outputs, counts, timings, and what a person folded or tagged."""

    def run(cell: dict, number: int) -> None:
        cell["metadata"] = {"tags": ["mine"], "collapsed": True, "jupyter": {"source_hidden": True}}
        cell["source"] = cell["source"].splitlines(True)
        if cell["cell_type"] == "code":
            cell["metadata"]["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
            cell |= {"outputs": [OUTPUT], "execution_count": number + 1}

    return _text(_each(notebook, run))


def classic(notebook: dict) -> bytes:
    """Jupyter Notebook 6: format 4.4, a newline at each cell's end, blanks at the ends of lines."""

    def type_(cell: dict, _: int) -> None:
        cell["source"] = [f"{line}  \n" for line in cell["source"].split("\n")]
        cell["metadata"] = {"ExecuteTime": {"start_time": "2026"}, "scrolled": False}

    return _text(_each(_without_ids(notebook, 4), type_))


def vs_code(notebook: dict) -> bytes:
    """On Windows: CRLF in every cell and in the file, format 4.2, another kernel's name."""

    def mark(cell: dict, _: int) -> None:
        cell["source"] = [f"{line}\r\n" for line in cell["source"].split("\n")]
        cell["metadata"] = {"vscode": {"languageId": "python"}}

    notebook["metadata"] = {
        "kernelspec": {"display_name": ".venv", "name": "venv"},
        "orig_nbformat": 4,
    }
    return _text(_each(_without_ids(notebook, 2), mark)).replace(b"\n", b"\r\n")


def colab(notebook: dict) -> bytes:
    """Format 4.0: its own id in the metadata, for each cell and each output."""

    def own_id(cell: dict, number: int) -> None:
        cell["metadata"] = {
            "id": f"Xy{number}_{number * 7919}",
            "outputId": "a",
            "cellView": "form",
        }
        cell["source"] = cell["source"].splitlines(True)
        if cell["cell_type"] == "code":
            cell["metadata"]["colab"] = {"base_uri": "https://localhost:8080/"}
            cell |= {"outputs": [OUTPUT], "execution_count": None}

    notebook["metadata"]["colab"] = {"provenance": []}
    return _text(_each(_without_ids(notebook, 0), own_id))


def kaggle(notebook: dict) -> bytes:
    """All on one line, each source one text."""
    add = {"_uuid": "8f2839f25d086af736a60e9eeb907d3b93b6e0e5", "trusted": True}
    return json.dumps(_each(notebook, lambda cell, _: cell["metadata"].update(add))).encode()


def deepnote(notebook: dict) -> bytes:
    """Its own ids, and a key of its own for what a cell needs."""

    def own(cell: dict, number: int) -> None:
        cell["metadata"] = {"cell_id": f"0000{number}", "deepnote_cell_type": cell["cell_type"]}
        cell["block_group"] = "x"
        if not cell["source"]:
            del cell["source"]

    return _text(_each(_without_ids(notebook, 5), own))


def notepad(notebook: dict) -> bytes:
    """A byte order mark, and CRLF in the file."""
    return b"\xef\xbb\xbf" + _text(notebook).replace(b"\n", b"\r\n")


def new_ids(notebook: dict) -> bytes:
    return _text(_each(notebook, lambda cell, number: cell.update(id=f"new{number}")))


def numbers_as_ids(notebook: dict) -> bytes:
    return _text(_each(notebook, lambda cell, number: cell.update(id=number)))


def one_id(notebook: dict) -> bytes:
    return _text(_each(notebook, lambda cell, _: cell.update(id="same")))


def old_mac(notebook: dict) -> bytes:
    def end(cell: dict, _: int) -> None:
        cell["source"] = cell["source"].replace("\n", "\r") + "\r"

    return _text(_each(notebook, end))


def tabs(notebook: dict) -> bytes:
    """Indented by tabs, with accents in two parts, as an editor's habits have it."""

    def indent(cell: dict, _: int) -> None:
        text = unicodedata.normalize("NFD", cell["source"])
        cell["source"] = "\n" + text.replace("    ", "\t") + "\n\n"

    return _text(_each(notebook, indent))


FRONT_ENDS: dict[str, Callable[[dict], bytes]] = {
    "Jupyter": jupyter,
    "classic": classic,
    "VS Code on Windows": vs_code,
    "Colab": colab,
    "Kaggle": kaggle,
    "Deepnote": deepnote,
    "Notepad": notepad,
    "UTF-16": lambda notebook: _text(notebook).decode().encode("utf-16"),
    "Windows 1252": lambda notebook: _text(notebook).decode().encode("cp1252"),
    "format 4.2": lambda notebook: _text(_without_ids(notebook, 2)),
    "format 4.4": lambda notebook: _text(_without_ids(notebook, 4)),
    "new ids": new_ids,
    "numbers as ids": numbers_as_ids,
    "one id for all": one_id,
    "CR": old_mac,
    "tabs and accents": tabs,
}
