"""Adaptive arithmetic coding: what goes in comes out, at the cost that its model says."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.coding import arithmetic
from shrink.coding.arithmetic import Context, Decoder, Encoder, decode, encode
from tests import depth


def weights(shape, kept, seed=0, most=4):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-most, most + 1, shape, generator=generator)
    return (q * (torch.rand(shape, generator=generator) < kept)).to(torch.int8)


@given(
    shapes=st.lists(st.lists(st.integers(0, 7), max_size=4), max_size=4),
    kept=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    most=st.sampled_from([1, 3, 127]),
    seed=st.integers(0, 99),
)
@settings(max_examples=depth.examples(300))
def test_any_integers_come_back(shapes, kept, most, seed):
    tensors = [weights(shape, kept, seed, most) for shape in shapes]
    stream = encode(tensors)
    found = decode(stream, [tuple(t.shape) for t in tensors])
    assert stream.dtype == torch.uint8 and all(map(torch.equal, found, tensors))


def test_every_int8_comes_back_in_any_order():
    q = torch.arange(-128, 128).to(torch.int8)
    for tensor in (q, q.flip(0), q.view(16, 16).T, q[torch.randperm(256)].view(4, 64)):
        assert torch.equal(decode(encode([tensor]), [tuple(tensor.shape)])[0], tensor)


@given(bits=st.lists(st.integers(0, 1), max_size=400), skewed=st.booleans())
@settings(max_examples=depth.examples(200))
def test_decisions_come_back_and_cost_what_their_shares_say(bits, skewed):
    if skewed:
        bits = [int(bit and i % 9 == 0) for i, bit in enumerate(bits)]
    encoder, context, cost = Encoder(), Context(), 0.0
    for bit in bits:
        share = context.share() / 2**16
        cost -= math.log2(share if bit else 1 - share)
        encoder.code(context, bit)
    stream = encoder.finish()
    decoder, context = Decoder(stream), Context()
    assert [decoder.code(context, 0) for _ in bits] == bits
    assert len(stream) <= cost / 8 + 1.1
    decoder.finish()


def test_the_code_carries_into_bytes_that_are_settled():
    """Zeros of nearly sure ones settle bytes of 255, which a later one makes 0 with a carry."""
    for zeros in range(1, 200):
        bits = [1] * 20 + [0] * zeros + [1, 0]
        encoder, context = Encoder(), Context()
        for bit in bits:
            encoder.code(context, bit)
        decoder, context = Decoder(encoder.finish()), Context()
        assert [decoder.code(context, 0) for _ in bits] == bits


def test_shares_are_krichevsky_and_trofimovs_and_never_sure():
    context = Context()
    for ones in range(100):
        assert context.share() == (2 * ones + 1) * 2**16 // (2 * ones + 2)
        context.seen(1)
    for _ in range(1000):
        context.seen(1)
    assert 0 < 2**16 - context.share() < 2**16 / 100
    assert sum(context.counts) <= arithmetic.MOST


def test_the_stream_is_near_the_entropy_without_any_table():
    q = weights((80, 400), 0.07)
    counts = Counter(q.flatten().tolist())
    entropy = -sum(n * math.log2(n / q.numel()) for n in counts.values()) / 8
    assert entropy < len(encode([q])) < 1.02 * entropy


def test_columns_of_unlike_density_cost_less():
    even = weights((80, 400), 0.07)
    uneven = weights((80, 400), torch.where(torch.arange(400) % 10 == 0, 0.5, 0.0222))
    assert abs(int((uneven != 0).sum()) / int((even != 0).sum()) - 1) < 0.1
    assert len(encode([uneven])) < 0.85 * len(encode([even]))


def test_work_is_counted_alike_by_both_and_can_be_ended():
    q, wrote, read = weights((30, 50), 0.2), [], []
    stream = encode([q], wrote.append)
    decode(stream, [(30, 50)], read.append)
    assert wrote == read
    assert sum(read) == 30 * (1 + 50 // arithmetic.STEP) + 2 * int((q != 0).sum())

    row = torch.ones(1, 40, dtype=torch.int8)  # none of its work waits for the end of the row
    counted = []
    decode(encode([row]), [(1, 40)], counted.append)
    assert counted == [1 + 40 // arithmetic.STEP] + [2] * 40

    def enough(steps):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        decode(stream, [(30, 50)], enough)


def test_what_is_no_stream_is_refused():
    stream = encode([weights((30, 50), 0.2)])
    with pytest.raises(ValueError, match="bytes are left over"):
        decode(torch.cat([stream, stream.new_ones(9)]), [(30, 50)])
    with pytest.raises(TypeError, match=r"stream must be uint8 of one axis, not torch\.int8, 1"):
        decode(stream.char(), [(30, 50)])
    with pytest.raises(TypeError, match=r"integers are int8, not torch\.int64"):
        encode([torch.ones(3).long()])
    with pytest.raises(ValueError, match="four bytes of 255, as no arithmetic code does"):
        decode(torch.full((5,), 255, dtype=torch.uint8), [(30, 50)])
    beyond = torch.tensor([*random.Random(20).randbytes(60)], dtype=torch.uint8)
    with pytest.raises(ValueError, match="an integer is 199, beyond int8"):
        decode(beyond, [(40,)])


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5])
def test_random_bytes_end_in_integers_or_are_refused(size):
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        stream = torch.randint(0, 256, (size,), generator=generator).to(torch.uint8)
        try:
            (found,) = decode(stream, [(20, 5)])
        except ValueError:
            continue
        assert found.shape == (20, 5) and found.dtype == torch.int8


def test_densities_are_classes_of_the_share_of_a_column():
    for above in range(40):
        classes = [arithmetic._density(n, above) for n in range(above + 1)]
        assert all(a <= b for a, b in pairwise(classes)) and classes[0] <= 4
        for n, found in enumerate(classes):
            share = (n + 0.25) / (above + 0.5)
            assert found == sum(share > edge for edge in (1 / 16, 1 / 8, 1 / 4, 1 / 2))
