"""Huffman coding: what occurs often gets a short code, and no code is the beginning of another.

Codes are canonical: they follow from their lengths, so the lengths are all that a file must hold.
"""

import heapq
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from shrink.coding.symbols import alphabet, integers, occurrences, whole

LONGEST = 57  # bits of a code: whichever bit of a byte it begins at, 8 bytes hold it
CHUNK = 2**15  # symbols to encode, or bits to decode, at a time: few enough for the cache
NO_BIT = 2


def entropy(counts: Tensor) -> float:
    """The bits per symbol that no code beats on average: Σ p · log2(1 / p), p = count / total.

    Args:
        counts: integers from 0, (symbols,).

    Source: Shannon 1948, "A Mathematical Theory of Communication", sections 6 and 9.

    Raises:
        TypeError, ValueError: as `code_lengths`.

    >>> entropy(torch.tensor([2, 1, 1])), entropy(torch.tensor([5]))  # 1/2 · 1 + 1/4 · 2 + 1/4 · 2
    (1.5, 0.0)
    """
    occurring = occurrences(counts)
    occurring = occurring[occurring > 0].astype(np.float64)
    surprise = np.log2(occurring.sum() / occurring)
    return float(occurring @ surprise / max(occurring.sum(), 1))


def code_lengths(counts: Tensor, max_length: int | None = None) -> Tensor:
    """The bits of each symbol's code in a prefix code that is as short as any, over all counts.

    Args:
        counts: how often each symbol occurs: integers from 0, (symbols,), at most 2^57 together.
        max_length: no code may be longer; 1 to 57, and 57 if it is not given.

    Returns:
        uint8 (symbols,): 0 for what never occurs, and 1 for a symbol that is alone.

    Source: Huffman 1952, "A Method for the Construction of Minimum-Redundancy Codes"; where a code
    would be too long, package-merge: Larmore and Hirschberg 1990, "A Fast Algorithm for Optimal
    Length-Limited Huffman Codes".
    Differs: a symbol that is alone gets one bit, where Huffman's tree gives it none.

    Raises:
        TypeError: counts are no integers, or max_length is no whole number.
        ValueError: a count is below 0 or their sum above 2^57, more than one axis, more than 65 536
            symbols, or max_length is out of range or too short for that many symbols.

    >>> code_lengths(torch.tensor([8, 1, 0, 2, 1]))
    tensor([1, 3, 0, 2, 3], dtype=torch.uint8)
    >>> code_lengths(torch.tensor([8, 1, 0, 2, 1]), max_length=2)
    tensor([2, 2, 0, 2, 2], dtype=torch.uint8)
    """
    row = occurrences(counts)
    occurring = row.nonzero()[0]
    limit = _checked_limit(max_length, len(occurring))
    lengths = np.zeros(len(row), np.uint8)
    if len(occurring):
        depths = _huffman(row[occurring].tolist())
        if max(depths) > limit:
            depths = _package_merge(row[occurring], limit)
        lengths[occurring] = np.maximum(depths, 1)
    return torch.from_numpy(lengths).to(counts.device)


def _huffman(counts: list[int]) -> list[int]:
    """Merge the two rarest until one is left; a leaf's depth in the tree is its code's length.

    Of equal counts the older goes first, and so the longest code is as short as it can be in an
    optimal code (Schwartz 1964).
    """
    rarest = [(count, node) for node, count in enumerate(counts)]
    heapq.heapify(rarest)
    parent = {}
    for node in range(len(counts), 2 * len(counts) - 1):
        count, one = heapq.heappop(rarest)
        other_count, other = rarest[0]
        parent[one] = parent[other] = node
        heapq.heapreplace(rarest, (count + other_count, node))
    depths = [0] * (2 * len(counts) - 1)
    for node in reversed(range(len(depths) - 1)):  # from the root, which is the last
        depths[node] = depths[parent[node]] + 1
    return depths[: len(counts)]


def _package_merge(counts: np.ndarray, limit: int) -> np.ndarray:
    """The lengths, none above the limit, of which Σ count · length is the least.

    The items of a level are the leaves and *packages*, pairs of items of the level before, all by
    weight. The first 2n - 2 items of the last level, taken apart, hold each leaf as often as its
    code is long.
    """
    order = np.argsort(counts, kind="stable")
    leaves = items = counts[order]
    is_leaf = [np.ones(len(leaves), bool)]
    for _ in range(limit - 1):
        packages = items[: len(items) // 2 * 2].reshape(-1, 2).sum(1)
        both = np.concatenate([leaves, packages])
        by_weight = np.argsort(both, kind="stable")
        items = both[by_weight]
        is_leaf.append(by_weight < len(leaves))
    lengths = np.zeros(len(leaves), np.int64)
    taken = 2 * len(leaves) - 2
    for level in reversed(is_leaf):
        taken_leaves = np.count_nonzero(level[:taken])
        lengths[order[:taken_leaves]] += 1
        taken = 2 * (taken - taken_leaves)
    return lengths


def canonical_codes(lengths: Tensor) -> Tensor:
    """The prefix code that has these lengths: codes rise with the length, and then the symbol.

    Each takes up where the one before ends. Read as a binary fraction, 0.code, it is the sum of
    2^-length over all codes before it.

    Args:
        lengths: integers 0 to 57, (symbols,); 0 is no code.

    Returns:
        int64 (symbols,): the code is the lowest `length` bits, the first of them the highest.

    Source: Schwartz and Kallick 1964, "Generating a Canonical Prefix Encoding".

    Raises:
        TypeError: lengths are no integers.
        ValueError: a length is not 0 to 57, more than one axis, more than 65 536 symbols, or the
            Kraft sum, 2^-length over all codes, is above 1: no prefix code has these lengths.

    >>> canonical_codes(torch.tensor([2, 1, 0, 3, 3]))  # 10, 0, none, 110, 111
    tensor([2, 0, 0, 6, 7])
    """
    row = _checked_lengths(lengths)
    order, begins = _canonical(row)
    codes = np.zeros(len(row), np.int64)
    codes[order] = begins >> (LONGEST - row[order])
    return torch.from_numpy(codes).to(lengths.device)


def encode(symbols: Tensor, lengths: Tensor) -> Tensor:
    """The symbols' canonical codes one after the other, as a stream of bytes.

    Args:
        symbols: integers, (n,), each with a code.
        lengths: as for `canonical_codes`.

    Returns:
        uint8 (⌈bits / 8⌉,): the first bit is the highest of the first byte; zeros fill the last.

    Raises:
        TypeError, ValueError: as `canonical_codes`; symbols are no integers, of more than one axis,
            or one of them has no code (the first such is named).

    >>> encode(torch.tensor([0, 1, 3, 1, 4]), torch.tensor([2, 1, 0, 3, 3]))  # 10 0 110 0 1|11
    tensor([153, 192], dtype=torch.uint8)
    """
    table, row = _checked_lengths(lengths), integers(symbols, "symbols")
    order, begins = _canonical(table)
    missing = row[~np.isin(row, order)]
    if len(missing):
        raise ValueError(f"symbol {missing[0]} has no code")
    rows = _bit_rows(table, order, begins)
    stream = [np.zeros(0, np.uint8)]
    for first in range(0, len(row), CHUNK):
        chosen = row[first : first + CHUNK].astype(np.intp, copy=False)
        bits = rows.take(chosen, axis=0).ravel()
        stream.append(bits.compress(bits != NO_BIT))
    return torch.from_numpy(np.packbits(np.concatenate(stream))).to(symbols.device)


def decode(stream: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The symbols that `encode` was given.

    A code's end says where the next begins, one symbol after the other. To do many at once, we
    look up at *every* bit how long a code that began there would be, and then follow these steps
    by pointer doubling: 1, 2, 4, 8 ... codes on. A damaged stream may well be one of other symbols:
    a file needs a checksum as well.

    Args:
        stream: uint8, (bytes,), and nothing but what `encode` wrote.
        lengths: as for `canonical_codes`.
        count: how many symbols.

    Returns:
        (count,) on the stream's device: uint8 of an alphabet up to 256, int32 of a larger one.

    Source: the lookup, Moffat and Turpin 1997, "On the Implementation of Minimum Redundancy Prefix
    Codes"; pointer doubling, Hillis and Steele 1986, "Data Parallel Algorithms".

    Raises:
        TypeError: lengths are no integers, the stream is not uint8, or count is no whole number.
        ValueError: lengths as in `canonical_codes`; or the stream is not `count` codes: it ends too
            early, has bits that are no code, bytes too many or a last byte not filled with zeros.

    >>> decode(torch.tensor([153, 192], dtype=torch.uint8), torch.tensor([2, 1, 0, 3, 3]), count=5)
    tensor([0, 1, 3, 1, 4], dtype=torch.uint8)
    """
    code = _Decoder.of(_checked_lengths(lengths))
    count = whole(count, "count")
    data = _checked_stream(stream, count)
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    decoded, found, end = [np.zeros(0, code.symbols.dtype)], 0, 0
    for first in range(0, 8 * len(data), CHUNK):
        size = min(CHUNK, 8 * len(data) - first)
        windows = _windows(padded[first // 8 : (first + size) // 8 + 7])
        ranks = code.ranks(windows)
        starts, end = _follow(code.lengths.take(ranks), end - first)
        if len(starts) > count - found:
            end = starts[count - found]
            starts = starts[: count - found]
        decoded.append(code.symbols_at(windows[starts], ranks[starts]))
        found += len(starts)
        end += first
        if found == count:
            break
        if end < first + size:
            raise ValueError(f"the bits at bit {end}, after {found} symbols, are no code")
    _check_end(data, end, found, count)
    return torch.from_numpy(np.concatenate(decoded)).to(stream.device)


@dataclass(frozen=True, eq=False)
class _Decoder:
    """A canonical code by the lengths that occur: codes of one length are consecutive numbers.

    The bits from some place on, a *window*, are compared as a number of 64 bits. Windows that begin
    with a code of the r-th length, of *rank* r, lie between begins[r] and lasts[r].
    """

    symbols: np.ndarray  # in the order of their codes
    lengths: np.ndarray  # rising, and behind them a 0, for bits that are no code
    begins: np.ndarray  # uint64: the first code of the length, and zeros
    lasts: np.ndarray  # uint64: the last code of the length, and ones
    firsts: np.ndarray  # uint64: where the length's symbols begin

    @classmethod
    def of(cls, table: np.ndarray) -> "_Decoder":
        order, begins = _canonical(table)
        lengths, firsts = np.unique(table[order], return_index=True)
        ends = np.append(begins[firsts[1:]], _kraft(table))[: len(lengths)]
        symbols = order.astype(np.uint8 if len(table) <= 256 else np.int32)
        begins, ends = (bound.astype(np.uint64) << 7 for bound in (begins[firsts], ends))
        lasts = ends - 1  # an end at 2^64 has wrapped to 0, and this is all ones
        return cls(symbols, np.append(lengths, 0), begins, lasts, firsts.astype(np.uint64))

    def ranks(self, windows: np.ndarray) -> np.ndarray:
        """How many lengths are too short for the code with which each window begins: uint8."""
        ranks = np.zeros(len(windows), np.uint8)
        for last in self.lasts:
            ranks += windows > last
        return ranks

    def symbols_at(self, windows: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        unused = (64 - self.lengths).astype(np.uint64)
        above_first = (windows - self.begins.take(ranks)) >> unused.take(ranks)
        return self.symbols[self.firsts.take(ranks) + above_first]


def _windows(data: np.ndarray) -> np.ndarray:
    """The 64 bits that begin at each bit of all bytes but the last seven, zeros behind: uint64."""
    words = np.lib.stride_tricks.sliding_window_view(data, 8).copy().view(">u8")
    return (words.astype(np.uint64) << np.arange(8, dtype=np.uint64)).ravel()


def _follow(steps: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """The places met on the way from a start, each place's step on from it, and where it ends.

    It ends beyond the last step, or where the step is 0.
    """
    after = np.arange(len(steps) + LONGEST)
    after[: len(steps)] += steps
    places = np.array([start])
    while after[places[-1]] != places[-1]:
        places = np.concatenate([places, after.take(places)])
        after = after.take(after)
    end = places[-1]
    return places[: np.searchsorted(places, end)], int(end)


def _check_end(data: np.ndarray, end: int, found: int, count: int) -> None:
    """The stream holds all symbols, and after them fewer than eight bits, all zero."""
    unused = 8 * len(data) - end
    if found < count or unused < 0:
        raise ValueError(f"the stream of {len(data)} bytes is too short for {count} symbols")
    if unused >= 8:
        raise ValueError(f"{unused // 8} bytes are left over after {count} symbols")
    if unused and data[-1] & ((1 << unused) - 1):
        raise ValueError(f"the last {unused} bits must be zero, but the last byte is {data[-1]}")


def _canonical(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbols that have a code, in the order of their codes, and these: int64, zeros behind.

    A code of length l takes 2^(57 - l) of the 2^57 numbers of 57 bits: those that begin with it.
    """
    kraft = _kraft(table)
    if kraft > 2**LONGEST:
        raise ValueError(f"no prefix code: the Kraft sum is {Fraction(kraft, 2**LONGEST)}, above 1")
    order = np.argsort(table, kind="stable")[np.count_nonzero(table == 0) :]
    widths = 1 << (LONGEST - table[order])
    return order, np.cumsum(widths) - widths


def _kraft(table: np.ndarray) -> int:
    """The Kraft sum, Σ 2^-length over all codes, times 2^57."""
    per_length = np.bincount(table, minlength=1).tolist()
    return sum(codes << (LONGEST - bits) for bits, codes in enumerate(per_length) if bits)


def _bit_rows(table: np.ndarray, order: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Each symbol's code, a column per bit: uint8 (symbols, longest), NO_BIT where it has ended."""
    places = np.arange(table.max(initial=0))
    bits = begins[:, None] >> (LONGEST - 1 - places) & 1
    rows = np.full((len(table), len(places)), NO_BIT, np.uint8)
    rows[order] = np.where(places < table[order, None], bits, NO_BIT)
    return rows


def _checked_lengths(lengths: Tensor) -> np.ndarray:
    row = alphabet(lengths, "lengths")
    if len(row) and row.max() > LONGEST:
        raise ValueError(f"lengths must be 0 to {LONGEST}, not {row.max()}")
    return row


def _checked_limit(max_length: int | None, occurring: int) -> int:
    if max_length is None:
        return LONGEST
    max_length = whole(max_length, "max_length")
    if not 1 <= max_length <= LONGEST:
        raise ValueError(f"max_length must be 1 to {LONGEST}, not {max_length}")
    if occurring > 2**max_length:
        raise ValueError(f"max_length {max_length} is too short for {occurring} symbols")
    return max_length


def _checked_stream(stream: Tensor, count: int) -> np.ndarray:
    if integers(stream, "stream").dtype != np.uint8:
        raise TypeError(f"stream must be uint8, not {stream.dtype}")
    if not 0 <= count <= 8 * len(stream):
        raise ValueError(f"count must be 0 to a symbol a bit of {len(stream)} bytes, not {count}")
    return stream.cpu().numpy()
