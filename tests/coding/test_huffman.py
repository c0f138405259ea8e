"""Huffman codes against every prefix code there is, the textbook's codes, and strings of bits."""

import heapq
import itertools
import math
import time
import tracemalloc
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.coding import huffman
from shrink.coding.huffman import canonical_codes, code_lengths, decode, encode, entropy
from tests import depth

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
many = settings(max_examples=depth.examples(150))
FIBONACCI = [1, 1]
while len(FIBONACCI) < 80:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])


@contextmanager
def chunks_of(size, few=huffman.FEW):
    """Chunks so small that short streams have many; more than a few bits lie in blocks."""
    before, huffman.CHUNK, huffman.FEW = (huffman.CHUNK, huffman.FEW), size, few
    try:
        yield
    finally:
        huffman.CHUNK, huffman.FEW = before


def ints(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


def bytes_(*values):
    return ints(*values, dtype=torch.uint8)


def kraft(lengths):
    return sum(Fraction(1, 2**bits) for bits in lengths if bits)


def cost(counts, lengths):
    return sum(count * bits for count, bits in zip(counts, lengths, strict=True))


def draw(counts, n, seed=0):
    """n symbols, as frequent as the counts say."""
    probabilities = np.array(counts, float) / sum(counts)
    return torch.from_numpy(np.random.default_rng(seed).choice(len(counts), n, p=probabilities))


@st.composite
def some_counts(draw, most=40):
    n = draw(st.integers(1, most))
    kind = draw(st.sampled_from(["any", "few", "skewed", "fibonacci", "equal"]))
    if kind == "fibonacci":
        return draw(st.permutations(FIBONACCI[:n]))
    if kind == "equal":
        return [draw(st.integers(1, 2**57 // n))] * n
    values = {
        "any": st.integers(0, 1000),
        "few": st.integers(0, 3),
        "skewed": st.integers(0, 48).map(lambda power: 2**power),
    }[kind]
    return draw(st.lists(values, min_size=n, max_size=n))


@st.composite
def codes(draw):
    """Lengths of a prefix code, optimal or with gaps, and symbols that have one."""
    counts = draw(some_counts())
    lengths = code_lengths(torch.tensor(counts)).tolist()
    if draw(st.booleans()):
        more = draw(st.lists(st.integers(0, 9), min_size=len(counts), max_size=len(counts)))
        lengths = [
            min(bits + extra, 57) if bits else 0 for bits, extra in zip(lengths, more, strict=True)
        ]
    coded = [symbol for symbol, bits in enumerate(lengths) if bits]
    symbols = draw(st.lists(st.sampled_from(coded), max_size=60)) if coded else []
    return lengths, symbols


# ---- how long


def test_entropy_of_textbook_distributions():
    assert entropy(ints(1, 1)) == 1
    assert entropy(ints(3, 3, 3, 3, 3, 3, 3, 3)) == 3
    assert entropy(ints(1, 1, 2, 4, 8, 0)) == 1.875
    assert entropy(ints(95, 5)) == pytest.approx(0.286397, abs=1e-6)
    assert [entropy(ints(*counts)) for counts in ([], [0, 0], [7], [0, 2**53])] == [0, 0, 0, 0]
    assert math.copysign(1, entropy(ints(7))) == 1


@given(some_counts())
def test_entropy_is_scipys(counts):
    probabilities = np.array(counts) / max(sum(counts), 1)
    expected = scipy.special.entr(probabilities).sum() / math.log(2)
    assert entropy(torch.tensor(counts)) == pytest.approx(expected, abs=1e-9)


def every_prefix_code(n, longest):
    """Lengths in falling order; a prefix code has them exactly where Kraft's sum is at most 1."""
    for lengths in itertools.combinations_with_replacement(range(longest, 0, -1), n):
        if kraft(lengths) <= 1:
            yield lengths


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 6))
@many
def test_no_prefix_code_is_shorter(counts, longest):
    if len(counts) > 2**longest:
        return
    lengths = code_lengths(torch.tensor(counts), longest).tolist()
    rising = sorted(counts)
    best = min(cost(rising, code) for code in every_prefix_code(len(counts), longest))
    assert cost(counts, lengths) == best
    assert max(lengths) <= longest and kraft(lengths) <= 1
    if longest == 6:  # above any that is needed
        assert code_lengths(torch.tensor(counts)).tolist() == lengths
        codes = every_prefix_code(len(counts), longest)
        assert max(lengths) == min(max(c) for c in codes if cost(rising, c) == best)


def least_cost(counts, longest):
    """By dynamic programming over the symbols and what is left of the Kraft sum."""
    left = {2**longest: 0}
    for count in counts:
        after = {}
        for budget, spent in left.items():
            for bits in range(1, longest + 1):
                rest = budget - 2 ** (longest - bits)
                if rest >= 0:
                    after[rest] = min(after.get(rest, math.inf), spent + count * bits)
        left = after
    return min(left.values())


@given(st.lists(st.integers(0, 57), min_size=17, max_size=30), st.integers(5, 7))
@settings(max_examples=depth.examples(60))
def test_no_limited_code_is_shorter(powers, longest):
    counts = [2**power // 99 for power in powers]  # some never occur
    lengths = code_lengths(torch.tensor(counts), longest).tolist()
    occurring = [count for count in counts if count]
    assert cost(counts, lengths) == least_cost(occurring, longest)
    assert max(lengths) <= longest and kraft(lengths) <= 1
    assert [bits > 0 for bits in lengths] == [count > 0 for count in counts]


def merged_cost(counts):
    """The cost of a Huffman code is the sum of all merged counts: no tree, no lengths."""
    heap, total = sorted(count for count in counts if count), 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, merged)
        total += merged
    return total


@given(some_counts(300).filter(lambda counts: sum(map(bool, counts)) > 1))
def test_a_code_costs_what_the_merges_cost_and_less_than_a_bit_above_entropy(counts):
    tensor = torch.tensor(counts)
    lengths = code_lengths(tensor)
    assert (lengths.dtype, lengths.shape) == (torch.uint8, tensor.shape)
    lengths = lengths.tolist()
    assert [bits > 0 for bits in lengths] == [count > 0 for count in counts]
    assert kraft(lengths) == 1
    if max(lengths) < 57:
        assert cost(counts, lengths) == merged_cost(counts)
        mean = cost(counts, lengths) / sum(counts)
        assert entropy(tensor) - 1e-9 <= mean < entropy(tensor) + 1


@pytest.mark.parametrize("n", [2, 3, 30, 57, 58])
def test_fibonacci_counts_have_codes_as_long_as_can_be(n):
    assert code_lengths(torch.tensor(FIBONACCI[:n])).tolist() == [n - 1, *range(n - 1, 0, -1)]


def test_codes_that_would_be_longer_than_57_bits_are_limited_to_it():
    counts = FIBONACCI[:79]
    lengths = code_lengths(torch.tensor(counts)).tolist()
    assert max(lengths) == 57 and kraft(lengths) == 1
    assert lengths == sorted(lengths, reverse=True)
    merged = merged_cost(counts)
    assert merged < cost(counts, lengths) < merged * (1 + 1e-8)
    assert code_lengths(torch.tensor(counts), 57).tolist() == lengths


def test_lengths_of_small_and_large_alphabets():
    assert code_lengths(ints()).tolist() == []
    assert code_lengths(ints(0, 0, 0)).tolist() == [0, 0, 0]
    assert code_lengths(ints(0, 5, 0)).tolist() == [0, 1, 0]
    assert code_lengths(ints(0, 2**53)).tolist() == [0, 1]
    assert code_lengths(ints(1, 10**6)).tolist() == [1, 1]
    assert code_lengths(ints(9, 9), max_length=1).tolist() == [1, 1]
    assert code_lengths(ints(5), max_length=1).tolist() == [1]
    assert code_lengths(torch.full((2**16,), 7)).eq(16).all()
    rising = code_lengths(torch.arange(2**16), max_length=16)
    assert rising[[0, 1, 2**16 - 2, 2**16 - 1]].tolist() == [0, 16, 16, 15]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_counts_of_any_integers(dtype):
    assert code_lengths(ints(8, 1, 0, 2, 1, dtype=dtype)).tolist() == [1, 3, 0, 2, 3]
    assert entropy(ints(2, 1, 1, dtype=dtype)) == 1.5


# ---- which codes


def textbook_codes(lengths):
    """RFC 1951, section 3.2.2, as strings."""
    code, strings = 0, {}
    for bits in range(1, max(lengths, default=0) + 1):
        code <<= 1
        for symbol, length in enumerate(lengths):
            if length == bits:
                strings[symbol] = f"{code:0{bits}b}"
                code += 1
    return strings


@given(codes())
def test_canonical_codes_are_the_textbooks_and_none_begins_another(code):
    lengths, _ = code
    result = canonical_codes(torch.tensor(lengths, dtype=torch.uint8))
    assert (result.dtype, result.shape) == (torch.int64, (len(lengths),))
    strings = {s: f"{result[s]:0{bits}b}" for s, bits in enumerate(lengths) if bits}
    assert strings == textbook_codes(lengths)
    assert all(len(string) == lengths[symbol] for symbol, string in strings.items())
    for one, other in itertools.permutations(strings.values(), 2):
        assert not other.startswith(one)
    in_order = sorted(strings, key=lambda symbol: (lengths[symbol], symbol))
    assert sorted(strings.values()) == [strings[symbol] for symbol in in_order]
    assert all(result[symbol] == 0 for symbol, bits in enumerate(lengths) if not bits)


def test_codes_by_hand():
    assert canonical_codes(ints(3, 3, 3, 3, 3, 2, 4, 4)).tolist() == [2, 3, 4, 5, 6, 0, 14, 15]
    assert canonical_codes(ints()).tolist() == []
    assert canonical_codes(ints(0, 0)).tolist() == [0, 0]
    assert canonical_codes(ints(*range(1, 58), 57))[-2:].tolist() == [2**57 - 2, 2**57 - 1]


@pytest.mark.parametrize(
    ("lengths", "total"),
    [([1, 1, 1], "3/2"), ([1, 2, 2, 57], f"{2**57 + 1}/{2**57}"), ([1] * 2**16, "32768")],
)
def test_an_overfull_kraft_sum_is_named(lengths, total):
    lengths = torch.tensor(lengths)
    for call in (
        lambda: canonical_codes(lengths),
        lambda: encode(ints(0), lengths),
        lambda: decode(bytes_(0), lengths, 1),
    ):
        with pytest.raises(ValueError, match=f"Kraft sum is {total}, above 1"):
            call()


# ---- streams


def naive_encode(symbols, lengths):
    strings = textbook_codes(lengths)
    bits = "".join(strings[symbol] for symbol in symbols)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def naive_decode(stream, lengths, count):
    """Bit by bit, with a dictionary; None where the stream is not what an encoder writes."""
    symbol_of = {string: symbol for symbol, string in textbook_codes(lengths).items()}
    bits, symbols, at = "".join(f"{byte:08b}" for byte in stream), [], 0
    while len(symbols) < count:
        end = at + 1
        while bits[at:end] not in symbol_of:
            if end >= min(len(bits), at + 57):
                return None
            end += 1
        if end > len(bits):
            return None
        symbols.append(symbol_of[bits[at:end]])
        at = end
    return symbols if len(bits) - at < 8 and "1" not in bits[at:] else None


@given(codes(), st.sampled_from([64, 128, 2**15]), st.sampled_from([0, 100, 2**14]))
@many
def test_streams_are_the_naive_ones_and_decode_inverts_encode(code, chunk, few):
    lengths, symbols = code
    table, row = torch.tensor(lengths, dtype=torch.uint8), torch.tensor(symbols, dtype=torch.int64)
    before = row.clone(), table.clone()
    with chunks_of(chunk, few):
        stream = encode(row, table)
        assert stream.dtype == torch.uint8
        assert stream.tolist() == naive_encode(symbols, lengths)
        again = stream.clone()
        decoded = decode(stream, table, len(symbols))
    assert decoded.dtype == torch.uint8 and decoded.tolist() == symbols
    assert torch.equal(again, stream)
    assert torch.equal(before[0], row) and torch.equal(before[1], table)


def test_a_stream_by_hand():
    lengths = ints(1, 2, 3, 3)  # 0, 10, 110, 111
    stream = encode(ints(3, 0, 1, 2, 2, 0, 0), lengths)  # 111 0 10 11|0 110 0 0 00
    assert stream.tolist() == [0b11101011, 0b01100000]
    assert decode(stream, lengths, 7).tolist() == [3, 0, 1, 2, 2, 0, 0]


@pytest.mark.parametrize(("chunk", "few"), [(64, 0), (2**15, 0), (2**15, 2**14)])
@pytest.mark.parametrize("shift", range(8))
def test_the_longest_codes_at_every_bit_of_a_byte(shift, chunk, few):
    lengths = torch.tensor([*range(1, 58), 57])
    symbols = [0] * shift + [57, 56, 57, 55, 0, 57] * 5
    with chunks_of(chunk, few):
        stream = encode(torch.tensor(symbols), lengths)
        assert stream.tolist() == naive_encode(symbols, lengths.tolist())
        assert decode(stream, lengths, len(symbols)).tolist() == symbols


LARGE = {
    "one": [1],
    "two": [9, 1],
    "skewed": [0.8**i for i in range(32)],
    "uniform": [1] * 200,
    "fibonacci": FIBONACCI[:30],
    "many": [1 / (i + 1) for i in range(3000)],
    "65536": [1] * 2**16,
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("n", [0, 1, 266_200])
def test_round_trips_as_large_as_a_layer(name, n):
    symbols = draw(LARGE[name], n)
    counts = torch.bincount(symbols, minlength=len(LARGE[name]))
    lengths = code_lengths(counts)
    begin = time.process_time()
    stream = encode(symbols, lengths)
    decoded = decode(stream, lengths, n)
    assert time.process_time() - begin < 3  # a loop over the bits takes longer
    assert decoded.dtype == (torch.uint8 if len(counts) <= 256 else torch.int32)
    assert torch.equal(decoded.long(), symbols)
    assert len(stream) == -(-int((counts * lengths).sum()) // 8)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_symbols_of_any_integers(dtype):
    lengths = ints(2, 1, 0, 3, 3)
    stream = encode(ints(0, 1, 3, 1, 4, dtype=dtype), lengths.to(dtype))
    assert stream.tolist() == [153, 192]
    assert decode(stream, lengths.to(dtype), 5).tolist() == [0, 1, 3, 1, 4]


@pytest.mark.parametrize(("n", "dtype"), [(256, torch.uint8), (257, torch.int32)])
def test_the_type_of_the_symbols_follows_from_the_alphabet(n, dtype):
    lengths = code_lengths(torch.ones(n, dtype=torch.int64))
    decoded = decode(encode(ints(n - 1), lengths), lengths, 1)
    assert (decoded.dtype, decoded.tolist()) == (dtype, [n - 1])


# ---- hostile


@given(codes(), st.data())
@many
def test_a_damaged_stream_reads_as_bit_by_bit_or_is_refused(code, data):
    lengths, symbols = code
    stream = naive_encode(symbols, lengths)
    count = len(symbols)
    how = data.draw(st.sampled_from(["cut", "flip", "extend", "random", "count", "lengths"]))
    if how == "cut":
        stream = stream[: data.draw(st.integers(0, len(stream)))]
    elif how == "flip" and stream:
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "extend":
        stream += data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=9))
    elif how == "random":
        stream = data.draw(st.lists(st.integers(0, 255), max_size=40))
    elif how == "count":
        count = data.draw(st.integers(0, 8 * len(stream) + 1))
    elif how == "lengths":
        where = data.draw(st.integers(0, len(lengths) - 1))
        lengths[where] = data.draw(st.integers(0, 57))
    expected = naive_decode(stream, lengths, count) if kraft(lengths) <= 1 else None
    chunk, few = data.draw(st.sampled_from([64, 2**15])), data.draw(st.sampled_from([0, 2**14]))
    with chunks_of(chunk, few):
        try:
            result = decode(bytes_(*stream), torch.tensor(lengths), count).tolist()
        except ValueError as error:
            assert str(error)
            result = None
    assert result == expected


def test_a_wrong_bit_in_any_block_and_chunk_is_named_by_its_place():
    with chunks_of(2**10, few=0):  # blocks of 64 bits
        for place in (0, 1, 63, 64, 65, 1000, 1023, 1024, 5000):
            stream = torch.zeros(900, dtype=torch.uint8)
            stream[place // 8] = 255
            stream[place // 8 + 1] = 255
            first = place // 8 * 8
            with pytest.raises(ValueError, match=f"bit {first}, after {first} symbols, are no"):
                decode(stream, SMALL, 7000)


SMALL = ints(1, 2, 3)  # 0, 10, 110; 111 is no code
WRONG = [
    ([0b01011010], 5, "too short for 5"),  # 0 10 110 10: four symbols and no more bits
    ([0b01011011], 4, "too short for 4"),  # the fourth would go on
    ([], 1, "count.*0 bytes, not 1"),
    ([0b0], 9, "count.*1 bytes, not 9"),
    ([0b0], -1, "count.*-1"),
    ([0b01110000], 3, "bit 1, after 1 symbols"),
    *(([1 << place], 1, f"7 bits must be zero.*{1 << place}") for place in range(7)),
    ([0b01000000, 0], 2, "1 bytes are left over"),
    ([0, 0, 0], 8, "2 bytes are left over"),
    ([0, 0, 0], 0, "3 bytes are left over"),
    ([0] * 9000, 3, "8999 bytes are left over"),
]


@pytest.mark.parametrize(("stream", "count", "named"), WRONG)
def test_what_is_wrong_with_a_stream_is_named(stream, count, named):
    with pytest.raises(ValueError, match=named):
        decode(bytes_(*stream), SMALL, count)


def test_a_wrong_bit_far_into_a_stream_is_named_by_its_place():
    stream = torch.zeros(5000, dtype=torch.uint8)
    stream[4500] = 0b00011100
    with pytest.raises(ValueError, match="bit 36003, after 36003 symbols, are no code"):
        decode(stream, SMALL, 40_000)


def test_without_any_code_there_are_no_symbols():
    for lengths in (ints(), ints(0, 0)):
        assert encode(ints(), lengths).tolist() == decode(bytes_(), lengths, 0).tolist() == []
        with pytest.raises(ValueError, match="bit 0, after 0 symbols, are no code"):
            decode(bytes_(0), lengths, 1)
        with pytest.raises(ValueError, match="left over"):
            decode(bytes_(0), lengths, 0)


LONG = 400_000  # bytes
HOSTILE = [
    (0, ints(1, 1), 8 * LONG),
    (0, ints(57), LONG),
    (255, ints(*range(1, 58)), 8 * LONG),
    (255, ints(*range(1, 58), 57), 8 * LONG),
    (0, ints(1, 1), 10**15),
]


@pytest.mark.parametrize(("byte", "lengths", "count"), HOSTILE)
def test_time_and_memory_stay_small_whatever_the_stream(byte, lengths, count):
    stream = torch.full((LONG,), byte, dtype=torch.uint8)
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        assert len(decode(stream, lengths, count)) == count
    except ValueError as error:
        assert str(error)
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 4 * len(stream) + 3 * min(count, 8 * len(stream)) + 5 * 10**6


# ---- bad input


BAD_TENSORS = [
    (np.ones(3, np.int64), TypeError, "ndarray"),
    (None, TypeError, "NoneType"),
    (torch.ones(3), TypeError, "torch.float32"),
    (torch.ones(3, dtype=torch.bool), TypeError, "torch.bool"),
    (torch.ones(2, 2, dtype=torch.int64), ValueError, r"\(2, 2\)"),
    (torch.tensor(3), ValueError, r"\(\)"),
]


@pytest.mark.parametrize(("bad", "error", "named"), BAD_TENSORS)
def test_a_bad_tensor_is_named(bad, error, named):
    lengths, stream = ints(1, 1), bytes_(0)
    for name, call in {
        "counts": lambda: code_lengths(bad),
        "counts ": lambda: entropy(bad),
        "lengths": lambda: canonical_codes(bad),
        "lengths ": lambda: encode(ints(0), bad),
        "lengths  ": lambda: decode(stream, bad, 1),
        "symbols": lambda: encode(bad, lengths),
        "stream": lambda: decode(bad, lengths, 1),
    }.items():
        with pytest.raises(error, match=f"{name.strip()}.*{named}"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: code_lengths(ints(3, -2)), ValueError, "counts.*-2"),
        (lambda: code_lengths(ints(2**57, 1)), ValueError, f"counts.*{2**57 + 1}"),
        (lambda: entropy(ints(2**57, 1)), ValueError, f"counts.*{2**57 + 1}"),
        (lambda: code_lengths(torch.full((2**16,), 2**62)), ValueError, f"counts.*{2**78}"),
        (lambda: code_lengths(torch.ones(2**16 + 1).int()), ValueError, "counts.*65537"),
        (lambda: code_lengths(ints(1, 1, 1), 1), ValueError, "max_length 1.*3 symbols"),
        (lambda: code_lengths(ints(1), 0), ValueError, "max_length.*0"),
        (lambda: code_lengths(ints(1), 58), ValueError, "max_length.*58"),
        (lambda: code_lengths(ints(1), 8.0), TypeError, "max_length.*8.0"),
        (lambda: code_lengths(ints(1), True), TypeError, "max_length.*True"),
        (lambda: canonical_codes(ints(1, 58)), ValueError, "lengths.*58"),
        (lambda: canonical_codes(ints(1, -1)), ValueError, "lengths.*-1"),
        (lambda: canonical_codes(torch.full((2**16 + 1,), 20)), ValueError, "lengths.*65537"),
        (lambda: encode(ints(1, 2, 3, -1), ints(1, 2, 2)), ValueError, "symbol 3 has no code"),
        (lambda: encode(ints(1, -1, 3), ints(1, 2, 2)), ValueError, "symbol -1 has no code"),
        (lambda: encode(ints(0, 1, 5), ints(1, 0, 2)), ValueError, "symbol 1 has no code"),
        (lambda: encode(ints(0), ints()), ValueError, "symbol 0 has no code"),
        (lambda: decode(ints(0), ints(1), 1), TypeError, "stream.*int64"),
        (lambda: decode(bytes_(0), ints(1), 1.0), TypeError, "count.*1.0"),
        (lambda: decode(bytes_(0), ints(1), True), TypeError, "count.*True"),
    ],
)
def test_a_bad_value_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call()


@pytest.mark.gpu
def test_tensors_on_the_gpu_stay_there():
    symbols = draw(LARGE["skewed"], 5000)
    counts = torch.bincount(symbols)
    lengths = code_lengths(counts.cuda())
    stream = encode(symbols.cuda(), lengths)
    decoded = decode(stream, lengths, 5000)
    codes = canonical_codes(lengths)
    assert {t.device.type for t in (lengths, codes, stream, decoded)} == {"cuda"}
    assert torch.equal(lengths.cpu(), code_lengths(counts))
    assert torch.equal(stream.cpu(), encode(symbols, lengths.cpu()))
    assert torch.equal(decoded.cpu().long(), symbols)
