"""Chapter 05's oracles against others: every tree, RFC 1951, what is read back; and its inputs."""

import itertools
import random
import re

import pytest
import torch

from shrink.chapters import code
from shrink.chapters.code import breaking, canonical, gapping, huffman_lengths, stream
from shrink.coding import huffman, sparse


def test_the_references_are_the_librarys():
    assert code.code_lengths.reference is huffman.code_lengths
    row = torch.zeros(900)
    places = torch.tensor([3, 4, 700, 899])
    row[places] = 1.0
    for bits in range(1, 9):
        assert code.gaps(places.tolist(), bits) == sparse.relative_indices(row, bits)[0].tolist()
    assert code.crc32.reference is code.break_the_codes.reference is None


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
            assert huffman_lengths.least_bits(padded) == best


def test_of_one_symbol_or_none_the_oracle_knows_too():
    assert huffman_lengths.least_bits([0, 7, 0]) == 7 and huffman_lengths.least_bits([0]) == 0
    assert huffman_lengths.kraft([1, 2, 0, 3, 3]) == 1 and huffman_lengths.kraft([1, 1, 2]) == 1.25


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
    fault = huffman_lengths._fault(lengths, counts)
    assert (fault is None) if told is None else re.search(told, fault)


def test_the_oracle_of_codes_is_that_of_the_rfc():
    """The example in RFC 1951, section 3.2.2."""
    lengths = [3, 3, 3, 3, 3, 2, 4, 4]
    expected = ["010", "011", "100", "101", "110", "00", "1110", "1111"]
    assert canonical.next_of_each_length(lengths) == expected


def test_the_oracle_of_gaps_leads_back():
    rng = random.Random(0)
    for gap_bits in range(1, 9):
        places = sorted(rng.sample(range(3000), 40))
        found = gapping._right(places, gap_bits)
        met = list(itertools.accumulate(gap + 1 for gap in found))
        assert set(places) <= {place - 1 for place in met}
        needed = sum((b - a - 1) // 2**gap_bits for a, b in itertools.pairwise([-1, *places]))
        assert len(found) == len(places) + needed


def test_the_inputs_have_the_corners():
    """One, two, equal and deep counts; lengths with a Kraft sum below 1; streams that end early."""
    counts = [draw()[0] for draw in huffman_lengths._cases(random.Random(0))]
    occurring = [sum(c > 0 for c in row) for row in counts]
    assert {0, 1, 2} <= set(occurring) and max(occurring) > 100
    assert any(0 in row for row in counts)
    assert any(len(set(row)) == 1 and len(row) > 2 for row in counts)
    assert max(map(max, (huffman.code_lengths(torch.tensor(row)) for row in counts))) >= 30
    lengths = [draw()[0] for draw in canonical._cases(random.Random(0))]
    assert {huffman_lengths.kraft(row) == 1 for row in lengths} == {True, False}
    right = [stream._read(*draw()) for draw in stream._streams(random.Random(0))]
    assert None in right and [] in right


@pytest.mark.parametrize("mistake", breaking.BREAKABLE, ids=lambda mistake: mistake.name)
def test_each_code_that_is_to_be_broken_is_a_prefix_code_and_right_on_some_counts(mistake):
    """It hides on some counts, so that the exercise asks for something."""
    rng = random.Random(0)
    hidden = 0
    for _ in range(300):
        counts = [rng.randint(1, 9) for _ in range(rng.randint(2, 6))]
        lengths = mistake.function(counts)
        assert huffman_lengths.kraft(lengths) <= 1
        total = sum(map(int.__mul__, counts, lengths))
        assert total >= huffman_lengths.least_bits(counts)
        hidden += total == huffman_lengths.least_bits(counts)
    assert 0 < hidden < 300
