"""The Deep Compression file: what goes in comes out, and damage is refused with a reason."""

import itertools
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink import quantization, sharing
from shrink.coding import codec, codec_format
from shrink.coding.codec import (
    ArithmeticCoded,
    CodecError,
    Quantized,
    Scaled,
    decode,
    encode,
    load,
    regions,
    save,
)
from shrink.quantization import QParams
from shrink.sharing import Shared
from tests import depth
from tests.coding.fuzz_codec import fuzz, repaired, samples

names = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 255)
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
ONE_HALF = torch.tensor(0.5)
BYTES = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()


def same(a, b):
    """Bit for bit, so that NaN is NaN too."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    raw = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return a.numel() == 0 or torch.equal(*raw)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pruned(shape, kept, seed=0):
    """A weight of which a fraction is kept."""
    generator = torch.Generator().manual_seed(seed)
    return random(*shape, seed=seed) * (torch.rand(shape, generator=generator) < kept)


KEPT = Path(__file__).parent / "kept"  # a file that each version of the format wrote


def kept(version=codec_format.VERSION):
    """What is in the kept files, by arithmetic: each kind of tensor, each code, each type.

    Version 2 has more, what is the same as an earlier one, version 3 integers that are coded, and
    version 4 such in one arithmetic code.
    """
    places = torch.arange(600)
    codebook = (torch.arange(9) - 4) / 8
    numbers = torch.where(places % 7 == 0, places // 7 % 9, 4).to(torch.uint8).view(20, 30)
    q = (places % 16 - 8).to(torch.int8).view(6, 100)
    channels = QParams(torch.arange(1, 7).view(6, 1) / 64, torch.zeros(6, 1).int(), 4)
    groups = QParams(torch.full((6, 2), 0.25), torch.full((6, 2), 3).int(), 4, group=50)
    parts = {
        "sparse": Shared(codebook, numbers, zero=4),
        "shared": Shared(codebook / 3, numbers),
        "channels": Quantized(q, channels),
        "groups": Quantized(q, groups),
        "int8": Quantized(q * 8, QParams(torch.tensor(0.5), torch.tensor(-9).int(), 8)),
        "Gewichte, größer": torch.tensor(0.1),
        "empty": torch.zeros(3, 0),
    }
    numbers = torch.tensor([[0, 1, 1], [1, 0, 1]])
    parts |= {str(dtype): numbers.to(dtype) for dtype in codec_format.DTYPES}
    if version > 2:
        parts["signs"] = Scaled(
            (places % 2 * 2 - 1).to(torch.int8).view(20, 30), torch.tensor(0.125)
        )
        parts["ternary"] = Scaled((places % 3 - 1).to(torch.int8).view(6, 100), channels.scale)
    if version > 3:
        few = torch.where(places % 11 == 0, places % 8 - 4, 0).to(torch.int8)
        parts["few"] = ArithmeticCoded(few.view(20, 30), torch.tensor(0.1))
        parts["few of channels"] = ArithmeticCoded(few.view(6, 100), channels.scale)
        parts["all"] = ArithmeticCoded(torch.arange(-128, 128).to(torch.int8), torch.tensor(0.5))
    again = ("sparse", "channels", "torch.float16") if version > 1 else ()
    return parts | {f"{name}, again": parts[name] for name in again}


# ---- what goes in comes out


@given(name=names, shape=shapes, dtype=st.sampled_from(codec_format.DTYPES), at=st.integers(0, 999))
@settings(max_examples=depth.examples(200))
def test_any_tensor_comes_back_bit_for_bit(name, shape, dtype, at):
    count = int(np.prod(shape)) * dtype.itemsize
    raw = torch.frombuffer(bytearray(BYTES[at : at + count] + b"\0"), dtype=torch.uint8)[:count]
    tensor = torch.zeros(shape, dtype=dtype)
    if count:
        tensor = (raw % 2 if dtype == torch.bool else raw).view(dtype).view(shape)
    found = decode(encode({name: tensor}))
    assert list(found) == [name] and same(found[name], tensor)


@given(
    shape=shapes,
    k=st.integers(1, 256),
    zero=st.booleans(),
    code=st.sampled_from([None, *codec.CODES]),
    gap_bits=st.sampled_from([None, 1, 3, 8]),
    skew=st.floats(0, 40),
    seed=st.integers(0, 9),
)
@settings(max_examples=depth.examples(300))
def test_any_shared_weight_comes_back(shape, k, zero, code, gap_bits, skew, seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.exp(-skew * torch.rand(k, generator=generator, dtype=torch.float64))
    count = int(np.prod(shape))
    numbers = torch.zeros(0, dtype=torch.long)
    if count:
        numbers = torch.multinomial(probabilities, count, replacement=True, generator=generator)
    where = seed % k if zero else None
    codebook = random(k, seed=seed)
    if zero:
        codebook[where] = 0
    shared = Shared(codebook, numbers.to(torch.uint8).view(shape), where)
    content = encode({"w": shared}, code=code, gap_bits=gap_bits)
    assert same(decode(content)["w"], shared.weight)


@pytest.mark.parametrize(
    "how", [{}, {"axis": 0}, {"axis": 1}, {"group": 3}, {"group": 100}], ids=str
)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(7, 10), (1, 1), (3, 4, 5)], ids=str)
def test_any_quantized_weight_comes_back(shape, bits, symmetric, how):
    x = random(*shape) + 0.3
    p = quantization.qparams_of(x, bits, symmetric, **how)
    part = Quantized(quantization.quantize(x, p), p)
    assert same(decode(encode({"w": part}))["w"], quantization.fake_quantize(x, p))


def test_a_quantized_bias_a_scalar_and_an_empty_one():
    for x in (random(9), torch.tensor(0.7), torch.zeros(0), torch.zeros(0, 4)):
        p = quantization.qparams_of(x)
        part = Quantized(quantization.quantize(x, p), p)
        assert same(decode(encode({"b": part}))["b"], quantization.fake_quantize(x, p))


def test_a_whole_network_in_its_order():
    parts = {
        "fc1.weight": sharing.share(pruned((30, 50), 0.1), 8),
        "fc1.bias": random(30),
        "é/ü": sharing.share(random(4, 4), 3),
        "empty": torch.zeros(0, 3),
    }
    found = decode(encode(parts))
    assert list(found) == list(parts)
    assert same(found["fc1.weight"], parts["fc1.weight"].weight)
    assert same(found["é/ü"], parts["é/ü"].weight)
    assert decode(encode({})) == {}


def test_a_small_file_byte_by_byte():
    """Eight weights, two of them 2.5: gaps of 1 and 3 zeros, which take 2 bits each."""
    weight = torch.zeros(8)
    weight[[1, 5]] = 2.5
    shared = sharing.share(weight, 1)
    body = b"SHRK" + bytes([1, 1])  # version, tensors
    body += bytes([1]) + b"w" + bytes([3, 1, 8])  # name, sparse, one axis of 8
    body += bytes([1, 2]) + np.array([0, 2.5], "<f2").tobytes()  # two values of two bytes
    body += bytes([0, 2, 2])  # the value 0 is the zero; 2 bits a gap; 2 entries
    body += bytes([0, 0b01110000, 0, 0b11000000])  # fixed: 01 11, fixed: 1 1
    content = encode({"w": shared}, code="fixed", gap_bits=2)
    assert content == body + struct.pack("<I", zlib.crc32(body))
    assert decode(content)["w"].equal(weight)


def test_fillers_stand_where_a_gap_is_too_wide():
    weight = torch.zeros(1000)
    weight[[0, 999]] = 1.0
    for bits in range(1, 9):
        content = encode({"w": sharing.share(weight, 1)}, gap_bits=bits)
        assert decode(content)["w"].equal(weight)


# ---- as short as can be


def test_the_shortest_of_codes_and_gaps_is_taken():
    parts = {"w": sharing.share(pruned((300, 100), 0.1), 16)}
    lengths = {
        (code, bits): len(encode(parts, code=code, gap_bits=bits))
        for code, bits in itertools.product(codec.CODES, range(1, 9))
    }
    best = len(encode(parts))
    assert best <= 1.01 * min(lengths.values()) and best < 0.9 * lengths["fixed", 5]
    fixed = min(length for (code, _), length in lengths.items() if code == "fixed")
    assert len(encode(parts, code="fixed")) <= 1.01 * fixed
    dense = {"w": sharing.share(pruned((300, 100), 0.95), 16)}
    assert len(encode(dense)) < len(encode(dense, gap_bits=1))


def test_a_codebook_takes_two_bytes_a_value_where_they_are_exact():
    numbers = torch.zeros(5, dtype=torch.uint8)
    half, single = (len(encode({"w": Shared(torch.tensor([v]), numbers)})) for v in (0.5, 0.1))
    assert single - half == 2


def test_deep_compression_of_a_layer_is_40_times_shorter():
    """fc1 at 8 %, 32 values: bits of a weight and a gap near the paper's 6 and 5 before coding."""
    shared = sharing.share(pruned((300, 784), 0.08), 32)
    assert len(encode({"w": shared})) < 300 * 784 * 4 / 35


# ---- regions


def test_regions_cover_each_byte_once():
    for content in samples():
        found = regions(content)
        assert found[0].start == 0 and found[-1].end == len(content)
        assert all(a.end == b.start for a, b in itertools.pairwise(found))
        assert found[-1].what == "checksum" and found[-1].end - found[-1].start == 4


def test_regions_name_what_is_there():
    parts = {"w": sharing.share(pruned((40, 50), 0.02), 4), "b": torch.ones(3)}
    content = encode(parts, code="fixed")
    found = {(r.tensor, r.what): content[r.start : r.end] for r in regions(content)}
    assert found["", "header"].startswith(b"SHRK")
    assert found["b", "numbers"] == torch.ones(3).numpy().tobytes()
    assert {"codebook", "gaps", "values"} <= {what for tensor, what in found if tensor == "w"}


# ---- what cannot be written


@pytest.mark.parametrize(
    ("parts", "options", "kind", "message"),
    [
        (
            {"w": [1.0]},
            {},
            TypeError,
            "w must be a tensor, Shared, Quantized, Scaled or ArithmeticCoded, not <class 'list'>",
        ),
        ({"w": torch.ones(1, dtype=torch.complex64)}, {}, TypeError, "torch.complex64 has no form"),
        ({"": torch.ones(1)}, {}, ValueError, "a name has 1 to 255 bytes, '' has 0"),
        ({"é" * 128: torch.ones(1)}, {}, ValueError, "has 256"),
        ({"w": torch.ones([1] * 9)}, {}, ValueError, "at most 8 axes, not 9"),
        ({}, {"code": "zip"}, ValueError, "fixed, huffman, ans, not 'zip'"),
        ({}, {"gap_bits": 9}, ValueError, "gap_bits must lie between 1 and 8, not 9"),
        (
            {"w": Shared(torch.ones(1), torch.ones(1, dtype=torch.uint8))},
            {},
            ValueError,
            "not 1 to 1",
        ),
        (
            {"w": Shared(torch.ones(257), torch.ones(1).int())},
            {},
            ValueError,
            "1 to 256 values, not 257",
        ),
        (
            {"w": Shared(torch.tensor([float("nan")]), torch.zeros(1, dtype=torch.uint8))},
            {},
            ValueError,
            "finite values, not",
        ),
        (
            {"w": Quantized(torch.tensor([3]).char(), quantization.choose_qparams(-1, 1, 2))},
            {},
            ValueError,
            "integers of 2 bits are -2 to 1, not 3 to 3",
        ),
        (
            {"w": Quantized(torch.tensor([3]).char(), QParams(ONE_HALF, torch.tensor(200)))},
            {},
            ValueError,
            "zero points of 8 bits are -128 to 127, not 200 to 200",
        ),
        (
            {"w": Quantized(torch.tensor([3]).char(), QParams(-ONE_HALF, torch.tensor(0)))},
            {},
            ValueError,
            r"scales are finite and above 0, not \[-0.5\]",
        ),
        (
            {"w": Quantized(torch.zeros(1, dtype=torch.uint8), quantization.choose_qparams(0, 1))},
            {},
            ValueError,
            "signed integers of 2 to 8 bits are stored, not torch.uint8",
        ),
        (
            {
                "w": Quantized(
                    torch.zeros(2, 3, dtype=torch.int8),
                    quantization.qparams_of(torch.ones(5, 3), axis=0),
                )
            },
            {},
            ValueError,
            "do not fit a tensor of shape",
        ),
    ],
)
def test_what_has_no_form_is_named(parts, options, kind, message):
    with pytest.raises(kind, match=message):
        encode(parts, **options)


def test_too_many_tensors_are_refused():
    with pytest.raises(ValueError, match="at most 4096 tensors, not 4097"):
        encode({str(i): torch.zeros(0) for i in range(4097)})


# ---- files


def test_a_file_is_read_in_a_fresh_process(tmp_path):
    shared = sharing.share(pruned((20, 30), 0.2), 4)
    length = save({"w": shared, "b": random(20)}, tmp_path / "net.shrk")
    assert length == (tmp_path / "net.shrk").stat().st_size
    program = (
        "import sys; from shrink.coding import codec; print(codec.load(sys.argv[1])['w'].tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "net.shrk")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert torch.tensor(eval(said)).equal(shared.weight)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.shrk"
    save({"w": torch.ones(2)}, path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save({"w": None}, path)

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save({"w": torch.zeros(2)}, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["net.shrk"]


def test_errors_name_the_file(tmp_path):
    (tmp_path / "other").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(
        CodecError, match=r"other: byte 0: begins with b'PK\\x03\\x04', not with b'"
    ):
        load(tmp_path / "other")


# ---- damage


@pytest.mark.parametrize("content", samples(), ids=lambda c: f"{len(c)} bytes")
def test_every_cut_and_every_flipped_bit_is_refused(content):
    for size in range(len(content)):
        with pytest.raises(CodecError):
            decode(content[:size])
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            decode(bytes(damaged))


@pytest.mark.parametrize("version", range(1, codec_format.VERSION + 1))
@pytest.mark.parametrize("code", codec.CODES)
def test_files_of_every_version_load_for_good(version, code):
    found = load(KEPT / f"version-{version}-{code}.shrk")
    parts = kept(version)
    assert list(found) == list(parts)
    for name, part in parts.items():
        if isinstance(part, Shared):
            expected = part.codebook[part.assignments.long()]
        elif isinstance(part, Quantized):
            scale, zero_point = part.qparams.scale, part.qparams.zero_point
            if part.qparams.group:
                each = part.qparams.group
                scale, zero_point = (t.repeat_interleave(each, 1) for t in (scale, zero_point))
            expected = scale * (part.q.float() - zero_point)
        elif isinstance(part, Scaled):
            expected = part.scale * part.q
        else:
            expected = part
        assert same(found[name], expected), name


def test_a_newer_version_and_an_end_are_told_so():
    content = encode({"w": torch.ones(2)})
    newer = repaired(content[:4] + bytes([5]) + content[5:])
    with pytest.raises(CodecError, match="byte 5, header: version 5; this reader knows 1 to 4"):
        decode(newer)
    with pytest.raises(CodecError, match="the checksum is another"):
        decode(content + b"\0")
    with pytest.raises(CodecError, match="end: 1 bytes are left over"):
        decode(repaired(content[:-4] + b"\0" + content[-4:]))


def file_of(body):
    """A file with one tensor, "w", of this body."""
    return repaired(b"SHRK" + bytes([1, 1, 1]) + b"w" + body + b"\0\0\0\0")


ONE = bytes([0, 2, 0, 60])  # a codebook of one value, 1.0
TWO = bytes([1, 2, 0, 0, 0, 60])  # 0.0 and 1.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (bytes([4]), "w, shape: must be 0 to 3, not 4"),
        (bytes([0, 9]), "w, shape: must be 0 to 8, not 9"),
        (bytes([0, 1, 255, 255, 255, 255, 255, 1]), "w, shape: must be at most 1048576"),
        (bytes([0, 2, 128, 8, 129, 8]), r"\(1024, 1025\) is more than the 1048576 numbers"),
        (bytes([2, 2, 128, 128, 64, 0]) + ONE, r"w, values: 1 bytes are needed, and 0 are left"),
        (bytes([0, 1, 9, 99]), "w, type: must be 0 to 9, not 99"),
        (bytes([0, 1, 9, 0]) + bytes(35), "w, numbers: 36 bytes are needed, and 35 are left"),
        (bytes([0, 1, 2, 9, 1, 7]), "w, numbers: a truth value is 7"),
        (bytes([1, 1, 4, 9]), "w, type: must be 2 to 8, not 9"),
        (bytes([1, 1, 4, 8, 0, 1, 3]), r"w, scales: \(3,\) do not fit the shape \(4,\)"),
        (bytes([1, 1, 4, 8, 0, 0, 0, 0, 128, 191]), "w, scales: one is not above 0"),
        (bytes([1, 1, 4, 8, 0, 0, 0, 0, 192, 127]), "w, scales: one is NaN or infinite"),
        (bytes([2, 1, 1, 0, 3]), "w, codebook: values have 2 or 4 bytes, not 3"),
        (bytes([2, 1, 1, 0, 2, 0, 124]), "w, codebook: one is NaN or infinite"),
        (bytes([2, 1, 1]) + ONE + bytes([3]), "w, values: must be 0 to 2, not 3"),
        (bytes([2, 1, 2, 2, 2]) + bytes(6) + bytes([0, 240]), "w, values: a symbol is 3, of 3"),
        (bytes([3, 1, 5]) + TWO + bytes([2]), "w, codebook: must be 0 to 1, not 2"),
        (bytes([3, 1, 5]) + TWO + bytes([0, 9]), "w, gaps: must be 1 to 8, not 9"),
        (bytes([3, 1, 5]) + TWO + bytes([0, 2, 6]), "w, gaps: must be at most 5, not 6"),
        (
            bytes([3, 1, 5]) + TWO + bytes([0, 2, 2, 0, 0b11110000, 0, 192]),
            "w, gaps: they lead to place 7 of 5",
        ),
        (bytes([2, 1, 3]) + TWO + bytes([1, 0x11, 1, 0b01000000, 1]), "end: 1 bytes are left over"),
        (bytes([2, 1, 9]) + TWO + bytes([1, 0x11, 1, 0]), "w, values: count must be 0 to a symbol"),
        (
            bytes([2, 1, 8]) + ONE + bytes([1, 0x20, 1, 0]),
            "w, values: the stream of 1 bytes is too",
        ),
        (bytes([2, 1, 1]) + TWO + bytes([2, 3, 0, 0]), "w, values: frequencies must add up to"),
    ],
)
def test_what_is_wrong_is_said_with_the_place(body, message):
    with pytest.raises(CodecError, match=message) as refused:
        decode(file_of(body))
    assert str(refused.value).startswith("byte ")


def test_a_name_that_comes_twice_or_is_no_text():
    tensor = bytes([0, 1, 0, 0])
    head = b"SHRK" + bytes([1, 2])
    twice = head + 2 * (bytes([1]) + b"w" + tensor) + bytes(4)
    with pytest.raises(CodecError, match="name: 'w' comes twice"):
        decode(repaired(twice))
    with pytest.raises(CodecError, match="name: 'utf-8' codec can't decode"):
        decode(repaired(head + bytes([1, 255]) + tensor + bytes(4)))


def test_the_limit_of_numbers_is_for_all_tensors_together():
    content = encode({"a": torch.zeros(60), "b": torch.zeros(60)})
    assert len(decode(content, most=120)) == 2
    with pytest.raises(
        CodecError, match=r"b, shape: \(60,\) is more than the 59 numbers|at most 59"
    ):
        decode(content, most=119)
    with pytest.raises(ValueError, match=r"w: \(1048577,\) is more than the 1048576 numbers"):
        encode({"w": sharing.share(torch.zeros(2**20 + 1), 1)})
    zeros = encode({"w": sharing.share(torch.zeros(2**20 + 1), 1)}, most=2**21)
    with pytest.raises(CodecError, match="w, shape: must be at most 1048576"):
        decode(zeros)
    assert decode(zeros, most=2**21)["w"].shape == (2**20 + 1,)


FUZZED = 6000 if depth.DEEP else 500


def test_damaged_and_drawn_files_in_a_small_dose():
    """`python -m tests.coding.fuzz_codec 100000` runs as many."""
    report = fuzz(FUZZED, seed=1)
    assert report.files == FUZZED == report.refused + report.loaded
    assert report.drawn > FUZZED / 3 and report.repaired > FUZZED / 5
    assert report.refused > FUZZED / 4 and report.loaded > FUZZED / 5
    assert report.slowest < 1


def test_memory_of_damaged_and_heavy_files_in_a_fresh_process():
    command = [sys.executable, "-m", "tests.coding.fuzz_codec", str(FUZZED), "--seed", "2"]
    command += ["--heavy"] * depth.DEEP
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{FUZZED:,} files" in done.stdout and "above the imports" in done.stdout
