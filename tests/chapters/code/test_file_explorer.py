"""The explorer of chapter 05's file on small data: what a flipped bit does is what the reader does
with such a file, and the network with what the reader gives.
"""

import copy
import dataclasses
import struct
import zlib

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from shrink import quantization, sharing
from shrink.chapters.code import file_explorer as file
from shrink.chapters.code import file_figure, file_lab, file_meaning, file_view, parts, prepared
from shrink.classroom import CourseError, baselines, models
from shrink.classroom.explorers.memory import Memory
from shrink.coding import codec
from shrink.coding.codec_reader import CodecError
from tests.chapters.code.small import FLIPS, content_of
from tests.chapters.small import run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def net(digits, cache):
    return baselines.pruned_baseline(prepared.NAME, digits)


@pytest.fixture(scope="module")
def content(digits, cache):
    return content_of(digits)


@pytest.fixture(scope="module")
def one_lab(content, digits):
    return file_lab.FileLab(content, digits)


@pytest.fixture
def lab(one_lab):
    one_lab.flips.clear()
    return one_lab


def region(lab, tensor, what, number=0):
    found = [r for r in lab.regions if (r.tensor, r.what) == (tensor, what)]
    return found[number]


def damaged(content, byte, bit, repaired):
    changed = content[:byte] + bytes([content[byte] ^ 1 << bit]) + content[byte + 1 :]
    checksum = zlib.crc32(changed[:-4]).to_bytes(4, "little")
    return changed[:-4] + checksum if repaired else changed


def right(net, state, digits):
    changed = copy.deepcopy(net)
    changed.load_state_dict(state)
    return share_right(changed, digits.validation)


# --- a flip --------------------------------------------------------------------------------


def test_whatever_is_flipped_the_checksum_sees_it(lab, content):
    for byte in [*range(12), *range(12, len(content), 997), *range(len(content) - 5, len(content))]:
        for bit in (0, 5):
            outcome = lab.flip(byte, bit, repaired=False)
            with pytest.raises(CodecError) as error:
                codec.decode(damaged(content, byte, bit, repaired=False))
            assert outcome.refused == str(error.value) and outcome.by_reader


def test_a_flip_builds_no_network(lab, monkeypatch):
    """That draws random numbers, between which those of a cell that runs would be drawn."""
    monkeypatch.setattr(models, "build", lambda *_, **__: pytest.fail("built"))
    assert lab.flip(region(lab, "fc1.bias", "numbers").start, 3, repaired=True).changed == 1


def test_with_the_checksum_repaired_it_is_as_the_reader_has_it(lab, net, content, digits):
    refused = loaded = 0
    for byte in range(9, len(content) - 4, 401):
        bit = byte % 8
        outcome = lab.flip(byte, bit, repaired=True)
        try:
            state = codec.decode(damaged(content, byte, bit, repaired=True))
        except CodecError as error:
            assert outcome.refused == str(error)
            refused += 1
            continue
        if set(state) != set(net.state_dict()):
            continue
        loaded += 1
        before = codec.decode(content)
        differ = {name: state[name] != t for name, t in before.items()}
        assert outcome.changed == sum(int(d.sum()) for d in differ.values())
        assert outcome.accuracy == pytest.approx(right(net, state, digits))
        if outcome.changed:
            assert differ[outcome.tensor].any() and outcome.of == differ[outcome.tensor].numel()
    assert refused > 5 and loaded > 5


def test_a_value_of_the_codebook_moves_all_its_weights(lab, content):
    here = region(lab, "fc1.weight", "codebook")
    byte = here.start + 2 + 4 * 2 + 3  # the highest byte of value number 2, with its sign
    part = sharing.share(lab.state["fc1.weight"], 8)
    assert part.zero != 2
    outcome = lab.flip(byte, 7, repaired=True)
    assert outcome.changed == int((part.assignments == 2).sum())
    assert outcome.farthest == pytest.approx(2 * abs(part.codebook[2].item()))
    pixels = (part.assignments == 2).sum(0).view(28, 28)
    middle = outcome.picture[10:290:10, 10:290:10]  # a pixel of the input each
    assert (middle == 255).tolist() == (pixels == pixels.max()).tolist()
    shown = outcome.picture[10:290:10, 10:290:10]
    assert ((shown > 20) == (pixels > 0).numpy()).all()
    assert shown.flat[int(pixels.argmax())] == 255 and outcome.picture[5, 5] == 0
    words = file_view.summarise(lab.view(byte, 7, "repaired"))
    assert f"{outcome.changed:,} numbers are others, most of them among the 235,200 of" in words


def test_the_checksum_repaired_is_the_file_as_it_was(lab, content):
    outcome = lab.flip(len(content) - 2, 3, repaired=True)
    assert not outcome.refused and not outcome.changed
    assert outcome.accuracy == lab.accuracy
    shown = lab.view(len(content) - 2, 3, "repaired")
    assert "nothing changes in the network" in file_view.summarise(shown)


def test_a_file_of_another_network_is_read_and_then_refused(lab):
    name = region(lab, "", "name")
    outcome = lab.flip(name.start + 1, 0, repaired=True)  # fc1.weight becomes gc1.weight
    assert "it has no fc1.weight" in outcome.refused and not outcome.by_reader
    words = file_view.summarise(lab.view(name.start + 1, 0, "repaired"))
    assert "the file is read, but" in words and "CodecError" not in words


def test_a_bias_that_is_no_number_is_loaded(lab, content):
    here = region(lab, "fc3.bias", "numbers")
    values = np.frombuffer(content[here.start : here.end], "<f4")
    number = int(np.abs(values).argmax())  # 1/8 to 2: the highest bit of the exponent makes it huge
    outcome = lab.flip(here.start + 4 * number + 3, 6, repaired=True)
    assert outcome.changed == 1 and outcome.tensor == "fc3.bias" and outcome.farthest > 1e30
    assert outcome.accuracy < lab.accuracy - 0.05
    assert (outcome.picture > 60).sum() == 20 * 30  # one of ten numbers in a row
    words = file_view.summarise(lab.view(here.start + 4 * number + 3, 6, "repaired"))
    assert "1 number is another, one of the 10 of fc3.bias" in words


def test_what_was_flipped_before_is_not_read_again(lab, monkeypatch):
    before = lab.flip(59, 1, repaired=True)
    monkeypatch.setattr(codec, "decode", lambda *_: pytest.fail("again"))
    assert lab.flip(59, 1, repaired=True) is before


# --- what the bytes are --------------------------------------------------------------------


def test_every_byte_has_its_colour(lab, content):
    pixels = file_figure.map_of(content, tuple(lab.regions))
    width = file_figure.bytes_a_row(content)
    flat = pixels.reshape(-1, 3)
    assert pixels.shape[1] == width and (flat[len(content) :] == 1).all()
    for here in lab.regions:
        colour = np.array(to_rgb(parts.COLOURS[parts.part_of(here)]))
        for byte in (here.start, here.end - 1):
            white = file_figure.LIGHTER * content[byte] / 255
            assert flat[byte] == pytest.approx((1 - white) * colour + white)
    assert lab.parts.sum() == len(content)


def test_the_byte_is_told_by_its_region(lab, content):
    here = region(lab, "fc1.weight", "codebook")
    value = struct.unpack_from("<f", content, here.start + 2 + 4 * 2)[0]
    shown = lab.view(here.start + 2 + 4 * 2 + 3, 7, "repaired")
    assert shown.meaning == f"byte 4 of value number 2, {value:.6g}"
    assert shown.meaning_after == f"byte 4 of value number 2, {-value:.6g}"
    assert lab.view(here.start, 0, "repaired").meaning == "the codebook has 9 values"
    assert lab.view(here.end - 2, 0, "repaired").meaning.startswith("byte 4 of value number 8")
    zero = sharing.share(lab.state["fc1.weight"], 8).zero
    assert lab.view(here.end - 1, 0, "repaired").meaning == f"value number {zero} is the zero"
    table = region(lab, "fc1.weight", "gaps, lengths of codes")
    at = next(i for i in range(table.start, table.end) if content[i] >> 4 != content[i] & 15)
    first = 2 * (at - table.start)
    assert lab.view(at, 0, "repaired").meaning == (
        f"symbols {first} and {first + 1} have codes of {content[at] >> 4} and {content[at] & 15} "
        "bits"
    )
    bias = region(lab, "fc2.bias", "numbers")
    number = lab.state["fc2.bias"][5].item()
    assert lab.view(bias.start + 22, 0, "repaired").meaning == f"byte 3 of number 5, {number:.6g}"
    assert "the letter 'H'" in lab.view(1, 0, "repaired").meaning
    assert lab.view(5, 0, "repaired").meaning == "there are 6 tensors"


def test_every_byte_of_every_kind_of_file_has_words(net):
    weights = models.weights(net)
    p = quantization.qparams_of(weights["fc2.weight"], 4, axis=0)
    mixed = net.state_dict() | {
        "fc1.weight": sharing.share(weights["fc1.weight"], 4),
        "fc2.weight": codec.Quantized(quantization.quantize(weights["fc2.weight"], p), p),
        "fc3.weight": sharing.share(weights["fc3.weight"], 4, keep_zeros=False),
        "fc1.bias": net.state_dict()["fc1.bias"].half(),
    }
    for code in codec.CODES:
        content = codec.encode(mixed, code=code, gap_bits=8)
        seen = set()
        for here in codec.regions(content):
            seen.add(parts.part_of(here))
            for byte in {*range(here.start, min(here.start + 50, here.end)), here.end - 1}:
                assert file_meaning.meaning(content, here, byte)
                for bit in (0, 3, 7):
                    after = file_lab.flipped(content, byte, bit, repaired=False)
                    file_lab._meaning_after(content, after, here, byte)
        assert seen == set(parts.PARTS) - ({"tables"} if code == "fixed" else set())


@pytest.mark.parametrize(("code", "table"), [("fixed", 0), ("huffman", 128), ("ans", 256)])
def test_the_bytes_before_a_stream_are_told_one_by_one(code, table):
    """Gaps of 8 bits, more than 16,383 of them, so that their number takes three bytes."""
    draw = torch.rand(300, 784, generator=torch.Generator().manual_seed(0))
    shared = sharing.share(draw * (draw > 0.9), 4)
    content = codec.encode({"fc1.weight": shared}, code=code, gap_bits=8)
    told = {}
    for here in codec.regions(content):
        for byte in range(here.start, here.end):
            words = file_meaning.meaning(content, here, byte)
            told.setdefault(here.what, []).append(words.split(":")[0])
    before = ["a gap is a number of 8 bits", *["how many gaps there are, fillers included"] * 3]
    assert told["gaps"][:5] == [*before, "how the gaps are coded"]
    assert told["values"][0] == "how the values are coded"
    behind = {"gaps": told["gaps"][5:], "values": told["values"][1:]}
    for what, words in behind.items():
        if code == "fixed":
            assert set(words) == {f"of the {what}, packed in as many bits each"}
        else:
            size = words.count(f"how many bytes the stream of {what} has")
            assert size == (3 if len(words) > 2**14 else 2)
            assert set(words[size:]) == {f"of the stream of {what}"}
    tables = sum(len(words) for what, words in told.items() if what.startswith("gaps, "))
    assert tables >= table and (tables > 0) == (code != "fixed")


@pytest.mark.parametrize("code", codec.CODES)
def test_it_shows_whatever_file_holds_the_network(net, digits, code):
    half = {name: t.half() for name, t in net.state_dict().items()}
    shared = sharing.share(net.fc1.weight, 4)
    content = codec.encode(half | {"fc1.weight": shared}, code=code)
    lab = file_lab.FileLab(content, digits)
    assert lab.accuracy == pytest.approx(right(net, codec.decode(content), digits))
    assert lab.view(60, 2, "as it is").outcome.refused


# --- what is no such file ------------------------------------------------------------------


def other(net, **changed):
    state = {name: t for name, t in (net.state_dict() | changed).items() if t is not None}
    return codec.encode(state)


def test_foreign_content_is_refused(net, digits, content):
    with pytest.raises(CodecError, match="begins with"):
        file.explore_file(b"something else", digits)
    with pytest.raises(CodecError, match="checksum"):
        file.explore_file(content[:-1], digits)
    with pytest.raises(CourseError, match="takes the bytes of a file, not <class 'str'>"):
        file.explore_file("net.shrk", digits)
    for given, message in (
        (codec.encode(models.build("lenet-5", 0).state_dict()), "it has no fc3.weight"),
        (other(net, more=torch.ones(2)), "it has more, and the network does not"),
        (other(net, **{"fc3.bias": None}), "it has no fc3.bias"),
        (other(net, **{"fc3.bias": torch.ones(9)}), r"fc3.bias is \(9,\), not \(10,\)"),
        (codec.encode({}), "it has nothing"),
    ):
        with pytest.raises(CourseError, match=message):
            file.explore_file(given, digits)


# --- a hundred flips -----------------------------------------------------------------------


def test_random_flips_are_counted_by_what_came_of_them(lab, content, monkeypatch):
    steps = run_through(lab.flip_many, {})
    assert steps == [(i, FLIPS) for i in range(1, FLIPS + 1)] and len(lab.flips) == FLIPS
    monkeypatch.setattr(lab, "memory", Memory(0))
    for flip in lab.flips:
        repaired = lab.flip(flip.byte, flip.bit, repaired=True)
        assert flip.caught and flip.refused == bool(repaired.refused)
        assert np.array_equal(flip.accuracy, repaired.accuracy, equal_nan=True)
        here = next(r for r in lab.regions if r.start <= flip.byte < r.end)
        assert flip.part == parts.part_of(here)
    shown = lab.view(0, 0, "as it is")
    silent = [f for f in lab.flips if not f.refused and f.changed]
    lost = [100 * (lab.accuracy - f.accuracy) for f in silent]
    words = file_view.summarise(shown)
    assert f"{FLIPS} random flips.</b> With the checksum as it is {FLIPS} are refused" in words
    assert f"other checks refuse {sum(f.refused for f in lab.flips)}, and {len(silent)} silent" in (
        words
    )
    assert f"{np.mean(lost):.1f} points on average and {max(lost):.1f} at worst" in words
    assert 0 < len(silent) < FLIPS
    assert "random flips" not in file_view.summarise(dataclasses.replace(shown, flips=()))


def test_stopped_flips_are_kept_and_more_of_them_are_other_ones(lab):
    for _ in range(2):
        run_until(lab.flip_many, {}, 3)
    run_until(lab.flip_many, {}, 0)
    assert len({(flip.byte, flip.bit) for flip in lab.flips}) == len(lab.flips) == 6


def test_a_flip_that_changes_nothing_is_no_silent_one(lab, content):
    lab.flips.append(lab.one_flip(len(content) - 1, 2))
    words = file_view.summarise(lab.view(0, 0, "as it is"))
    assert "other checks refuse 0, and 0 silently" in words


# --- the explorer --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(content, digits):
    return file.explore_file(content, digits)


def test_the_byte_and_the_region_go_together(explorer, content):
    controls = explorer.controls
    assert controls["byte"].max == len(content) - 1
    names = [name for name, _ in controls["region"].options]
    gaps = next(i for i, name in enumerate(names) if name.startswith("fc2.weight, gaps, lengths"))
    controls["region"].value = gaps
    start = codec.regions(content)[gaps].start
    assert controls["byte"].value == start and explorer.result.byte == start
    controls["byte"].value = start + 1
    assert controls["region"].value == gaps and controls["byte"].value == start + 1
    controls["byte"].value = len(content) - 1
    assert names[controls["region"].value].startswith("checksum")
    assert explorer.error is None


def test_a_tensor_that_is_an_earlier_one_is_told_byte_by_byte():
    w = torch.ones(2)
    content = codec.encode({"a": w, "b": w})
    told = [
        file_meaning.meaning(content, region, byte)
        for region in codec.regions(content)
        for byte in range(region.start, region.end)
    ]
    assert len(told) == len(content) and told[4] == "version 2 of the format"
    assert told[-6:-4] == [
        "how the tensor is stored: an earlier one",
        "of the number of the earlier tensor that this one is",
    ]
