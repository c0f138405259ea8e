"""The parts of a Deep Compression file, as the explorers of chapter 05 name and colour them."""

import numpy as np

from shrink.coding.codec_bytes import Region

# Out of Okabe and Ito's palette, which colour-blind people can tell apart.
COLOURS = {
    "gaps": "#0072B2",
    "values": "#E69F00",
    "tables": "#CC79A7",
    "codebooks": "#D55E00",
    "biases": "#009E73",
    "names, shapes": "#56B4E9",
    "header": "#000000",
    "checksum": "#F0E442",
}
PARTS = tuple(COLOURS)
_CALLED = {
    "gaps": "gaps",
    "values": "values",
    "integers": "values",
    "codebook": "codebooks",
    "scales": "codebooks",
    "zero points": "codebooks",
    "header": "header",
    "checksum": "checksum",
}


def part_of(region: Region) -> str:
    """The part, one of `PARTS`, to which a region of a file belongs.

    >>> part_of(Region(0, 9, "fc1.weight", "gaps, lengths of codes"))
    'tables'
    """
    if region.what.endswith((", lengths of codes", ", frequencies")):
        return "tables"
    if region.what == "numbers":
        return "biases" if region.tensor.endswith("bias") else "values"
    return _CALLED.get(region.what, "names, shapes")


def bytes_of_parts(regions: list[Region]) -> np.ndarray:
    """The bytes of each of `PARTS`: int64 (parts,)."""
    total = np.zeros(len(PARTS), np.int64)
    for region in regions:
        total[PARTS.index(part_of(region))] += region.end - region.start
    return total
