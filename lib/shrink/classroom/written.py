"""The folder that takes the files which chapters write: `results/`, beside the notebooks.

An earlier course wrote them among the notebooks. Those are moved once; nothing is overwritten.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

RESULTS = Path("results")  # in the folder of the notebook, which is where its kernel works
_EARLIER = re.compile(
    r"running_table\.json|class-\d\d-.*\.json|(model|pruned)\.safetensors|network\.(file|shrk)"
)


def tidy(work: Path) -> None:
    """Move to `work/results/` what the chapters of an earlier course wrote into `work`."""
    for path in sorted(work.glob("*")):
        if _EARLIER.fullmatch(path.name):
            with suppress(OSError):
                fetch(work / RESULTS / path.name)


def fetch(path: Path) -> None:
    """Move the file of this name from above `results/` to `path` in it, if that is free."""
    above = path.parent.parent / path.name
    if path.parent.name == RESULTS.name and above.is_file() and not path.exists():
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process was faster
            os.replace(above, path)
