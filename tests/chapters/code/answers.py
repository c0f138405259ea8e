"""Answers to the exercises of chapter 05, right ones and wrong ones."""

import heapq
import zlib
from fractions import Fraction

import numpy as np
import torch

from shrink.chapters import code
from tests.chapters.wrong import CHANGED, changed

right_gaps = code.gaps.reference
right_lengths = code.code_lengths.reference

# --- right: gaps -------------------------------------------------------------------


def gaps_by_numpy(positions, gap_bits):
    zeros = np.diff(np.array(positions, dtype=np.int64), prepend=-1) - 1
    fillers = zeros >> gap_bits
    found = np.full(len(zeros) + int(fillers.sum()), 2**gap_bits - 1)
    found[np.cumsum(fillers + 1) - 1] = zeros & 2**gap_bits - 1
    return found


def gaps_in_a_tensor(positions, gap_bits):
    return torch.tensor(right_gaps(positions, gap_bits), dtype=torch.uint8)


# --- right: code_lengths -----------------------------------------------------------


def lengths_of_a_heap(counts):
    """Of equal counts the deepest first, which makes other lengths than the chapter."""
    heap = [(int(c), 0, i, (i,)) for i, c in enumerate(counts) if c > 0]
    lengths = np.zeros(len(counts), dtype=np.int32)
    if len(heap) == 1:
        lengths[heap[0][2]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        a, b = heapq.heappop(heap), heapq.heappop(heap)
        lengths[list(a[3] + b[3])] += 1
        merged = (a[0] + b[0], min(a[1], b[1]) - 1, a[2], a[3] + b[3])
        heapq.heappush(heap, merged)
    return torch.from_numpy(lengths)


# --- right: canonical_codes --------------------------------------------------------


def codes_as_fractions(lengths):
    codes, at = [""] * len(lengths), Fraction(0)
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        codes[symbol] = format(int(at * 2**length), "b").zfill(length)
        at += Fraction(1, 2**length)
    return tuple(codes)


# --- right: decode_bits ------------------------------------------------------------


def reads_from_a_tree(bits, codes, count):
    tree = {}
    for symbol, code_ in enumerate(codes):
        node = tree
        for bit in code_:
            node = node.setdefault(bit, {})
        node["symbol"] = symbol if code_ else None
    symbols, bits = [], iter(bits)
    while len(symbols) < count:
        node = tree
        while node is tree or "symbol" not in node:
            bit = next(bits, None)
            if bit is None or bit not in node:
                return None
            node = node[bit]
        symbols.append(node["symbol"])
    return np.array(symbols, dtype=np.int64)


# --- right: crc32 ------------------------------------------------------------------


def checksum_by_table(content):
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0xEDB88320 if number & 1 else 0)
        table.append(number)
    register = 2**32 - 1
    for byte in content:
        register = table[(register ^ byte) & 255] ^ register >> 8
    return np.uint32(~register & 0xFFFFFFFF)


RIGHT = {
    "gaps": [gaps_by_numpy, gaps_in_a_tensor],
    "code_lengths": [lengths_of_a_heap],
    "canonical_codes": [codes_as_fractions],
    "decode_bits": [reads_from_a_tree],
    "crc32": [checksum_by_table, zlib.crc32],
    "break_the_codes": [lambda: (5, 15, 6, 6, 7), lambda: torch.tensor([18, 7, 6, 6, 5, 5])],
}


# --- wrong: known mistakes as students write them ------------------------------------------


def _surprise(counts):
    p = counts / counts.sum()
    return torch.where(counts > 0, torch.ceil(-torch.log2(p)).clamp(min=1), 0).long()


def _bits_of_the_number(lengths):
    codes, code_, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code_ <<= length - before
        codes[symbol] = bin(code_)[2:]
        code_, before = code_ + 1, length
    return codes


def _no_shift(lengths):
    codes = [""] * len(lengths)
    for number, (length, symbol) in enumerate(sorted((n, s) for s, n in enumerate(lengths) if n)):
        codes[symbol] = f"{number:0{length}b}"
    return codes


def _what_there_is(bits, codes, count):
    symbols, text = [], ""
    for bit in bits:
        text += bit
        if text in codes and len(symbols) < count:
            symbols.append(codes.index(text))
            text = ""
    return symbols


DISGUISED = [
    ("code_lengths", "Shannon", _surprise),
    ("canonical_codes", "leading zeros lost", _bits_of_the_number),
    ("canonical_codes", "not moved up", _no_shift),
    ("decode_bits", "too few given back", _what_there_is),
]


# --- wrong otherwise -----------------------------------------------------------------------


def _changes_its_input(counts):
    counts += 1
    return right_lengths(counts)


WRONG = {
    "gaps": {
        (lambda positions, b: None): "return a list of whole numbers",
        (lambda positions, b: ["1"] * len(positions)): "return a list of whole numbers",
        (lambda positions, b: [2**b] * len(positions)): "is not within",
        (lambda positions, b: [0, 0]): "never come to place",
        (lambda positions, b: list(right_gaps(positions, b)) or [0]): "no weight is left",
    },
    "code_lengths": {
        changed(right_lengths, torch.Tensor.tolist): "return a tensor .* as torch.tensor makes",
        changed(right_lengths, torch.Tensor.float): "return a tensor",
        changed(right_lengths, lambda lengths: lengths[None]): "return a tensor",
        changed(right_lengths, lambda lengths: lengths[1:]): "symbols, and you",
        (lambda counts: (counts > 0) * 1): "above 1",
        (lambda counts: (counts > 0) * 4): "there is room left",
        (lambda counts: (counts > 0) * 10**15): "none has a code of",
        _changes_its_input: CHANGED,
    },
    "canonical_codes": {
        (lambda lengths: [0] * len(lengths)): "return a list of texts",
        (lambda lengths: ["2" * n for n in lengths]): "has . bits",
        (lambda lengths: ["0" * n for n in lengths]): "has the code",
    },
    "decode_bits": {
        (lambda bits, codes, count: "0" * count): "return a list of whole numbers",
        (lambda bits, codes, count: [0] * (count + 1)): "symbols are asked for",
        (lambda bits, codes, count: [0] * count): "counted from 0",
    },
    "crc32": {
        (lambda content: hex(zlib.crc32(content))): "return a whole number",
        (lambda content: -1 - zlib.crc32(content)): "has 32 bits",
    },
    "break_the_codes": {
        (lambda: None): "one to six whole numbers",
        (lambda: [1] * 7): "one to six whole numbers",
        list: "one to six whole numbers",
        (lambda: [0, 5, 2, 2]): "from 1 to 1000",
        (lambda: [0.5, 2]): "one to six whole numbers",
        (lambda: [1, 1, 1, 1]): "the mistake hides",
        (lambda: [8, 4, 2, 1, 1]): "one bit more each",
    },
}
