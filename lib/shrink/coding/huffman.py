"""Huffman coding: what occurs often gets a short code, and no code is the beginning of another.

Codes are canonical: they follow from their lengths, so the lengths are all that a file must hold.
"""

import heapq
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from shrink.coding.symbols import alphabet, integers, occurrences, whole

LONGEST = 57  # bits of a code: whichever bit of a byte it begins at, 8 bytes hold it
CHUNK = 2**17  # bits to decode at a time: few enough for the cache
FEW = 2**14  # bits: no more are followed in one block
LOOKUP = 16  # bits that are looked up at once, at most; longer codes are compared with


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
    if len(row) and (row.min() < 0 or row.max() >= len(table) or not (table > 0).take(row).all()):
        raise ValueError(f"symbol {row[~np.isin(row, order)][0]} has no code")
    codes = np.zeros(len(table) + 1, np.uint64)  # and one of no bits, that fills up
    codes[order] = begins.astype(np.uint64) << 7
    bits = np.append(table, 0).astype(np.uint64)
    while len(bits) ** 2 <= min(2**16, len(row) // 4):  # pairs are the symbols, with codes of both
        row = np.append(row, len(bits) - 1) if len(row) % 2 else row
        row = row[::2].astype(np.uint16) * np.uint16(len(bits)) + row[1::2].astype(np.uint16)
        codes = (codes[:, None] | codes >> bits[:, None]).ravel()
        bits = (bits[:, None] + bits).ravel()
    stream = _end_to_end(codes.take(row), bits.take(row))
    return torch.from_numpy(stream).to(symbols.device)


def _end_to_end(codes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Codes one after the other: uint8. Each is the highest bits of an uint64, zeros behind."""
    while len(codes) > 1:  # neighbours become one, as long as 64 bits hold any two
        if len(codes) % 2:
            codes, bits = np.append(codes, np.uint64(0)), np.append(bits, np.uint64(0))
        both = bits[::2] + bits[1::2]
        if both.max() > 64:
            break
        codes, bits = codes[::2] | codes[1::2] >> bits[::2], both
    if len(codes) == 0:
        return np.zeros(0, np.uint8)
    ends = bits.cumsum()
    begins = ends - bits
    word, within = begins >> 6, begins & 63
    first = np.flatnonzero(np.diff(word, prepend=word[-1:] + 1))  # code that begins in each word
    last = np.append(first[1:], len(codes)) - 1
    words = np.zeros(len(first) + 1, np.uint64)
    words[:-1] = np.bitwise_or.reduceat(codes >> within, first)
    words[1:] |= codes[last] << (64 - within[last])  # what of the last goes on in the next word
    return words.astype(">u8").view(np.uint8)[: -(-int(ends[-1]) // 8)]


def decode(stream: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The symbols that `encode` was given.

    A code's end says where the next begins, one symbol after the other. To do many at once, we
    look up at *every* bit how long a code that began there would be. Then we cut the bits into
    blocks, and go through all blocks side by side: once backwards, for where in the next block one
    comes out from each bit, and once forwards, from where one really came in. A damaged stream may
    well be one of other symbols: a file needs a checksum as well.

    Args:
        stream: uint8, (bytes,), and nothing but what `encode` wrote.
        lengths: as for `canonical_codes`.
        count: how many symbols.

    Returns:
        (count,) on the stream's device: uint8 of an alphabet up to 256, int32 of a larger one.

    Source: the lookup, Moffat and Turpin 1997, "On the Implementation of Minimum Redundancy Prefix
    Codes"; a block as a function of where one comes in, Ladner and Fischer 1980, "Parallel Prefix
    Computation".

    Raises:
        TypeError: lengths are no integers, the stream is not uint8, or count is no whole number.
        ValueError: lengths as in `canonical_codes`; or the stream is not `count` codes: it ends too
            early, has bits that are no code, bytes too many or a last byte not filled with zeros.

    >>> decode(torch.tensor([153, 192], dtype=torch.uint8), torch.tensor([2, 1, 0, 3, 3]), count=5)
    tensor([0, 1, 3, 1, 4], dtype=torch.uint8)
    """
    table, count = _checked_lengths(lengths), whole(count, "count")
    data = _checked_stream(stream, count)
    code = _Decoder.of(table, max(8, len(data).bit_length() - 1))
    decoded, found, end = [np.zeros(0, code.symbols.dtype)], 0, 0
    for first in range(0, 8 * len(data), CHUNK):
        size = min(CHUNK, 8 * len(data) - first)
        bits = _Bits(data[first // 8 : (first + size) // 8 + 8], size, code.prefix)
        starts, end = _follow(code.steps(bits), size, bits.blocks, end - first)
        if len(starts) > count - found:
            end = int(bits.places(starts[count - found]))
            starts = starts[: count - found]
        decoded.append(code.symbols_at(bits, starts))
        found += len(starts)
        end += first
        if found == count:
            break
        if end < first + size:
            raise ValueError(f"the bits at bit {end}, after {found} symbols, are no code")
    _check_end(data, end, found, count)
    return torch.from_numpy(np.concatenate(decoded)).to(stream.device)


class _Bits:
    """Bits in blocks, side by side: of bit i of block j the number is i · blocks + j.

    `prefixes` is what each bit and those behind it read as a number of few bits; zeros follow
    the data.
    """

    def __init__(self, data: np.ndarray, size: int, prefix: int) -> None:
        # of a block: longer than any code, and as many rounds as there are blocks to go through
        self.length = size if size <= FEW else 8 * max(8, math.isqrt(size) // 16)
        self.blocks = -(-size // self.length)
        across = self.length // 8
        self.data = np.zeros(across * self.blocks + 8, np.uint8)
        self.data[: len(data)] = data[: len(self.data)]
        rows = sliding_window_view(self.data, across + 2)[: across * self.blocks : across]
        rows = rows.T.astype(np.uint32)
        three = rows[:-2] << 16 | rows[1:-1] << 8 | rows[2:]
        by_bit = np.empty((across, 8, self.blocks), np.uint16)
        for bit in range(8):
            by_bit[:, bit] = three >> (24 - prefix - bit) & ((1 << prefix) - 1)
        self.prefixes = by_bit.ravel()

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Where in the data the bits of these numbers are."""
        row = numbers // self.blocks
        return row + (numbers - row * self.blocks) * self.length

    def windows(self, numbers: np.ndarray) -> np.ndarray:
        """The 57 bits that begin at each, and some more: uint64."""
        places = self.places(numbers)
        words = sliding_window_view(self.data, 8)[places >> 3].view(">u8").ravel()
        return words.astype(np.uint64) << (places & 7).astype(np.uint64)


@dataclass(frozen=True, eq=False)
class _Decoder:
    """A canonical code by the lengths that occur: codes of one length are consecutive numbers.

    The bits from some place on, a *window*, are compared as a number of 64 bits. Windows that begin
    with a code of the r-th length, of *rank* r, lie between begins[r] and lasts[r]. All that short
    codes begin comes before the rest, and is looked up.
    """

    prefix: int  # bits
    symbols: np.ndarray  # in the order of their codes
    lengths: np.ndarray  # rising, and behind them a 0, for bits that are no code
    begins: np.ndarray  # uint64: the first code of the length, and zeros
    lasts: np.ndarray  # uint64: the last code of the length, and ones
    firsts: np.ndarray  # uint64: where the length's symbols begin
    short_lengths: np.ndarray  # uint8, by prefix: 0 where it is no short code's
    short_symbols: np.ndarray  # by prefix

    @classmethod
    def of(cls, table: np.ndarray, prefix: int) -> "_Decoder":
        """It looks up that many bits at once, or as many as are of use."""
        order, begins = _canonical(table)
        lengths, firsts = np.unique(table[order], return_index=True)
        ends = np.append(begins[firsts[1:]], _kraft(table))[: len(lengths)]
        symbols = order.astype(np.uint8 if len(table) <= 256 else np.int32)
        begins, ends = (bound.astype(np.uint64) << 7 for bound in (begins[firsts], ends))
        lasts = ends - 1  # an end at 2^64 has wrapped to 0, and this is all ones
        prefix = min(prefix, LOOKUP, int(table.max(initial=0)))
        short = table[order][table[order] <= prefix]
        prefixes = 1 << (prefix - short)
        rest = (0, (1 << prefix) - prefixes.sum())
        return cls(
            prefix,
            symbols,
            np.append(lengths, 0),
            begins,
            lasts,
            firsts.astype(np.uint64),
            np.pad(short.astype(np.uint8).repeat(prefixes), rest),
            np.pad(symbols[: len(short)].repeat(prefixes), rest),
        )

    def steps(self, bits: _Bits) -> np.ndarray:
        """How long the code is that begins at each bit, 0 where none does: uint8."""
        steps = self.short_lengths.take(bits.prefixes)
        others = np.flatnonzero(steps == 0)
        steps[others] = self.lengths.take(self.ranks(bits.windows(others)))
        return steps

    def ranks(self, windows: np.ndarray) -> np.ndarray:
        """How many lengths are too short for the code with which each window begins: uint8."""
        ranks = np.zeros(len(windows), np.uint8)
        for last in self.lasts:
            ranks += windows > last
        return ranks

    def symbols_at(self, bits: _Bits, starts: np.ndarray) -> np.ndarray:
        prefixes = bits.prefixes.take(starts)
        symbols = self.short_symbols.take(prefixes)
        others = np.flatnonzero(self.short_lengths.take(prefixes) == 0)
        windows = bits.windows(starts[others])
        ranks = self.ranks(windows)
        unused = (64 - self.lengths).astype(np.uint64)
        above_first = (windows - self.begins.take(ranks)) >> unused.take(ranks)
        symbols[others] = self.symbols[self.firsts.take(ranks) + above_first]
        return symbols


def _follow(steps: np.ndarray, size: int, blocks: int, start: int) -> tuple[np.ndarray, int]:
    """The numbers of the bits met on the way from a start, by steps, and the place where it ends.

    It ends beyond `size` bits, or where the step is 0. Below a block's own bits stand those of the
    next that a step may reach, and last where one stays for good.
    """
    if blocks == 1:
        return _follow_doubling(steps, start)
    own = len(steps)
    length = own // blocks
    steps[(size - (blocks - 1) * length) * blocks + blocks - 1 :: blocks] = 0
    after = np.zeros(own + (LONGEST + 1) * blocks, np.int32)
    np.multiply(steps, blocks, out=after[:own], dtype=np.int32)
    after += np.arange(len(after), dtype=np.int32)
    after[:own][steps == 0] = len(after) - 1
    out = np.empty((length + LONGEST + 1, blocks), np.uint8)  # how far into the next block
    out[length:] = np.arange(LONGEST + 1)[:, None]
    by_row = after[:own].reshape(length, blocks)
    for row in reversed(range(length)):
        out.ravel().take(by_row[row], out=out[row], mode="clip")
    entries = [start]
    for block in range(blocks):
        entries.append(int(out[entries[-1], block]))
        if entries[-1] == LONGEST:
            break
    now, rounds = np.array(entries[:-1]) * blocks + np.arange(len(entries) - 1), []
    while len(now) and now.min() < own:
        rounds.append(now)
        now = after.take(now)
    met = np.stack(rounds, 1).ravel()
    met = met[met < own]  # those of the first block, of the second ...
    if entries[-1] < LONGEST:
        return met, own + entries[-1]
    return met[:-1], int(met[-1] % blocks * length + met[-1] // blocks)


def _follow_doubling(steps: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """Likewise in one block, by all bits' steps doubled each time: Hillis and Steele 1986."""
    after = np.arange(len(steps) + LONGEST)
    after[: len(steps)] += steps
    met = np.array([start])
    while after[met[-1]] != met[-1]:
        met = np.concatenate([met, after.take(met)])
        after = after.take(after)
    end = met[-1]
    return met[: np.searchsorted(met, end)], int(end)


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
