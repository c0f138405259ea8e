"""An exception in an explorer, as a student needs it."""

import html
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shrink.classroom.exercises.errors import ExerciseError

_LIBRARY = (Path(__file__).parents[2], Path(sysconfig.get_path("stdlib")))


def error_panel(error: BaseException, values: Mapping[str, Any]) -> str:
    """HTML: what was raised, where in the student's own code, with which values."""
    if isinstance(error, ExerciseError):
        lines = [str(error)]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not _is_library(f.filename)]
        lines = [
            f"{type(error).__name__}: {error}",
            *(f"  line {f.lineno} in {f.name}: {f.line or ''}" for f in own[-2:]),
            "  with " + ", ".join(f"{name} = {value}" for name, value in values.items()),
        ]
    return f"<pre role='alert'>{html.escape(chr(10).join(lines))}</pre>"


def _is_library(filename: str) -> bool:
    """Whether the file is the course's, Python's or an installed package's, so not a student's."""
    return any(Path(filename).is_relative_to(folder) for folder in _LIBRARY) or (
        "site-packages" in filename
    )
