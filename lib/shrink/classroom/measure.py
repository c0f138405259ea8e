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
from torch import Tensor, nn

from shrink import cost
from shrink.classroom.arrays import encode as encode_arrays
from shrink.classroom.arrays import read
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

    The file appears whole or not at all. A tensor under two names is stored once, and `read` gives
    it back under both. Raises `TypeError` or `ValueError`, by name, for what no such file holds;
    see `arrays.encode`.
    """
    return write_atomically(path, encode_arrays(arrays))


def size(arrays: Mapping[str, Tensor | np.ndarray]) -> int:
    """The length in bytes of the file that `write` would store.

    >>> import torch
    >>> size({"w": torch.zeros(1000)}) - size({"w": torch.zeros(1000, dtype=torch.int8)})
    3000
    """
    return len(encode_arrays(arrays))


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
    `torch.nn.utils.prune` does), with what to run first; as `cost.layers` and `cost.prices`; and
    `TypeError` when the model gives anything but logits.
    """
    decoded, one = copied(model).to(split.images.device), split.images[:1]
    network = cost.layers(decoded, one)
    cost.prices(ON_CHIP, num_bits), predict(decoded, one)  # they raise before anything is written
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
