"""Answers to the exercises of chapter 05, right ones and wrong ones."""

import heapq
import math
import zlib
from fractions import Fraction

import numpy as np
import torch

# --- right: gaps -------------------------------------------------------------------


def the_chapters_gaps(positions, gap_bits):
    found, before = [], -1
    for position in positions:
        fillers, rest = divmod(position - before - 1, 2**gap_bits)
        found += [2**gap_bits - 1] * fillers + [rest]
        before = position
    return found


def gaps_one_by_one(positions, gap_bits):
    found, zeros, places = [], 0, set(positions)
    for place in range(max(positions, default=-1) + 1):
        if place in places or zeros == 2**gap_bits - 1:
            found.append(zeros)
            zeros = 0
        else:
            zeros += 1
    return tuple(found)


def gaps_by_numpy(positions, gap_bits):
    zeros = np.diff(np.array(positions, dtype=np.int64), prepend=-1) - 1
    fillers = zeros >> gap_bits
    found = np.full(len(zeros) + int(fillers.sum()), 2**gap_bits - 1)
    found[np.cumsum(fillers + 1) - 1] = zeros & 2**gap_bits - 1
    return found


def gaps_in_a_tensor(positions, gap_bits):
    return torch.tensor(the_chapters_gaps(positions, gap_bits), dtype=torch.uint8)


# --- right: code_lengths -----------------------------------------------------------


def the_chapters_lengths(counts):
    lengths = [0] * len(counts)
    groups = [(count, [symbol]) for symbol, count in enumerate(counts.tolist()) if count]
    if len(groups) == 1:
        lengths[groups[0][1][0]] = 1
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (a, some), (b, others), *groups = groups
        for symbol in some + others:
            lengths[symbol] += 1
        groups.append((a + b, some + others))
    return torch.tensor(lengths)


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


def lengths_from_a_tree(counts):
    trees = [(int(c), i) for i, c in enumerate(counts) if c]
    found = torch.zeros(len(counts), dtype=torch.uint8)
    while len(trees) > 1:
        trees.sort(key=lambda t: -t[0])
        a, b = trees.pop(), trees.pop()
        trees.append((a[0] + b[0], [a, b]))

    def walk(tree, depth):
        if isinstance(tree[1], list):
            for below in tree[1]:
                walk(below, depth + 1)
        else:
            found[tree[1]] = max(depth, 1)

    if trees:
        walk(trees[0], 0)
    return found


def lengths_by_packages(counts):
    """Package-merge with a limit that does not bind."""
    symbols = [(int(c), (i,)) for i, c in enumerate(counts) if c]
    lengths = torch.zeros(len(counts), dtype=torch.long)
    if len(symbols) == 1:
        lengths[symbols[0][1][0]] = 1
        return lengths
    items = sorted(symbols)
    for _ in range(max(len(symbols) - 2, 0) if len(symbols) < 60 else 20):
        pairs = zip(items[::2], items[1::2], strict=False)
        items = sorted(symbols + [(a[0] + b[0], a[1] + b[1]) for a, b in pairs])
    for _, inside in items[: 2 * len(symbols) - 2]:
        for symbol in inside:
            lengths[symbol] += 1
    return lengths


# --- right: canonical_codes --------------------------------------------------------


def the_chapters_codes(lengths):
    codes, code_, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code_ <<= length - before
        codes[symbol] = f"{code_:0{length}b}"
        code_, before = code_ + 1, length
    return codes


def codes_as_fractions(lengths):
    codes, at = [""] * len(lengths), Fraction(0)
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        codes[symbol] = format(int(at * 2**length), "b").zfill(length)
        at += Fraction(1, 2**length)
    return tuple(codes)


def codes_as_leaves_of_a_tree(lengths):
    codes, free = [""] * len(lengths), [""]
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        node = free.pop(0)
        while len(node) < length:
            free.insert(0, node + "1")
            node += "0"
        codes[symbol] = node
    return codes


# --- right: decode_bits ------------------------------------------------------------


def the_chapters_reader(bits, codes, count):
    symbols, text = [], ""
    for bit in bits:
        if len(symbols) == count:
            break
        text += bit
        if text in codes:
            symbols.append(codes.index(text))
            text = ""
    return symbols if len(symbols) == count else None


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


def cuts_the_bits_off(bits, codes, count):
    symbols = []
    for _ in range(count):
        for symbol, code_ in enumerate(codes):
            if code_ and bits[: len(code_)] == code_:
                symbols.append(symbol)
                bits = bits[len(code_) :]
                break
        else:
            return None
    return tuple(symbols)


# --- right: crc32 ------------------------------------------------------------------


def the_chapters_checksum(content):
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            last, register = register & 1, register >> 1
            if last:
                register ^= 0xEDB88320
    return register ^ 0xFFFFFFFF


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


def checksum_by_long_division(content):
    """The remainder of a polynomial, the lowest bit of each byte first."""
    bits = [byte >> i & 1 for byte in content for i in range(8)] + [0] * 32
    for i in range(32):
        bits[i] ^= 1
    divisor = [int(b) for b in f"1{0x04C11DB7:032b}"]
    for i in range(len(bits) - 32):
        if bits[i]:
            for j, bit in enumerate(divisor):
                bits[i + j] ^= bit
    return sum((1 - bit) << i for i, bit in enumerate(bits[-32:]))


# --- right: break_the_codes --------------------------------------------------------


def five_counts():
    return [5, 2, 2, 2, 2]


def another_five():
    return 5, 15, 6, 6, 7


def six_counts():
    return torch.tensor([18, 7, 6, 6, 5, 5])


RIGHT = {
    "gaps": [the_chapters_gaps, gaps_one_by_one, gaps_by_numpy, gaps_in_a_tensor],
    "code_lengths": [
        the_chapters_lengths,
        lengths_of_a_heap,
        lengths_from_a_tree,
        lengths_by_packages,
    ],
    "canonical_codes": [the_chapters_codes, codes_as_fractions, codes_as_leaves_of_a_tree],
    "decode_bits": [the_chapters_reader, reads_from_a_tree, cuts_the_bits_off],
    "crc32": [the_chapters_checksum, checksum_by_table, checksum_by_long_division, zlib.crc32],
    "break_the_codes": [five_counts, another_five, six_counts],
}


# --- wrong: known mistakes as students write them ------------------------------------------


def _queue_of_merged(counts):
    """The two at the front are merged, and the pair goes to the end."""
    queue = sorted((int(c), [s]) for s, c in enumerate(counts) if c)
    lengths = torch.zeros(len(counts), dtype=torch.long)
    if len(queue) == 1:
        lengths[queue[0][1]] = 1
    while len(queue) > 1:
        a, b = queue.pop(0), queue.pop(0)
        queue.append((a[0] + b[0], a[1] + b[1]))
        lengths[a[1] + b[1]] += 1
    return lengths


def _surprise(counts):
    p = counts / counts.sum()
    return torch.where(counts > 0, torch.ceil(-torch.log2(p)).clamp(min=1), 0).long()


def _equal(counts):
    n = int((counts > 0).sum())
    return (counts > 0).long() * max(1, math.ceil(math.log2(max(n, 1))))


def _all_of_them(counts):
    return the_chapters_lengths(counts + (counts == 0) * 1)


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


def _if_and_not_while(positions, gap_bits):
    found, before = [], -1
    for position in positions:
        zeros = position - before - 1
        if zeros > 2**gap_bits - 1:
            found.append(2**gap_bits - 1)
            zeros -= 2**gap_bits
        found.append(zeros)
        before = position
    return found


def _what_there_is(bits, codes, count):
    symbols, text = [], ""
    for bit in bits:
        text += bit
        if text in codes and len(symbols) < count:
            symbols.append(codes.index(text))
            text = ""
    return symbols


DISGUISED = [
    ("gaps", "one filler", _if_and_not_while),
    ("code_lengths", "not put back in order", _queue_of_merged),
    ("code_lengths", "Shannon", _surprise),
    ("code_lengths", "fixed length", _equal),
    ("canonical_codes", "leading zeros lost", _bits_of_the_number),
    ("canonical_codes", "not moved up", _no_shift),
    ("decode_bits", "too few given back", _what_there_is),
]


# --- wrong otherwise -----------------------------------------------------------------------


def _raises_on_zeros(counts):
    return the_chapters_lengths(counts) if counts.min() > 0 else 1 / 0


def _changes_its_input(counts):
    counts += 1
    return the_chapters_lengths(counts)


def _lengths_in_a_list(counts):
    return the_chapters_lengths(counts).tolist()


WRONG = {
    "gaps": {
        (lambda positions, b: None): "return a list of whole numbers",
        (lambda positions, b: ["1"] * len(positions)): "return a list of whole numbers",
        (lambda positions, b: [2**b] * len(positions)): "is not within",
        (lambda positions, b: [0, 0]): "never come to place",
        (lambda positions, b: the_chapters_gaps(positions, b) or [0]): "no weight is left",
    },
    "code_lengths": {
        _lengths_in_a_list: "return a tensor .* as torch.tensor makes",
        (lambda counts: the_chapters_lengths(counts).float()): "return a tensor",
        (lambda counts: the_chapters_lengths(counts)[None]): "return a tensor",
        (lambda counts: the_chapters_lengths(counts)[1:]): "symbols, and you",
        (lambda counts: (counts > 0) * 1): "above 1",
        (lambda counts: (counts > 0) * 4): "there is room left",
        (lambda counts: (counts > 0) * 10**15): "none has a code of",
        _raises_on_zeros: "your code raised ZeroDivisionError",
        _changes_its_input: "your function changed its input",
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
