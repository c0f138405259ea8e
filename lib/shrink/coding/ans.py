"""Asymmetric numeral systems: a code whose symbols cost fractions of a bit, near the entropy.

All that is coded is one number, the *state*. A symbol of frequency f in 2^b makes it 2^b / f times
as large, and so costs log2(2^b / f) bits, where a Huffman code has whole bits and at least one.
"""

import heapq
import math

import numpy as np
import torch
from torch import Tensor

from shrink.coding.symbols import alphabet, integers, occurrences, whole

LEAST = 2**16  # a state is 2^16 to 2^32 - 1; what would lead beyond goes to the stream, 16 bits
WORD = np.uint32(16)  # bits
HIGHEST = 16  # bits of precision: a frequency of 1 then still fits between the bounds of the state
PER_LANE = 4096  # symbols: enough that 4 bytes per lane hardly count, few enough for numpy's lanes


def quantize_counts(counts: Tensor, precision: int = 12) -> Tensor:
    """Frequencies that add up to 2^precision and cost these counts the fewest bits.

    Each symbol that occurs gets 1. The rest is given away one by one, each time to the symbol that
    saves most bits: going from f to f + 1 saves count · log2((f + 1) / f). That is less each time,
    so no later choice makes an earlier one wrong.

    Args:
        counts: how often each symbol occurs: integers from 0, (symbols,), at most 2^57 together.
        precision: 1 to 16.

    Returns:
        int64 (symbols,): 0 for what never occurs; all 0 where nothing does.

    Source: the rule is marginal analysis: Fox 1966, "Discrete Optimization via Marginal Analysis".

    Raises:
        TypeError: counts are no integers, or precision is no whole number.
        ValueError: a count is below 0 or their sum above 2^57, more than one axis, more than 65 536
            symbols, precision is out of range, or more than 2^precision symbols occur.

    >>> quantize_counts(torch.tensor([90, 0, 9, 1]), precision=3)
    tensor([6, 0, 1, 1])
    """
    row = occurrences(counts)
    precision = _checked_precision(precision)
    left = 2**precision - np.count_nonzero(row)
    if left < 0:
        occurring = np.count_nonzero(row)
        raise ValueError(f"precision {precision} is too low for {occurring} symbols that occur")
    frequencies = np.minimum(row, 1)
    saved = [(-count, symbol) for symbol, count in enumerate(row.tolist()) if count]
    heapq.heapify(saved)
    for _ in range(left if saved else 0):
        symbol = saved[0][1]
        frequencies[symbol] += 1
        next_saved = int(row[symbol]) * math.log2(1 + 1 / int(frequencies[symbol]))
        heapq.heapreplace(saved, (-next_saved, symbol))
    return torch.from_numpy(frequencies).to(counts.device)


def encode(symbols: Tensor, frequencies: Tensor) -> Tensor:
    """The symbols as a stream of bytes, near Σ log2(2^b / f) bits and 3 bytes a lane.

    Of the *slots* 0 to 2^b - 1 each symbol owns as many as its frequency f, from `begin` on, where
    the symbol before it ends. It takes the state x to ⌊x / f⌋ · 2^b + begin + x mod f, and the
    lowest b bits are then one of its slots. What is coded last is decoded first, so we start with
    the last symbol. One state would mean a loop over the symbols; we keep one for every 4096, a
    *lane*, and give symbol i to lane i mod lanes.

    Args:
        symbols: integers, (n,), each of a frequency above 0.
        frequencies: integers from 0, (symbols,), that add up to 2^b, b = 0 to 16; or all 0, where
            there are no symbols.

    Returns:
        uint8: the last state of each lane, 4 bytes, the lowest first; then, in the order in which
        `decode` needs them, the words of 2 bytes that kept the states below 2^32.

    Source: Duda 2013, "Asymmetric Numeral Systems", the range variant (rANS); lanes: Giesen 2014,
    "Interleaved Entropy Coders".

    Raises:
        TypeError: symbols or frequencies are no integers.
        ValueError: more than one axis, more than 65 536 frequencies, one below 0, or a sum that is
            no such power of two; or a symbol has no frequency (the first such is named).

    >>> encode(torch.tensor([0]), torch.tensor([3, 1]))  # 65536 = 21845 · 3 + 1 → 21845 · 4 + 1
    tensor([85, 85,  1,  0], dtype=torch.uint8)
    >>> often = encode(torch.zeros(4096, dtype=torch.uint8), torch.tensor([4095, 1]))
    >>> len(often)  # 4096 symbols of 0.00035 bits, in the 4 bytes of a state
    4
    """
    table, precision = _checked_frequencies(frequencies)
    row = integers(symbols, "symbols")
    if len(row) and (row.min() < 0 or row.max() >= len(table) or not (table > 0).take(row).all()):
        missing = row[~np.isin(row, table.nonzero()[0])]
        raise ValueError(f"symbol {missing[0]} has no frequency")
    lanes = _lanes(len(row))
    rounds = -(-len(row) // lanes)
    filled = np.full(rounds * lanes, len(table))  # the last round by what leaves states as they are
    filled[: len(row)] = row
    f, begin = np.append(table, 2**precision), np.append(np.cumsum(table) - table, 0)
    highest = np.maximum(f << (32 - precision), 1) - 1  # state that stays below 2^32
    by_symbol = (part.astype(np.uint32) for part in (f, highest, 2**precision - f, begin))
    by_round = [part.take(filled).reshape(rounds, lanes)[::-1] for part in by_symbol]
    x, y = np.full(lanes, LEAST, np.uint32), np.empty(lanes, np.uint32)
    states, full = np.empty((rounds, lanes), np.uint32), np.empty((rounds, lanes), bool)
    # Sixty numbers a call: what counts is calls, and so each has its place for the result.
    for f, highest, more, begin, state, is_full in zip(*by_round, states, full, strict=True):
        state[:] = x
        np.greater(x, highest, is_full)
        np.multiply(is_full, WORD, y)
        np.right_shift(x, y, x)
        np.floor_divide(x, f, y)
        np.multiply(y, more, y)
        np.add(x, y, x)
        np.add(x, begin, x)  # ⌊x / f⌋ · 2^b + x mod f + begin
    words = states[::-1][full[::-1]].astype("<u2")
    stream = np.concatenate([x.astype("<u4").view(np.uint8), words.view(np.uint8)])
    return torch.from_numpy(stream).to(symbols.device)


def decode(stream: Tensor, frequencies: Tensor, count: int) -> Tensor:
    """The symbols that `encode` was given: its steps backwards, all lanes at once.

    The state x was made by the symbol that has the slot x mod 2^b; before, it was
    f · ⌊x / 2^b⌋ + x mod 2^b - begin. In the end each lane must be where `encode` began. Most
    damage shows there, but not all: a file needs a checksum as well.

    Args:
        stream: uint8, (bytes,), and nothing but what `encode` wrote.
        frequencies: as for `encode`.
        count: how many symbols; a stream of n bytes holds at most 1024 · n.

    Returns:
        (count,) on the stream's device: uint8 of an alphabet up to 256, int32 of a larger one.

    Source: as `encode`.

    Raises:
        TypeError: frequencies are no integers, the stream is not uint8, or count is no whole
            number.
        ValueError: frequencies as in `encode`; or the stream is not `count` symbols: too short, too
            long, or a state that `encode` does not have.

    >>> frequencies = torch.tensor([13, 2, 1])
    >>> stream = encode(torch.tensor([0, 0, 2, 0, 1]), frequencies)
    >>> decode(stream, frequencies, count=5)
    tensor([0, 0, 2, 0, 1], dtype=torch.uint8)
    """
    table, precision = _checked_frequencies(frequencies)
    count = whole(count, "count")
    states, words = _checked_stream(stream, count)
    if count and not table.any():
        raise ValueError(f"{count} symbols, but every frequency is 0")
    owner = np.repeat(np.arange(len(table)), table)  # of each slot
    f, place = table[owner], np.arange(len(owner)) - (np.cumsum(table) - table)[owner]
    slots, read = np.empty(count, np.uint16), 0
    for first in range(0, count, len(states)):
        x = states[: count - first]
        slot = x & (2**precision - 1)
        slots[first : first + len(x)] = slot
        x[:] = f[slot] * (x >> precision) + place[slot]
        short = (x < LEAST).nonzero()[0]
        if read + len(short) > len(words):
            raise ValueError(f"the stream ends within {count} symbols, after {first}")
        x[short] = x[short] << 16 | words[read : read + len(short)]
        read += len(short)
    _check_end(states, len(words) - read)
    symbols = owner.astype(np.uint8 if len(table) <= 256 else np.int32)
    return torch.from_numpy(symbols[slots]).to(stream.device)


def rounds(count: int) -> int:
    """How often `decode` takes a symbol from every lane, for `count` symbols: at most 4096 times.

    >>> rounds(100), rounds(5000)
    (100, 2500)
    """
    return -(-count // _lanes(count))


def _lanes(count: int) -> int:
    return max(1, -(-count // PER_LANE))


def _checked_stream(stream: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The states, int64 (lanes,), and the words, uint16."""
    data = integers(stream, "stream")
    if data.dtype != np.uint8:
        raise TypeError(f"stream must be uint8, not {stream.dtype}")
    if count < 0:
        raise ValueError(f"count must be at least 0, not {count}")
    head = 4 * _lanes(count)
    if len(data) < head or len(data) % 2:
        raise ValueError(f"{count} symbols take {head} bytes and words of 2, not {len(data)} bytes")
    states = data[:head].view("<u4").astype(np.int64)
    if states.min() < LEAST:
        raise ValueError(f"a state is at least {LEAST}, not {states.min()}")
    return states, data[head:].view("<u2")


def _check_end(states: np.ndarray, words: int) -> None:
    if words:
        raise ValueError(f"{2 * words} bytes are left over")
    if (states != LEAST).any():
        wrong = states[states != LEAST][0]
        raise ValueError(f"a lane ends in the state {wrong}, not in {LEAST}: the stream is damaged")


def _checked_frequencies(frequencies: Tensor) -> tuple[np.ndarray, int]:
    """The frequencies, and the precision b: they add up to 2^b."""
    row = alphabet(frequencies, "frequencies")
    total = sum(row.tolist())
    precision = max(total.bit_length() - 1, 0)
    if total not in (0, 2**precision) or precision > HIGHEST:
        raise ValueError(f"frequencies must add up to a power of two up to 2^16, not {total}")
    return row, precision


def _checked_precision(precision: int) -> int:
    precision = whole(precision, "precision")
    if not 1 <= precision <= HIGHEST:
        raise ValueError(f"precision must be 1 to {HIGHEST}, not {precision}")
    return precision
