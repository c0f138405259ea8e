"""Named arrays in a safetensors file, each tensor once; and what a file is that is none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from shrink.classroom import CourseError
from shrink.coding.stored import checked_name, identity, named, plain

TIED = "shrink.tied"  # the name, in a file's metadata, of second name → first, as JSON
DTYPES = (
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
)
# What a header raises that is nested too deeply, or has something else where names should be.
NO_HEADER = (LookupError, ValueError, TypeError, AttributeError, RecursionError)
KNOWN = {  # how files begin that people take for ours
    b"SHRK": "a file of chapter 05's codec, which codec.load reads",
    b"PK": "a zip archive, as torch.save writes",
    b"\x80": "a pickle, as torch.save once wrote",
    b"\x1f\x8b": "compressed by gzip",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a pointer of Git LFS, and not the file itself",
    b"{": "JSON",
    b"<": "a web page",
}


def encode(arrays: Mapping[str, Tensor | np.ndarray]) -> bytes:
    """The bytes of the safetensors file of named arrays.

    A tensor under two names (the same numbers in memory, as a tied embedding and head have) is
    stored once; the other name stands in the file's metadata. A view that shares only some of its
    memory with another is stored as well.

    Raises:
        TypeError: a value is neither a tensor nor an array, or one that no such file holds: sparse,
            quantized by torch, without numbers, or of another type than `DTYPES`; or a name is no
            text.
        ValueError: a name is no Unicode, or "__metadata__", which the format has for itself.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must map names to tensors, not be a {type(arrays).__name__}")
    tensors, tied, first = {}, {}, {}
    for name, array in list(arrays.items()):  # a list, so that all stay alive
        if checked_name(name) == "__metadata__":
            raise ValueError(f"no array may have the name {name}: safetensors has it for itself")
        if not isinstance(array, Tensor | np.ndarray):
            raise TypeError(f"{name} must be a tensor or an array, not a {type(array).__name__}")
        with named(name):
            same = identity(array) if isinstance(array, Tensor) else (id(array),)
            if same in first:
                tied[name] = first[same]
                continue
            tensors[name], first[same] = _storable(array), name
    return save_bytes(tensors, {TIED: json.dumps(tied)} if tied else None)


def _storable(array: Tensor | np.ndarray) -> Tensor:
    """A new tensor of the same numbers, in a row."""
    if isinstance(array, np.ndarray):
        if type(array) not in (np.ndarray, np.memmap):
            raise TypeError(f"must be a plain array, not a {type(array).__name__}")
        native = array.astype(array.dtype.newbyteorder("="))  # a copy: a view may run backwards
        array = torch.from_numpy(native)
    if plain(array).dtype not in DTYPES:
        raise TypeError(f"safetensors has no form for a tensor of {array.dtype}")
    return plain(array).clone(memory_format=torch.contiguous_format)


def read(path: Path | str) -> dict[str, Tensor]:
    """The named tensors in a safetensors file, on the CPU; one that is stored once under each name.

    Raises:
        CourseError: it is no such file, or a damaged one; the message names it and says what it is.
        OSError: it cannot be read.
    """
    return decode(Path(path).read_bytes(), str(path))


def decode(content: bytes, source: str) -> dict[str, Tensor]:
    """The named tensors of a safetensors file's bytes; `CourseError`, about the source, if none."""
    try:
        tensors = load_bytes(content)
        metadata = _header(content).get("__metadata__") or {}
        tied = json.loads(metadata.get(TIED, "{}"))
        return tensors | {name: tensors[same] for name, same in tied.items()}
    except (SafetensorError, *NO_HEADER) as error:
        reason = what_it_is(content) or f"damaged ({error})"
        raise CourseError(f"{source} is no safetensors file: it is {reason}") from None


def what_it_is(content: bytes) -> str:
    """What bytes are that are no safetensors file, in some words; "" of those of a damaged one.

    >>> what_it_is(b"<!DOCTYPE html><html>")
    'a web page'
    """
    if not content:
        return "empty"
    start = content[:64].lstrip()
    for begin, kind in KNOWN.items():
        if start.startswith(begin) and content[8:9] != b"{":
            return kind
    length = int.from_bytes(content[:8], "little")
    if content[8:9] == b"{":
        return _cut_off(content, 8 + length)
    return f"something that begins with {content[:16]!r}"


def _header(content: bytes) -> Any:
    """What stands in the file's header; any of `NO_HEADER` where there is none."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _cut_off(content: bytes, header: int) -> str:
    """How much of the bytes is there of a file whose header ends at `header`; "" if all."""
    if header > len(content):
        return f"cut off: {len(content):,} bytes of at least {header:,}"
    try:
        described = _header(content)
        needed = header + max(
            (item["data_offsets"][1] for name, item in described.items() if name != "__metadata__"),
            default=0,
        )
    except NO_HEADER:
        return ""
    return f"cut off: {len(content):,} bytes of {needed:,}" if needed > len(content) else ""
