"""What a byte of chapter 05's file is, what comes of a flipped bit, and how both are said."""

import html
import math
from dataclasses import dataclass, field

import numpy as np

from shrink.chapters.code.parts import PARTS
from shrink.coding.codec_bytes import Region

CANVAS = 300  # pixels of the picture of a tensor, each way


@dataclass(frozen=True)
class Outcome:
    """What comes of a file: refused, in whose words, or a network and how it differs.

    `by_reader` is False where the file could be read, and is of another network.
    """

    refused: str = ""
    by_reader: bool = True
    accuracy: float = math.nan
    tensor: str = ""  # the one that changed, "" where nothing did
    changed: int = 0  # numbers
    of: int = 0  # so many that the tensor has
    farthest: float = 0.0  # the greatest change of a number
    picture: np.ndarray = field(default_factory=lambda: np.zeros((CANVAS, CANVAS), np.uint8))


@dataclass(frozen=True)
class Flip:
    """A random bit that was flipped: whether it was caught by the checksum, and repaired or not."""

    byte: int
    bit: int
    part: str
    caught: bool  # with the checksum as it is
    refused: bool  # with the checksum repaired
    changed: int  # numbers of the network, with the checksum repaired
    accuracy: float  # NaN where it was refused


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    content: bytes
    regions: tuple[Region, ...]
    parts: np.ndarray  # bytes of each of PARTS
    byte: int
    bit: int  # 7 is the highest
    repaired: bool
    region: Region  # that the byte is in
    part: str
    value: int
    meaning: str  # of the byte
    meaning_after: str  # of the byte with the bit flipped, where it is another
    outcome: Outcome
    accuracy: float  # of the file as it is
    images: int
    flips: tuple[Flip, ...]


def place(region: Region) -> str:
    """The region by name: of which tensor, and what of it."""
    return f"{region.tensor}, {region.what}" if region.tensor else region.what


def describe(view: View) -> str:
    """The picture in a sentence."""
    outcome = view.outcome
    if outcome.refused:
        comes_of_it = f"refused: {outcome.refused}"
    elif outcome.changed:
        comes_of_it = (
            f"read as a network of which {outcome.changed:,} of the {outcome.of:,} numbers of "
            f"{outcome.tensor} are others, and {100 * outcome.accuracy:.1f} % right"
        )
    else:
        comes_of_it = "read as the same network"
    refused = sum(flip.refused for flip in view.flips)
    return (
        f"A map of the file's {len(view.content):,} bytes, with a mark on byte {view.byte:,}, "
        f"{place(view.region)}; its bits, which are {view.value:08b}; and what comes of flipping "
        f"bit {view.bit}: {comes_of_it}."
        + (f" {len(view.flips)} random flips by part, {refused} refused." if view.flips else "")
    )


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    first = (
        f"Byte {view.byte:,} of {len(view.content):,}, {place(view.region)}: {view.value}, "
        f"{html.escape(view.meaning)}. Bit {view.bit} flipped, the checksum "
        f"{'repaired' if view.repaired else 'as it is'}: {_of_outcome(view)}"
    )
    return "<br>".join([first, _of_parts(view), *_of_flips(view)])


def _of_outcome(view: View) -> str:
    outcome = view.outcome
    if outcome.refused:
        kind = "CodecError" if outcome.by_reader else "the file is read, but"
        return f"<b>refused</b>. {kind}: {html.escape(outcome.refused)}"
    accuracy = (
        f"<b>{100 * outcome.accuracy:.1f} %</b> of {view.images:,} validation images right, "
        f"as the file is {100 * view.accuracy:.1f} %."
    )
    if not outcome.changed:
        return f"nothing changes in the network, {accuracy}"
    far = f"by up to {outcome.farthest:.3g}" if math.isfinite(outcome.farthest) else "one no number"
    changed = (
        "1 number is another, one of"
        if outcome.changed == 1
        else f"{outcome.changed:,} numbers are others, most of them among"
    )
    return (
        f"<b>nobody notices</b>, and {changed} the {outcome.of:,} of {outcome.tensor}, {far}; "
        f"{accuracy}"
    )


def _of_parts(view: View) -> str:
    total = view.parts.sum()
    parts = (
        f"{name} {size:,} ({100 * size / total:.2g} %)"
        for name, size in zip(PARTS, view.parts, strict=True)
        if size
    )
    return f"The file's bytes: {', '.join(parts)}."


def _of_flips(view: View) -> list[str]:
    """How the random flips fared, all together and by part."""
    flips = view.flips
    if not flips:
        return []
    caught, refused = (sum(getattr(f, what) for f in flips) for what in ("caught", "refused"))
    silent = [flip for flip in flips if not flip.refused and flip.changed]
    lost = [100 * (view.accuracy - flip.accuracy) for flip in silent]
    words = (
        f"<b>{len(flips)} random flips.</b> With the checksum as it is {caught} are refused. "
        f"With it repaired other checks refuse {refused}, and {len(silent)} silently give another "
        "network"
    )
    if not silent:
        return [f"{words}."]
    by_part = []
    for part in PARTS:
        some = [f for f in flips if f.part == part]
        bad = [100 * (view.accuracy - f.accuracy) for f in some if f in silent]
        if some:
            loss = f", {len(bad)} silent, losing {np.mean(bad):.1f} points" if bad else ""
            by_part.append(f"{part} {sum(f.refused for f in some)} of {len(some)} refused{loss}")
    return [
        f"{words}, which loses {np.mean(lost):.1f} points on average and {max(lost):.1f} at worst. "
        f"By part: {'; '.join(by_part)}."
    ]
