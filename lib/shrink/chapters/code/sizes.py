"""What a Deep Compression file takes at each number of gap bits, without writing each file.

The lengths are exactly those of `codec.encode`: a code's bits follow from how often each symbol
occurs. Only ANS depends on the order of the symbols, and so it is run, many streams at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.code.parts import PARTS
from shrink.coding import ans, huffman, sparse
from shrink.sharing import Shared

GAP_BITS = tuple(range(1, 9))  # those that the file knows: a gap fits in a byte
GAPS, VALUES, TABLES, CODEBOOKS = map(PARTS.index, ("gaps", "values", "tables", "codebooks"))

Lengths = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Symbols:
    """How often each symbol of a shared weight occurs, and what ANS makes of them.

    `zero` is None where there are no zeros, and so no gaps.
    """

    codebook: Tensor  # (k,)
    zero: int | None
    values: Tensor  # int64 (k,): without fillers
    gaps: Sequence[Tensor]  # of each of GAP_BITS: int64 (2^bits,)
    ans: np.ndarray  # (GAP_BITS, gaps or values, table or stream), bytes

    def entries(self, at: int) -> int:
        """What is stored at the gap bits number `at`, fillers with it."""
        return int((self.values if self.zero is None else self.gaps[at]).sum())

    def fillers(self, at: int) -> int:
        return self.entries(at) - int(self.values.sum())

    def counts(self, at: int) -> tuple[Tensor | None, Tensor]:
        """Of the gaps, if there are any, and of the values, fillers with them."""
        if self.zero is None:
            return None, self.values
        values = self.values.clone()
        values[self.zero] += self.fillers(at)
        return self.gaps[at], values


def symbols_of(shared: Mapping[int, Sequence[Shared]]) -> dict[int, list[Symbols]]:
    """The symbols of some layers' weights, each shared among some numbers of values.

    The zeros are the same whatever the values, so the gaps are too. All streams are coded by ANS
    together.
    """
    streams: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
    for layer, parts in enumerate(zip(*shared.values(), strict=True)):
        kept = [part.assignments.flatten().cpu() for part in parts]
        if parts[0].zero is None:
            for k, numbers in zip(shared, kept, strict=True):
                streams[k, layer, 0] = _with_frequencies(numbers)
            continue
        places = kept[0] != parts[0].zero
        for at, bits in enumerate(GAP_BITS):
            gaps, ones = sparse.relative_indices(places.float(), bits)
            streams["gaps", layer, at] = _with_frequencies(gaps)
            for k, part, numbers in zip(shared, parts, kept, strict=True):
                values = torch.full(ones.shape, part.zero, dtype=torch.uint8)
                values[ones > 0] = numbers[places]
                streams[k, layer, at] = _with_frequencies(values)
    lengths = dict(zip(streams, ans_bytes(list(streams.values())), strict=True))

    def measured(key: tuple, n: int) -> tuple[int, int]:
        table = streams[key][1].tolist()
        return sum(map(_varint, table)) + n - len(table), lengths[key]

    return {
        k: [_symbols(part, layer, k, streams, measured) for layer, part in enumerate(parts)]
        for k, parts in shared.items()
    }


def _symbols(part: Shared, layer: int, k: int, streams: Mapping, measured: Callable) -> Symbols:
    n = len(part.codebook)
    counts = torch.bincount(part.assignments.flatten(), minlength=n).cpu()
    table, gaps = np.zeros((len(GAP_BITS), 2, 2), np.int64), []
    if part.zero is None:
        table[:, 1] = measured((k, layer, 0), n)
    else:
        counts[part.zero] = 0
        for at, bits in enumerate(GAP_BITS):
            key = ("gaps", layer, at)
            table[at] = measured(key, 2**bits), measured((k, layer, at), n)
            gaps.append(torch.bincount(torch.from_numpy(streams[key][0]), minlength=2**bits))
    return Symbols(part.codebook.cpu(), part.zero, counts, gaps, table)


def _with_frequencies(symbols: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The symbols, and the frequencies of those up to the largest that occurs."""
    return symbols.numpy(), _frequencies(tuple(torch.bincount(symbols).tolist()))


@lru_cache(maxsize=512)  # where there are no fillers, more gap bits leave the values as they are
def _frequencies(counts: tuple[int, ...]) -> np.ndarray:
    return ans.quantize_counts(torch.tensor(counts, dtype=torch.int64)).numpy()


def ans_bytes(streams: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[int]:
    """The lengths of the streams that `ans.encode` would write, of (symbols, frequencies) each.

    It takes all lanes of all streams a step at a time. Where a stream has no symbol left, one that
    fills all slots stands in: it leaves the state as it is.
    """
    lanes = [max(1, -(-len(symbols) // ans.PER_LANE)) for symbols, _ in streams]
    rounds = [-(-len(s) // n) for (s, _), n in zip(streams, lanes, strict=True)]
    ends = np.cumsum(lanes)
    slots = np.full((max(rounds, default=0), sum(lanes)), 4096, np.int16)
    begins = np.zeros_like(slots)
    for (symbols, table), n, r, end in zip(streams, lanes, rounds, ends, strict=True):
        for filled, by_symbol in ((slots, table), (begins, np.cumsum(table) - table)):
            column = np.full(r * n, 4096 if filled is slots else 0)
            column[: len(symbols)] = by_symbol[symbols]
            filled[:r, end - n : end] = column.reshape(r, n)
    states, words = np.full(sum(lanes), ans.LEAST), np.zeros(sum(lanes), np.int64)
    for some, begin in zip(slots[::-1], begins[::-1], strict=True):
        f = some.astype(np.int64)
        full = states >= f << 20
        words += full
        states >>= 16 * full
        states += states // f * (4096 - f) + begin
    return [4 * n + 2 * int(words[end - n : end].sum()) for n, end in zip(lanes, ends, strict=True)]


def _varint(number: int) -> int:
    """The bytes of a number of which each holds seven bits."""
    return max(1, -(-number.bit_length() // 7))


def coded(counts: Tensor, code: str, lengths: Lengths, ans_lengths: np.ndarray) -> tuple[int, int]:
    """Bytes of a table, and of the stream with what says its code and its length."""
    n = len(counts)
    if code == "fixed":
        bits = (n - 1).bit_length()
        return 0, 1 + -(-int(counts.sum()) * bits // 8)
    if code == "huffman":
        stream = -(-int((counts * lengths(counts).long()).sum()) // 8)
        return -(-n // 2), 1 + _varint(stream) + stream
    table, stream = map(int, ans_lengths)
    return table, 1 + _varint(stream) + stream


def coded_parts(layers: Sequence[Symbols], at: int, code: str, lengths: Lengths) -> np.ndarray:
    """The bytes of the layers' weights, at their places in `PARTS`, but for names and shapes."""
    total = np.zeros(len(PARTS), np.int64)
    total[CODEBOOKS] = codebook_bytes(layers)
    for layer in layers:
        gaps, values = layer.counts(at)
        if gaps is not None:
            table, stream = coded(gaps, code, lengths, layer.ans[at, 0])
            total[TABLES] += table
            total[GAPS] += 1 + _varint(layer.entries(at)) + stream
        table, stream = coded(values, code, lengths, layer.ans[at, 1])
        total[TABLES] += table
        total[VALUES] += stream
    return total


def count_entries(layers: Sequence[Symbols]) -> tuple[np.ndarray, np.ndarray]:
    """Of all layers: what is stored, and how many of that are fillers; int64 (GAP_BITS,) each."""
    places = range(len(GAP_BITS))
    entries = np.array([sum(layer.entries(at) for layer in layers) for at in places])
    return entries, np.array([sum(layer.fillers(at) for layer in layers) for at in places])


def codebook_bytes(layers: Sequence[Symbols]) -> int:
    """The codebooks: how many values, bytes of each, the values, and which of them is the zero."""
    total = 0
    for layer in layers:
        exact = layer.codebook.half().float().equal(layer.codebook)
        total += 2 + (2 if exact else 4) * len(layer.codebook) + (layer.zero is not None)
    return total


def least_bytes(layers: Sequence[Symbols]) -> np.ndarray:
    """What the weights would take with gaps and values at their entropy, and no tables.

    It is float64 (GAP_BITS,), as are bytes of bits.
    """
    total = np.full(len(GAP_BITS), float(codebook_bytes(layers)))
    for layer in layers:
        for at in range(len(GAP_BITS)):
            for counts in layer.counts(at):
                if counts is not None:
                    total[at] += huffman.entropy(counts) * int(counts.sum()) / 8
    return total
