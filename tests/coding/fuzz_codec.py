"""Damaged and drawn files for the codec: each must be refused, or be a model within the limits.

`python -m tests.coding.fuzz_codec 100000` runs as many: half are files of ours that were changed,
half are drawn from the format's grammar. It fails at the first file that does anything else, and at
the end if one took a second of the processor, or all took 100 MB above the process after its
imports.
"""

import argparse
import contextlib
import random
import resource
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from tqdm import tqdm

from shrink import quantization, sharing
from shrink.coding import codec_format
from shrink.coding.codec import ArithmeticCoded, CodecError, Quantized, Scaled, decode, encode
from tests.coding import grammar
from tests.coding.heavy import BODIES, heavy

MEGABYTES, SECONDS = 100, 1.0


@dataclass
class Report:
    """How the files fared; `slowest` in seconds of the processor."""

    files: int = 0
    drawn: int = 0  # from the grammar
    repaired: int = 0
    refused: int = 0
    loaded: int = 0
    slowest: float = 0.0


@cache
def samples() -> tuple[bytes, ...]:
    """Small files of every kind and code."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 15, generator=generator)
    mask = torch.rand(12, 15, generator=generator) < 0.2
    sparse, dense = sharing.share(weight * mask, 5), sharing.share(weight, 3)
    files = [encode({"fc.weight": sparse}, code=code, gap_bits=3) for code in codec_format.CODES]
    files += [encode({"fc.weight": dense}, code=code) for code in codec_format.CODES]
    for how in ({"axis": 0}, {"group": 4}):
        p = quantization.qparams_of(weight, num_bits=3, **how)
        files.append(encode({"q": Quantized(quantization.quantize(weight, p), p)}))
    signs = (weight > 0).char() * 2 - 1
    for scale in (torch.tensor(0.5), torch.rand(12, 1, generator=generator)):
        files += [encode({"s": Scaled(signs, scale)}, code=code) for code in codec_format.CODES]
    few = (weight * mask).round().char()
    coded = {"fc.weight": ArithmeticCoded(few, torch.rand(12, 1, generator=generator))}
    files.append(encode(coded | {"fc.bias": ArithmeticCoded(few[0], torch.tensor(0.5))}))
    files.append(encode({"a": torch.ones(3), "b": torch.tensor([True]), "c": torch.zeros(0, 2)}))
    return tuple(files)


def repaired(content: bytes) -> bytes:
    """The content with the checksum that it should have."""
    return content[:-4] + zlib.crc32(content[:-4]).to_bytes(4, "little")


def _flip(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def _replace(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 1, 3])):
        content[rng.randrange(len(content))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return content


def _cut(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 2, 4, len(content)])]
    return content


def _insert(content: bytearray, rng: random.Random) -> bytearray:
    at = rng.randrange(len(content) + 1)
    content[at:at] = rng.randbytes(rng.choice([1, 1, 2, 5, 300]))
    return content


def _splice(content: bytearray, rng: random.Random) -> bytearray:
    other = rng.choice(samples())
    at = rng.randrange(min(len(content), len(other)))
    content[at:] = other[at:]
    return content


def _huge(content: bytearray, rng: random.Random) -> bytearray:
    """A length as large as five bytes say."""
    at = rng.randrange(len(content))
    content[at : at + 1] = bytes([255, 255, rng.randrange(128)])
    return content


MUTATIONS: tuple[Callable, ...] = (_flip, _replace, _cut, _insert, _splice, _huge)


def damaged(rng: random.Random) -> tuple[bytes, bool]:
    """A file that is not as it was, and whether its checksum was repaired."""
    original = rng.choice(samples())
    while True:
        content = bytearray(original)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            if content:
                content = rng.choice(MUTATIONS)(content, rng)
        if bytes(content) in samples():
            continue
        if rng.random() < 0.5 and len(content) > 4:
            return repaired(bytes(content)), True
        return bytes(content), False


def fuzz(files: int, seed: int, progress: Callable = lambda _: None) -> Report:
    """Decode so many files; AssertionError at the first that is not as it must be."""
    rng, report = random.Random(seed), Report()
    for _ in range(files):
        drawn = rng.random() < 0.5
        content, mended = damaged(rng) if not drawn else (grammar.drawn(rng), True)
        began = time.process_time()
        try:
            tensors = decode(content)
        except CodecError as error:
            assert str(error), content
            report.refused += 1
        else:
            assert mended, f"loaded without its checksum: {content!r}"
            assert sum(t.numel() for t in tensors.values()) <= codec_format.MOST, content
            report.loaded += 1
        report.slowest = max(report.slowest, time.process_time() - began)
        report.drawn += drawn
        report.repaired += mended and not drawn
        report.files += 1
        progress(1)
    return report


def _seconds(content: bytes) -> float:
    """Of the processor, until it is loaded or refused."""
    began = time.process_time()
    with contextlib.suppress(CodecError):
        decode(content)
    return time.process_time() - began


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heavy", action="store_true", help="those of `heavy` before them")
    args = parser.parse_args()
    samples()
    before = _peak()
    heaviest = max(_seconds(heavy(what)) for what in BODIES) if args.heavy else 0
    with tqdm(total=args.files, unit="file", disable=None) as bar:
        report = fuzz(args.files, args.seed, bar.update)
    memory, slowest = _peak() - before, max(report.slowest, heaviest)
    print(
        f"{report.files:,} files, {report.drawn:,} drawn from the grammar and {report.repaired:,} "
        f"with the checksum repaired: {report.refused:,} refused, {report.loaded:,} loaded; "
        f"slowest {slowest:.3f} s of the processor, {memory:.0f} MB above the imports"
    )
    assert slowest < SECONDS and memory < MEGABYTES


if __name__ == "__main__":
    main()
