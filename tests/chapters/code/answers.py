"""The exercises of chapter 05: right answers pass, and each wrong one is told why."""

import heapq
import itertools
import math
import random
import re
import time
import zlib
from fractions import Fraction

import numpy as np
import pytest
import torch

from shrink.chapters import code
from shrink.chapters.code import canonical as code_canonical
from shrink.chapters.code import gapping as code_gaps
from shrink.chapters.code import lengths as code_huffman
from shrink.chapters.code import stream as code_stream
from shrink.classroom.exercises.exercise import Exercise
from shrink.coding import huffman, sparse
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
NAMES = ("gaps", "code_lengths", "canonical_codes", "decode_bits", "crc32", "break_the_codes")
EXERCISES = {name: getattr(code, name) for name in NAMES}
WITH_MISTAKES = {name: e for name, e in EXERCISES.items() if e.mistakes}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


# --- right answers: gaps -------------------------------------------------------------------


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


# --- right answers: code_lengths -----------------------------------------------------------


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


# --- right answers: canonical_codes --------------------------------------------------------


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


# --- right answers: decode_bits ------------------------------------------------------------


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


# --- right answers: crc32 ------------------------------------------------------------------


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


# --- right answers: break_the_codes --------------------------------------------------------


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


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


@pytest.mark.parametrize("name", ["gaps", "code_lengths", "canonical_codes", "decode_bits"])
def test_the_reference_passes(name):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], EXERCISES[name].reference, seed)
        assert outcome.state == "done", outcome.message


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    judge(EXERCISES[name], RIGHT[name][0])
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    found = [e.name for e in vars(code).values() if isinstance(e, Exercise)]
    assert found == list(NAMES)
    exercises = list(EXERCISES.values())
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 3
    assert sum(exercise.minutes for exercise in exercises if exercise.core) == 40


def test_the_references_are_the_librarys():
    assert code.code_lengths.reference is huffman.code_lengths
    assert code.gaps([1, 4, 15], 3) == [1, 2, 7, 2]
    row = torch.zeros(900)
    places = torch.tensor([3, 4, 700, 899])
    row[places] = 1.0
    for bits in range(1, 9):
        assert code.gaps(places.tolist(), bits) == sparse.relative_indices(row, bits)[0].tolist()
    assert code.gaps([], 3) == []
    assert code.canonical_codes([2, 1, 0, 3, 3]) == ["10", "0", "", "110", "111"]
    assert code.decode_bits("100110000", ["10", "0", "", "110", "111"], 4) == [0, 1, 3, 1]
    assert code.crc32.reference is code.break_the_codes.reference is None


# --- the oracles ---------------------------------------------------------------------------


def all_lengths(symbols):
    """The lengths of every tree of so many leaves, in rising order."""
    found = {(0,)}
    for _ in range(symbols - 1):
        found = {
            tuple(sorted([*leaves[:i], *leaves[i + 1 :], leaves[i] + 1, leaves[i] + 1]))
            for leaves in found
            for i in range(len(leaves))
        }
    return found


@pytest.mark.parametrize("symbols", range(2, 8))
def test_no_tree_takes_fewer_bits_than_the_oracle_says(symbols):
    rng = random.Random(symbols)
    trees = all_lengths(symbols)
    for most in (3, 10, 1000):
        for _ in range(30):
            counts = sorted((rng.randint(1, most) for _ in range(symbols)), reverse=True)
            best = min(sum(map(int.__mul__, counts, lengths)) for lengths in trees)
            padded = [*counts, 0]
            rng.shuffle(padded)
            assert code_huffman.least_bits(padded) == best


def test_of_one_symbol_or_none_the_oracle_knows_too():
    assert code_huffman.least_bits([0, 7, 0]) == 7 and code_huffman.least_bits([0]) == 0
    assert code_huffman.kraft([1, 2, 0, 3, 3]) == 1 and code_huffman.kraft([1, 1, 2]) == 1.25


@pytest.mark.parametrize(
    ("lengths", "counts", "told"),
    [
        ([1, 1, 2], [5, 5, 5], "their Kraft sum is 5/4, above 1"),  # fewer bits than any code takes
        ([1, 2, 2], [1, 0, 4], "symbol 1 occurs 0 times"),
        ([0, 1], [1, 4], "symbol 0 occurs 1 times"),
        ([1, 2, 2], [1, 1, 4], "take 11 bits, and 8 are enough"),
        ([1, 3, 3], [4, 1, 1], r"and 8 are enough \(their Kraft sum is 3/4"),
        ([1, 2, 2], [4, 1, 1], None),
        ([2, 2, 2, 2], [2, 1, 1, 1], None),  # two codes of as many bits
        ([1, 2, 3, 3], [2, 1, 1, 1], None),
    ],
)
def test_what_is_wrong_with_lengths_is_found(lengths, counts, told):
    fault = code_huffman._fault(lengths, counts)
    assert (fault is None) if told is None else re.search(told, fault)


def test_the_oracle_of_codes_is_that_of_the_rfc():
    """The example in RFC 1951, section 3.2.2."""
    lengths = [3, 3, 3, 3, 3, 2, 4, 4]
    expected = ["010", "011", "100", "101", "110", "00", "1110", "1111"]
    assert code_canonical.next_of_each_length(lengths) == expected


def test_the_oracle_of_gaps_leads_back():
    rng = random.Random(0)
    for gap_bits in range(1, 9):
        places = sorted(rng.sample(range(3000), 40))
        found = code_gaps._right(places, gap_bits)
        met = list(itertools.accumulate(gap + 1 for gap in found))
        assert set(places) <= {place - 1 for place in met}
        needed = sum((b - a - 1) // 2**gap_bits for a, b in itertools.pairwise([-1, *places]))
        assert len(found) == len(places) + needed


def test_the_inputs_have_the_corners():
    """One, two, equal and deep counts; lengths with a Kraft sum below 1; streams that end early."""
    counts = [draw()[0] for draw in code_huffman._cases(random.Random(0))]
    occurring = [sum(c > 0 for c in row) for row in counts]
    assert {0, 1, 2} <= set(occurring) and max(occurring) > 100
    assert any(0 in row for row in counts)
    assert any(len(set(row)) == 1 and len(row) > 2 for row in counts)
    assert max(map(max, (the_chapters_lengths(torch.tensor(row)) for row in counts))) >= 30
    lengths = [draw()[0] for draw in code_canonical._cases(random.Random(0))]
    assert {code_huffman.kraft(row) == 1 for row in lengths} == {True, False}
    right = [code_stream._read(*draw()) for draw in code_stream._streams(random.Random(0))]
    assert None in right and [] in right


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in WITH_MISTAKES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert "your code raised" not in message
        assert max(map(len, message.splitlines())) < 450


@pytest.mark.parametrize("exercise", WITH_MISTAKES.values(), ids=WITH_MISTAKES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes) > 4


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


def _difference_of_places(positions, gap_bits):
    found, before = [], 0
    for position in positions:
        step = position - before
        while step > 2**gap_bits - 1:
            found.append(2**gap_bits - 1)
            step -= 2**gap_bits - 1
        found.append(step)
        before = position
    return found


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


def _from_zero(content):
    register = 0
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


AS_STUDENTS_WRITE_THEM = [
    ("gaps", "differences", _difference_of_places),
    ("gaps", "one filler", _if_and_not_while),
    ("code_lengths", "not put back in order", _queue_of_merged),
    ("code_lengths", "Shannon", _surprise),
    ("code_lengths", "fixed length", _equal),
    ("canonical_codes", "leading zeros lost", _bits_of_the_number),
    ("canonical_codes", "not moved up", _no_shift),
    ("decode_bits", "too few given back", _what_there_is),
    ("crc32", "begins with zeros", _from_zero),
]


@pytest.mark.parametrize(("name", "mistake", "function"), AS_STUDENTS_WRITE_THEM)
def test_a_mistake_is_known_as_students_write_it(name, mistake, function):
    (hint,) = (m.hint for m in EXERCISES[name].mistakes if m.name == mistake)
    for seed in SEEDS:
        assert hint in rejected(EXERCISES[name], function, seed)


def _raises_on_zeros(counts):
    return the_chapters_lengths(counts) if counts.min() > 0 else 1 / 0


def _changes_its_input(counts):
    counts += 1
    return the_chapters_lengths(counts)


@pytest.mark.parametrize(
    ("name", "function", "told"),
    [
        ("gaps", lambda positions, b: None, "return a list of whole numbers"),
        ("gaps", lambda positions, b: ["1"] * len(positions), "return a list of whole numbers"),
        ("gaps", lambda positions, b: [2**b] * len(positions), "is not within"),
        ("gaps", lambda positions, b: [0, 0], "never come to place"),
        ("gaps", lambda positions, b: the_chapters_gaps(positions, b) or [0], "no weight is left"),
        ("code_lengths", lambda counts: the_chapters_lengths(counts).tolist(), "return a tensor"),
        ("code_lengths", lambda counts: the_chapters_lengths(counts).float(), "return a tensor"),
        ("code_lengths", lambda counts: the_chapters_lengths(counts)[None], "return a tensor"),
        ("code_lengths", lambda counts: the_chapters_lengths(counts)[1:], "symbols, and you"),
        ("code_lengths", lambda counts: (counts > 0) * 1, "above 1"),
        ("code_lengths", lambda counts: (counts > 0) * 4, "there is room left"),
        ("code_lengths", lambda counts: (counts > 0) * 10**15, "none has a code of"),
        ("code_lengths", _raises_on_zeros, "your code raised ZeroDivisionError"),
        ("code_lengths", _changes_its_input, "your function changed its input"),
        ("canonical_codes", lambda lengths: [0] * len(lengths), "return a list of texts"),
        ("canonical_codes", lambda lengths: ["2" * n for n in lengths], "has . bits"),
        ("canonical_codes", lambda lengths: ["0" * n for n in lengths], "has the code"),
        ("decode_bits", lambda bits, codes, count: "0" * count, "return a list of whole numbers"),
        ("decode_bits", lambda bits, codes, count: [0] * (count + 1), "symbols are asked for"),
        ("decode_bits", lambda bits, codes, count: [0] * count, "counted from 0"),
        ("crc32", lambda content: hex(zlib.crc32(content)), "return a whole number"),
        ("crc32", lambda content: -1 - zlib.crc32(content), "has 32 bits"),
        ("break_the_codes", lambda: None, "one to six whole numbers"),
        ("break_the_codes", lambda: [1] * 7, "one to six whole numbers"),
        ("break_the_codes", list, "one to six whole numbers"),
        ("break_the_codes", lambda: [0, 5, 2, 2], "from 1 to 1000"),
        ("break_the_codes", lambda: [0.5, 2], "one to six whole numbers"),
        ("break_the_codes", lambda: [1, 1, 1, 1], "the mistake hides"),
        ("break_the_codes", lambda: [8, 4, 2, 1, 1], "one bit more each"),
    ],
)
def test_what_else_is_wrong_is_said(name, function, told):
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(rejected(EXERCISES[name], function))


@pytest.mark.parametrize("seed", range(5))
def test_right_lengths_of_another_type_are_told_nothing_about_merging(seed):
    def as_list(counts):
        return the_chapters_lengths(counts).tolist()

    said = rejected(code.code_lengths, as_list, seed)
    assert "torch.tensor" in said and "hint" not in said


@pytest.mark.parametrize("mistake", code.breaking.BREAKABLE, ids=lambda mistake: mistake.name)
def test_each_code_that_is_to_be_broken_is_a_prefix_code_and_right_on_some_counts(mistake):
    """It hides on some counts, so that the exercise asks for something."""
    rng = random.Random(0)
    hidden = 0
    for _ in range(300):
        counts = [rng.randint(1, 9) for _ in range(rng.randint(2, 6))]
        lengths = mistake.function(counts)
        assert code_huffman.kraft(lengths) <= 1
        total = sum(map(int.__mul__, counts, lengths))
        assert total >= code_huffman.least_bits(counts)
        hidden += total == code_huffman.least_bits(counts)
    assert 0 < hidden < 300
