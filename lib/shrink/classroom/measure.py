"""What a model costs and what it gets right: the length of a file, and the model read back from it.

`write` stores named arrays as safetensors; the file's length is the size that chapters 01 to 04
count. Chapter 05 has a file of its own. `measure` writes a model, reads it back into a fresh copy
and evaluates that one, so that a report is about the file and not about what happens to be in
memory.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from shrink import cost
from shrink.classroom.data import Split
from shrink.classroom.reports import RUNNING_TABLE, Report, Table, record
from shrink.classroom.training import predict
from shrink.files import write_atomically
from shrink.latency import latency
from shrink.plain import copied

__all__ = ["RUNNING_TABLE", "Report", "Table", "measure", "read", "record", "size", "write"]

ON_CHIP = 64 * 1024  # bytes of SRAM, of the machine that the energy is estimated for


def write(path: Path | str, arrays: Mapping[str, Tensor | np.ndarray]) -> int:
    """Store named arrays as a safetensors file and return its length in bytes.

    The file appears whole or not at all. Raises `TypeError` when a value is neither a tensor nor
    an array.
    """
    return write_atomically(path, _encode(arrays))


def size(arrays: Mapping[str, Tensor | np.ndarray]) -> int:
    """The length in bytes of the file that `write` would store.

    >>> size({"w": torch.zeros(1000)}) - size({"w": torch.zeros(1000, dtype=torch.int8)})
    3000
    """
    return len(_encode(arrays))


def _encode(arrays: Mapping[str, Tensor | np.ndarray]) -> bytes:
    tensors = {}
    for name, array in arrays.items():
        if not isinstance(array, Tensor | np.ndarray):
            raise TypeError(f"{name} must be a tensor or an array, not a {type(array).__name__}")
        if isinstance(array, np.ndarray):
            array = torch.from_numpy(array.copy())  # a view may run backwards
        tensors[name] = array.detach().cpu().clone(memory_format=torch.contiguous_format)
    return save_bytes(tensors)


def read(path: Path | str) -> dict[str, Tensor]:
    """The named tensors that `write` stored."""
    return load_bytes(Path(path).read_bytes())


Arrays = Mapping[str, Tensor]


def measure(
    name: str,
    model: nn.Module,
    split: Split,
    dataset: str,
    path: Path | str,
    *,
    encode: Callable[[Arrays], Arrays | bytes] = dict,
    decode: Callable[[Any], Arrays] = dict,
    num_bits: int = 32,
) -> Report:
    """Write the model to `path`, read it back, and report on what the file holds.

    Its time is that of one image on the images' device, with as many threads as torch has.

    Args:
        name: what the row of the running table is called.
        split: the test images, on any device; the model is evaluated there.
        dataset: the name of the data.
        encode: the model's tensors by name → the arrays to store, or all bytes of a file that has a
            format of its own; without it, the tensors.
        decode: the arrays, or the bytes, that were stored → the tensors.
        num_bits: what the model computes in, for the energy: 8 for a network of integers.

    Raises `ValueError`, before anything is written, when a weight is computed at each call (as
    `torch.nn.utils.prune` does), with what to run first; and as `cost.layers`.
    """
    decoded, one = copied(model).to(split.images.device), split.images[:1]
    network = cost.layers(decoded, one)
    stored = encode(model.state_dict())
    own_format = isinstance(stored, bytes)
    length = write_atomically(path, stored) if own_format else write(path, stored)
    decoded.load_state_dict(decode(Path(path).read_bytes() if own_format else read(path)))
    energy = cost.energy(network, ON_CHIP, num_bits=num_bits, stored_bytes=length)
    time = latency(decoded, one)
    return Report(
        name=name,
        dataset=dataset,
        parameters=cost.parameters_and_bytes(decoded)[0],
        nonzeros=cost.nonzeros(decoded),
        file_bytes=length,
        correct=int((predict(decoded, split.images) == split.labels).sum()),
        images=len(split),
        macs=sum(layer.macs for layer in network),
        microjoules=sum(layer.total for layer in energy) / 1e6,
        milliseconds=(1000 * time.low, 1000 * time.median, 1000 * time.high),
        timed_on=time.conditions,
    )
