"""A training's state after each epoch, in a file from which a killed training resumes."""

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from shrink.classroom.cache import kept_if_possible, say_once
from shrink.files import write_atomically

DIGEST = 64  # characters of the hash that a file begins with


def save(path: Path | None, parts: Mapping[str, Any], plan: str, losses: list[float]) -> None:
    """Store the parts' states, behind a hash of them; where that cannot be, a line says so."""
    if path is None:
        return
    buffer = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**states, "plan": _of(path, plan), "losses": losses}, buffer)
    content = buffer.getvalue()
    with kept_if_possible():
        write_atomically(path, hashlib.sha256(content).hexdigest().encode() + content)


def resume(path: Path | None, parts: Mapping[str, Any], plan: str) -> list[float]:
    """Load the states stored at `path`, if they belong to this plan; return the losses so far.

    A file that is damaged, of another plan or not a checkpoint is ignored, and a line says so.
    """
    if path is None or not os.path.exists(path):
        return []
    states, wrong = _stored(path, (*parts, "plan", "losses"))
    if states is not None and states["plan"] != _of(path, plan):
        wrong = "it is of another training"
    if wrong:
        say_once(f"the training begins again: {path} is not taken up, {wrong}")
        return []
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return states["losses"]


def _of(path: Path, plan: str) -> str:
    return f"{path.name}, torch {torch.__version__}: {plan}"


def _stored(path: Path, names: Iterable[str]) -> tuple[dict[str, Any] | None, str]:
    """What is stored under these names, or None and what is wrong with the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, f"it cannot be read ({error})"
    digest, content = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None, "it is damaged or no checkpoint"
    try:
        stored = torch.load(io.BytesIO(content), weights_only=True)  # tensors and numbers, no code
        return {name: stored[name] for name in names}, ""
    except Exception as error:  # a right hash, and anything behind it: of another torch or course
        return None, f"it cannot be read ({type(error).__name__})"
