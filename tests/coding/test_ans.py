"""rANS against one symbol at a time in Python's integers, every choice of frequencies, entropy."""

import itertools
import math
import time
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.coding import ans, huffman
from shrink.coding.ans import decode, encode, quantize_counts
from tests import depth

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
many = settings(max_examples=depth.examples(150))


@contextmanager
def lanes_of(symbols):
    """Lanes so short that a few symbols have many."""
    before, ans.PER_LANE = ans.PER_LANE, symbols
    try:
        yield
    finally:
        ans.PER_LANE = before


def ints(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


def bytes_(*values):
    return ints(*values, dtype=torch.uint8)


def bits(counts, frequencies):
    """What the counts cost at these frequencies."""
    total = sum(frequencies)
    pairs = zip(counts, frequencies, strict=True)
    return math.fsum(count * math.log2(total / f) for count, f in pairs if count)


def draw(probabilities, n, seed=0):
    probabilities = np.array(probabilities, float) / sum(probabilities)
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.choice(len(probabilities), n, p=probabilities))


# ---- frequencies


def every_choice(n, total):
    """All ways to cut `total` into n parts of at least 1."""
    for cuts in itertools.combinations(range(1, total), n - 1):
        yield [b - a for a, b in itertools.pairwise([0, *cuts, total])]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=4), st.integers(2, 4))
def test_no_frequencies_cost_less(counts, precision):
    frequencies = quantize_counts(torch.tensor(counts), precision).tolist()
    assert sum(frequencies) == 2**precision and min(frequencies) >= 1
    best = min(bits(counts, choice) for choice in every_choice(len(counts), 2**precision))
    assert bits(counts, frequencies) == pytest.approx(best, rel=1e-12)


@given(
    st.lists(st.integers(0, 60).map(lambda p: 2**p // 200), min_size=1, max_size=300),
    st.integers(9, 12),
)
def test_to_give_one_slot_to_another_symbol_never_helps(counts, precision):
    counts = [min(count, 2**48) for count in counts]
    result = quantize_counts(torch.tensor(counts), precision)
    assert (result.dtype, result.shape) == (torch.int64, (len(counts),))
    frequencies = result.tolist()
    assert [f > 0 for f in frequencies] == [count > 0 for count in counts]
    if not any(counts):
        return
    assert sum(frequencies) == 2**precision
    pairs = [(count, f) for count, f in zip(counts, frequencies, strict=True) if count]
    saved = max(count * math.log2((f + 1) / f) for count, f in pairs)
    lost = min((count * math.log2(f / (f - 1)) for count, f in pairs if f > 1), default=math.inf)
    assert saved <= lost * (1 + 1e-9)


def test_frequencies_by_hand():
    assert quantize_counts(ints(3, 1), 2).tolist() == [3, 1]
    assert quantize_counts(ints(2**53, 1), 4).tolist() == [15, 1]
    assert quantize_counts(ints(0, 7), 1).tolist() == [0, 2]
    assert quantize_counts(ints(1, 1, 1, 1), 2).tolist() == [1, 1, 1, 1]
    assert quantize_counts(ints(5)).tolist() == [4096]
    assert quantize_counts(ints(0, 0)).tolist() == [0, 0]
    assert quantize_counts(ints()).tolist() == []
    assert quantize_counts(torch.arange(2**16) + 1, 16).eq(1).all()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_tensors_of_any_integers(dtype):
    counts = ints(12, 3, 1, dtype=dtype)
    frequencies = quantize_counts(counts, 4)
    assert frequencies.tolist() == [12, 3, 1]
    stream = encode(ints(2, 0, 1, dtype=dtype), frequencies.to(dtype))
    assert torch.equal(stream, encode(ints(2, 0, 1), frequencies))
    assert decode(stream, frequencies.to(dtype), 3).tolist() == [2, 0, 1]


# ---- streams


def naive_encode(symbols, frequencies, per_lane=4096):
    """One symbol at a time from the last, each to its lane's state; words put in front."""
    total, lanes = sum(frequencies), max(1, math.ceil(len(symbols) / per_lane))
    states, stream = [2**16] * lanes, b""
    for i in reversed(range(len(symbols))):
        f, begin = frequencies[symbols[i]], sum(frequencies[: symbols[i]])
        x = states[i % lanes]
        if x * total >= f * 2**32:
            stream = (x % 2**16).to_bytes(2, "little") + stream
            x //= 2**16
        states[i % lanes] = x // f * total + begin + x % f
    return b"".join(x.to_bytes(4, "little") for x in states) + stream


def naive_decode(stream, frequencies, count, per_lane=4096):
    """Forwards again; None where the stream is not what an encoder writes."""
    total, lanes = sum(frequencies), max(1, math.ceil(count / per_lane))
    words = stream[4 * lanes :]
    if len(stream) < 4 * lanes or len(words) % 2 or (count and not total):
        return None
    states = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(lanes)]
    owner = [symbol for symbol, f in enumerate(frequencies) for _ in range(f)]
    symbols = []
    if min(states) < 2**16:
        return None
    for i in range(count):
        x = states[i % lanes]
        symbol = owner[x % total]
        symbols.append(symbol)
        x = x // total * frequencies[symbol] + x % total - sum(frequencies[:symbol])
        if x < 2**16:
            if not words:
                return None
            x, words = x * 2**16 + int.from_bytes(words[:2], "little"), words[2:]
        states[i % lanes] = x
    return symbols if not words and set(states) == {2**16} else None


@st.composite
def coded(draw):
    """Frequencies of any precision, and symbols that have one."""
    total = 2 ** draw(st.sampled_from([0, 1, 2, 8, 12, 16]))
    near = st.integers(0, total) | st.integers(0, min(total, 9))
    cuts = sorted(draw(st.lists(near, max_size=20)))
    frequencies = [b - a for a, b in itertools.pairwise([0, *cuts, total])]
    occurring = [symbol for symbol, f in enumerate(frequencies) if f]
    return frequencies, draw(st.lists(st.sampled_from(occurring), max_size=80))


@given(coded(), st.sampled_from([1, 2, 7, 4096]))
@many
def test_streams_are_the_naive_ones_and_decode_inverts_encode(code, per_lane):
    frequencies, symbols = code
    table, row = torch.tensor(frequencies), torch.tensor(symbols, dtype=torch.int64)
    before = row.clone(), table.clone()
    with lanes_of(per_lane):
        stream = encode(row, table)
        assert stream.dtype == torch.uint8
        assert bytes(stream.tolist()) == naive_encode(symbols, frequencies, per_lane)
        again = stream.clone()
        decoded = decode(stream, table, len(symbols))
    assert decoded.dtype == torch.uint8 and decoded.tolist() == symbols
    assert torch.equal(again, stream)
    assert torch.equal(before[0], row) and torch.equal(before[1], table)


@pytest.mark.parametrize("n", [0, 1, 2, 4095, 4096, 4097, 8191, 8192, 8193, 12_289])
def test_a_lane_for_each_4096_symbols(n):
    alone = torch.zeros(n, dtype=torch.uint8)
    stream = encode(alone, ints(4096))
    assert len(stream) == 4 * max(1, math.ceil(n / 4096))
    assert torch.equal(decode(stream, ints(4096), n), alone)
    symbols = draw([5, 3, 1, 1], n)
    frequencies = quantize_counts(ints(5, 3, 1, 1))
    stream = encode(symbols, frequencies)
    assert bytes(stream.tolist()) == naive_encode(symbols.tolist(), frequencies.tolist())
    assert torch.equal(decode(stream, frequencies, n).long(), symbols)


def test_a_stream_by_hand():
    stream = encode(ints(1, 0), ints(3, 1))  # 65536 → 87381 for the 0 → 87381 · 4 + 3 for the 1
    assert int.from_bytes(bytes(stream.tolist()), "little") == 349_527
    assert decode(stream, ints(3, 1), 2).tolist() == [1, 0]
    halves = encode(torch.zeros(16).int(), ints(1, 1))  # doubles 16 times; 2^32 would be too much
    assert halves.tolist() == [0, 0, 1, 0, 0, 0]


SENSIBLE = {
    "halves": ([1, 1], 12),
    "0.95": ([95, 5], 12),
    "0.9": ([0.9] + [0.1 / 15] * 15, 12),
    "zipf": ([1 / (i + 1) for i in range(16)], 12),
    "geometric": ([0.8**i for i in range(32)], 12),
    "gaussian": ([math.exp(-((i - 15.5) ** 2) / 50) for i in range(32)], 12),
    "uniform": ([1] * 200, 12),
    "gaps": ([0.93**i for i in range(256)], 12),
    "many": ([0.997**i for i in range(3000)], 16),
}


@pytest.mark.parametrize("name", SENSIBLE)
def test_a_stream_is_as_long_as_the_entropy_says(name):
    probabilities, precision = SENSIBLE[name]
    n = 266_200
    symbols = draw(probabilities, n)
    counts = torch.bincount(symbols, minlength=len(probabilities))
    frequencies = quantize_counts(counts, precision)
    begin = time.process_time()
    stream = encode(symbols, frequencies)
    decoded = decode(stream, frequencies, n)
    assert time.process_time() - begin < 3  # a loop over the symbols takes longer, when as careful
    assert decoded.dtype == (torch.uint8 if len(counts) <= 256 else torch.int32)
    assert torch.equal(decoded.long(), symbols)
    lanes, shortest = math.ceil(n / 4096), n * huffman.entropy(counts) / 8
    assert shortest < len(stream) <= 1.005 * shortest + 16 * lanes
    assert len(stream) <= 1.001 * bits(counts.tolist(), frequencies.tolist()) / 8 + 4 * lanes


def test_below_a_bit_a_symbol_huffman_cannot_follow():
    symbols = draw([95, 5], 100_000)
    counts = torch.bincount(symbols)
    by_huffman = len(huffman.encode(symbols, huffman.code_lengths(counts)))
    by_ans = len(encode(symbols, quantize_counts(counts)))
    assert by_huffman == 12_500 and by_ans < 0.3 * by_huffman


def test_the_largest_alphabet():
    symbols = torch.arange(2**16).flip(0)
    stream = encode(symbols, torch.ones(2**16, dtype=torch.int64))
    decoded = decode(stream, torch.ones(2**16, dtype=torch.int64), 2**16)
    assert decoded.dtype == torch.int32 and torch.equal(decoded.long(), symbols)
    assert len(stream) == 16 * 4 + 2 * 2**16


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_a_last_round_that_is_short_has_the_whole_alphabets_symbols(dtype):
    """What fills it up is no symbol of the 256: the stream is the naive one."""
    symbols = torch.arange(256).flip(0).to(dtype)
    frequencies = [1] * 255 + [257]
    with lanes_of(37):  # seven lanes, of which the last round has four
        stream = encode(symbols, torch.tensor(frequencies))
        assert bytes(stream.tolist()) == naive_encode(symbols.tolist(), frequencies, 37)
        assert decode(stream, torch.tensor(frequencies), 256).tolist() == symbols.tolist()


@pytest.mark.parametrize(("n", "dtype"), [(256, torch.uint8), (257, torch.int32)])
def test_the_type_of_the_symbols_follows_from_the_alphabet(n, dtype):
    frequencies = quantize_counts(torch.ones(n, dtype=torch.int64))
    decoded = decode(encode(ints(n - 1), frequencies), frequencies, 1)
    assert (decoded.dtype, decoded.tolist()) == (dtype, [n - 1])


# ---- hostile


@given(coded(), st.sampled_from([1, 7, 4096]), st.data())
@many
def test_a_damaged_stream_reads_as_one_at_a_time_or_is_refused(code, per_lane, data):
    frequencies, symbols = code
    stream = bytearray(naive_encode(symbols, frequencies, per_lane))
    count = len(symbols)
    how = data.draw(st.sampled_from(["cut", "flip", "extend", "random", "count", "frequencies"]))
    if how == "cut":
        stream = stream[: data.draw(st.integers(0, len(stream)))]
    elif how == "flip":
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "extend":
        stream += data.draw(st.binary(min_size=1, max_size=9))
    elif how == "random":
        stream = data.draw(st.binary(max_size=90))
    elif how == "count":
        count = data.draw(st.integers(0, 100))
    elif how == "frequencies":
        frequencies = data.draw(st.permutations(frequencies))
    expected = naive_decode(bytes(stream), frequencies, count, per_lane)
    with lanes_of(per_lane):
        try:
            result = decode(bytes_(*stream), torch.tensor(frequencies), count).tolist()
        except ValueError as error:
            assert str(error)
            result = None
    assert result == expected


FINE = encode(ints(0, 1, 2, 1), ints(2, 1, 1)).tolist()  # one state, no words
LONG = encode(torch.ones(100).int(), ints(2, 1, 1)).tolist()
WRONG = [
    ([], 0, "0 symbols take 4 bytes.*not 0"),
    ([], 1, "1 symbols take 4 bytes.*not 0"),
    (FINE[:3], 4, "4 symbols take 4 bytes.*not 3"),
    (FINE, 4097, "4097 symbols take 8 bytes.*not 4"),
    (FINE, 10**30, "symbols take .* bytes.*not 4"),
    (FINE, -1, "count.*-1"),
    (FINE, 3, "ends in the state"),
    (FINE, 5, "ends within 5 symbols, after 4"),
    ([*FINE, 0], 4, "not 5 bytes"),
    ([*FINE, 0, 0], 4, "2 bytes are left over"),
    ([0, 0, 0, 0], 0, "at least 65536, not 0"),
    ([255, 255, 0, 0], 4, "at least 65536, not 65535"),
    ([1, 0, 1, 0], 0, "ends in the state 65537, not in 65536"),
    (LONG[:-2], 100, "ends within 100 symbols"),
    ([*LONG, 1, 1, 1, 1], 100, "4 bytes are left over"),
]


@pytest.mark.parametrize(("stream", "count", "named"), WRONG)
def test_what_is_wrong_with_a_stream_is_named(stream, count, named):
    assert decode(bytes_(*FINE), ints(2, 1, 1), 4).tolist() == [0, 1, 2, 1]
    assert decode(bytes_(*LONG), ints(2, 1, 1), 100).tolist() == [1] * 100
    with pytest.raises(ValueError, match=named):
        decode(bytes_(*stream), ints(2, 1, 1), count)


def test_without_any_frequency_there_are_no_symbols():
    for frequencies in (ints(), ints(0, 0)):
        stream = encode(ints(), frequencies)
        assert stream.tolist() == [0, 0, 1, 0]
        assert decode(stream, frequencies, 0).tolist() == []
        with pytest.raises(ValueError, match="3 symbols, but every frequency is 0"):
            decode(stream, frequencies, 3)


HOSTILE = [
    (40_000, ints(4095, 1), 10_000 * 4096),
    (40_000, ints(4095, 1), 10_000 * 4096 + 1),
    (400_000, ints(1, 1), 400_000),
    (400_000, torch.ones(2**16).long(), 800_000),
    (400_000, ints(1, 1), 10**15),
]


@pytest.mark.parametrize(("length", "frequencies", "count"), HOSTILE)
def test_time_and_memory_stay_small_whatever_the_stream(length, frequencies, count):
    stream = torch.ones(length, dtype=torch.uint8)
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(ValueError):
        decode(stream, frequencies, count)
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10
    possible = 0 if count > 1024 * len(stream) else count
    assert peak < 20 * len(stream) + 3 * possible + 5 * 10**6


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
    frequencies, stream = ints(1, 1), bytes_(0, 0, 1, 0)
    for name, call in {
        "counts": lambda: quantize_counts(bad),
        "frequencies": lambda: encode(ints(0), bad),
        "frequencies ": lambda: decode(stream, bad, 1),
        "symbols": lambda: encode(bad, frequencies),
        "stream": lambda: decode(bad, frequencies, 1),
    }.items():
        with pytest.raises(error, match=f"{name.strip()}.*{named}"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: quantize_counts(ints(3, -2)), ValueError, "counts.*-2"),
        (lambda: quantize_counts(ints(2**57, 1)), ValueError, f"counts.*{2**57 + 1}"),
        (lambda: quantize_counts(torch.ones(2**16 + 1).int()), ValueError, "counts.*65537"),
        (lambda: quantize_counts(ints(1, 1, 1), 1), ValueError, "precision 1.*3 symbols"),
        (lambda: quantize_counts(ints(1), 0), ValueError, "precision.*0"),
        (lambda: quantize_counts(ints(1), 17), ValueError, "precision.*17"),
        (lambda: quantize_counts(ints(1), 8.0), TypeError, "precision.*8.0"),
        (lambda: quantize_counts(ints(1), True), TypeError, "precision.*True"),
        (lambda: encode(ints(0), ints(3, -1)), ValueError, "frequencies.*-1"),
        (lambda: encode(ints(0), ints(2, 1)), ValueError, "frequencies.*not 3"),
        (lambda: encode(ints(0), ints(2**17)), ValueError, "frequencies.*131072"),
        (lambda: encode(ints(0), ints(2**62, 2**62)), ValueError, f"frequencies.*{2**63}"),
        (lambda: decode(bytes_(0), ints(5), 1), ValueError, "frequencies.*not 5"),
        (lambda: encode(ints(1, 3, -1), ints(1, 3, 0)), ValueError, "symbol 3 has no freq"),
        (lambda: encode(ints(1, -1, 3), ints(1, 3, 0)), ValueError, "symbol -1 has no freq"),
        (lambda: encode(ints(0, 2, 5), ints(1, 3, 0)), ValueError, "symbol 2 has no freq"),
        (lambda: encode(ints(0), ints()), ValueError, "symbol 0 has no freq"),
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
    symbols = draw([0.8**i for i in range(32)], 5000)
    counts = torch.bincount(symbols)
    frequencies = quantize_counts(counts.cuda())
    stream = encode(symbols.cuda(), frequencies)
    decoded = decode(stream, frequencies, 5000)
    assert {t.device.type for t in (frequencies, stream, decoded)} == {"cuda"}
    assert torch.equal(frequencies.cpu(), quantize_counts(counts))
    assert torch.equal(stream.cpu(), encode(symbols, frequencies.cpu()))
    assert torch.equal(decoded.cpu().long(), symbols)
