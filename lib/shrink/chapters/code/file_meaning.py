"""What a byte of a Deep Compression file says, in words."""

import struct

from shrink.coding.codec_bytes import Region
from shrink.coding.codec_format import CODES, DTYPES, MAGIC

KINDS = ("stored as it is", "integers", "shared values", "shared values and gaps", "an earlier one")
ALL_BEFORE = "where a symbol begins in the stream is known only from all that comes before it"
ALWAYS = {
    "scales": "of the scales of the integers",
    "zero points": "of the zero points of the integers",
    "integers": "of the packed integers",
    "tied": "of the number of the earlier tensor that this one is",
    "checksum": "of the CRC-32 of all bytes before it",
}


def meaning(content: bytes, region: Region, byte: int) -> str:
    """What the byte says, in some words; `region` is the one it is in.

    >>> meaning(b"SHRK" + bytes([1, 6]), Region(0, 6, "", "header"), 1)
    "the letter 'H' of SHRK, with which such a file begins"
    """
    value, offset = content[byte], byte - region.start
    if region.what in ALWAYS:
        return ALWAYS[region.what]
    if region.what.endswith(", lengths of codes"):
        first = 2 * offset
        return f"symbols {first} and {first + 1} have codes of {value >> 4} and {value & 15} bits"
    if region.what.endswith(", frequencies"):
        return "of the table of frequencies, which ANS needs"
    return {
        "header": _header,
        "name": _name,
        "shape": _shape,
        "type": _type,
        "codebook": _codebook,
        "numbers": _number,
    }.get(region.what, _symbols)(content, region, byte)


def _header(content: bytes, region: Region, byte: int) -> str:
    if byte < len(MAGIC):
        return f"the letter {chr(content[byte])!r} of SHRK, with which such a file begins"
    if byte == len(MAGIC):
        return f"version {content[byte]} of the format"
    return f"there are {content[byte]} tensors"


def _name(content: bytes, region: Region, byte: int) -> str:
    if byte == region.start:
        return f"the next {content[byte]} bytes are a name"
    return f"the letter {chr(content[byte])!r} of a name"


def _shape(content: bytes, region: Region, byte: int) -> str:
    offset, value = byte - region.start, content[byte]
    if offset == 0:
        return f"how the tensor is stored: {KINDS[value]}"
    return f"the tensor has {value} axes" if offset == 1 else "of the tensor's shape"


def _type(content: bytes, region: Region, byte: int) -> str:
    name = str(DTYPES[content[byte]]) if region.end - region.start == 1 else "integers"
    return f"the numbers' type: {name.removeprefix('torch.')}"


def _codebook(content: bytes, region: Region, byte: int) -> str:
    offset, width = byte - region.start, content[region.start + 1]
    number, place = divmod(offset - 2, width)
    if offset == 0:
        return f"the codebook has {content[byte] + 1} values"
    if offset == 1:
        return f"its values have {width} bytes each"
    if number > content[region.start]:
        return f"value number {content[byte]} is the zero"
    start = byte - place
    return f"byte {place + 1} of value number {number}, {_float(content, start, width):.6g}"


def _number(content: bytes, region: Region, byte: int) -> str:
    number, place = divmod(byte - region.start, 4)
    if content[region.start - 1] != 0:  # the byte before is the type, and 0 is float32
        return "of the tensor's numbers"
    start = byte - place
    return f"byte {place + 1} of number {number}, {_float(content, start, 4):.6g}"


def _float(content: bytes, start: int, width: int) -> float:
    return struct.unpack_from("<e" if width == 2 else "<f", content, start)[0]


def _symbols(content: bytes, region: Region, byte: int) -> str:
    """Of gaps or values: what stands before their table or, without one, their packed numbers."""
    offset, what = byte - region.start, region.what
    size, length = _varint(content, region.start)
    if region.start + size + length == region.end:  # behind a table
        if offset < size:
            return f"how many bytes the stream of {what} has: {length}"
        return f"of the stream of {what}: {ALL_BEFORE}"
    code = 0
    if what == "gaps":
        size, count = _varint(content, region.start + 1)
        code = 1 + size
        if offset == 0:
            return f"a gap is a number of {content[byte]} bits"
        if offset < code:
            return f"how many gaps there are, fillers included: {count}"
    if offset == code:
        return f"how the {what} are coded: {CODES[content[byte]]}"
    return f"of the {what}, packed in as many bits each"


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """How many bytes a number has that begins here, seven bits in each, and the number."""
    size = next(i for i in range(1, 6) if content[start + i - 1] < 128)
    return size, sum((content[start + i] & 127) << 7 * i for i in range(size))
