"""The Deep Compression file: a network's tensors, each as short as it was made, in one file.

A weight that is pruned and shared becomes gaps and numbers of values, both coded; a quantized
tensor its integers, packed, or coded where few differ; anything else its bytes. `codec_format`
says what a file is, and `codec_writer` and `codec_reader` write and read it.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from shrink.coding.codec_bytes import Region
from shrink.coding.codec_format import CODES, LONGEST, MAGIC, MOST, CodecError
from shrink.coding.codec_parts import ArithmeticCoded, Part, Quantized, Scaled
from shrink.coding.codec_reader import Reader
from shrink.coding.codec_writer import Writer
from shrink.files import write_atomically

__all__ = [
    "CODES",
    "LONGEST",
    "MAGIC",
    "ArithmeticCoded",
    "CodecError",
    "Part",
    "Quantized",
    "Region",
    "Scaled",
    "decode",
    "encode",
    "load",
    "regions",
    "save",
]

Shapes = Mapping[str, tuple[int, ...]]


def save(parts: Mapping[str, Part], path: Path | str, **options: object) -> int:
    """Write the file that `encode` describes; return its length in bytes.

    The file appears whole or not at all. The arguments and errors are those of `encode`.
    """
    return write_atomically(path, encode(parts, **options))


def load(path: Path | str, most: int = MOST, expected: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors in a file that `save` wrote, on the CPU, for `load_state_dict`.

    Arguments and errors are those of `decode`; the errors name the file.
    """
    try:
        return decode(Path(path).read_bytes(), most, expected)
    except CodecError as error:
        raise CodecError(f"{path}: {error}") from None


def encode(
    parts: Mapping[str, Part],
    code: str | None = None,
    gap_bits: int | None = None,
    most: int = MOST,
) -> bytes:
    """A network's tensors as the bytes of a file, which `decode` reads bit for bit.

    >>> import torch
    >>> from shrink.sharing import Shared
    >>> shared = Shared(torch.tensor([0.0, 2.5]), torch.tensor([[0, 1], [0, 0]]), zero=0)
    >>> content = encode({"fc.weight": shared, "fc.bias": torch.ones(2)})
    >>> decode(content)
    {'fc.weight': tensor([[0.0000, 2.5000],
            [0.0000, 0.0000]]), 'fc.bias': tensor([1., 1.])}

    Args:
        parts: name → a tensor, which is stored as it is; or what sharing or quantizing made of it,
            which `decode` gives back as float32. A shared weight that keeps zeros is stored as gaps
            and values, or without gaps, whichever is shorter. A codebook has at most 256 values.
            What comes under a second name is stored once: a tensor of the same numbers in memory
            (as a tied embedding and head have), or the same `Shared`, `Quantized` or `Scaled`.
        code: one of `CODES`, for gaps, values and coded integers; None takes the shortest for each.
        gap_bits: 1 to 8, for weights that keep zeros; None takes for each what should be shortest
            by its entropy.
        most: as for `decode`, which needs the same.

    Source: Han, Mao, Dally 2016, "Deep Compression", sections 2 to 4.
    Differs: the paper gives no file. Ours has relative indices as `sparse.relative_indices`.

    Raises:
        TypeError: something is none of the four; a tensor is sparse, quantized by torch, without
            numbers or of a type that is not in `DTYPES`; a codebook or scales are not float32; or
            a name is no text.
        ValueError: a name is empty or over 255 bytes, a codebook is too long, an integer has no
            value in it or does not fit its bits, a scale is not above 0, an option is out of
            range; or the tensors are more numbers, or more work to decode, than a reader allows.
    """
    return Writer(code, gap_bits, most).write(parts)


def decode(content: bytes, most: int = MOST, expected: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors that `encode` was given, by name and in their order, on the CPU.

    What was stored once under two names is one tensor under both.

    Args:
        content: all bytes of the file.
        most: numbers in all tensors together; a file with more is refused before memory is taken.
            The work is limited with it.
        expected: name → shape of each tensor; a file of others is refused before it is decoded.

    Raises:
        CodecError: the content is foreign, cut off, altered, too large, too much work or not what
            is expected; with the place.
    """
    return _read(content, most, expected).tensors


def _read(content: bytes, most: int, expected: Shapes | None = None) -> Reader:
    reader = Reader.of(content, most, expected)
    reader.read()
    return reader


def regions(content: bytes, most: int = MOST) -> list[Region]:
    """What each byte of a file is, from its first to its last; errors as in `decode`."""
    return _read(content, most).regions
