"""The explorer of chapter 05's codes on small data: what it shows is what real files take."""

import copy

import numpy as np
import pytest
import torch

from shrink import sharing
from shrink.chapters.code import parts, prepared
from shrink.chapters.code import sizes as code_sizes
from shrink.chapters.code.lab import CodingLab
from shrink.chapters.code.view import summarise
from shrink.classroom import measure
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.coding import ans, codec, huffman, sparse
from tests.chapters.code.small import EXERCISES, STOPS
from tests.chapters.small import share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
(code_lengths,) = EXERCISES


@pytest.fixture(scope="module")
def lab(digits, cache):
    return CodingLab(digits, code_lengths, seed=0)


def view(lab, gap_bits=5, sparsity=92, **changed):
    given = {"k": 16, "code": "huffman", "layer": "fc1", "source": "reference"} | changed
    return lab.view(gap_bits=gap_bits, sparsity=sparsity, **given)


def file_of(lab, shown):
    return codec.encode(
        lab.parts(shown.sparsity, shown.k), code=shown.code, gap_bits=shown.gap_bits
    )


# --- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", codec.CODES)
@pytest.mark.parametrize(("sparsity", "k"), [(50, 2), (80, 16), (92, 16), (98, 2)])
def test_the_bytes_are_those_of_the_file(lab, name, sparsity, k):
    for gap_bits in (2, 8):
        shown = view(lab, gap_bits, sparsity, k=k, code=name)
        content = file_of(lab, shown)
        of_parts = parts.bytes_of_parts(codec.regions(content))
        assert shown.bytes[gap_bits - 1].tolist() == of_parts.tolist()
        assert shown.bytes[gap_bits - 1].sum() == len(content)


def test_the_lengths_by_ans_are_those_of_its_streams():
    generator = torch.Generator().manual_seed(0)
    streams = []
    for count in (1, 2, 4095, 4096, 4097, 9000, 20_000):
        for k, power in ((1, 1), (2, 8), (9, 3), (256, 1)):
            symbols = (k * torch.rand(count, generator=generator) ** power).long()
            frequencies = ans.quantize_counts(torch.bincount(symbols, minlength=k))
            streams.append((symbols.numpy(), frequencies.numpy()))
    expected = [len(ans.encode(*map(torch.from_numpy, stream))) for stream in streams]
    assert code_sizes.ans_bytes(streams) == expected
    nothing = torch.zeros(0, dtype=torch.int64)
    none = (nothing.numpy(), torch.zeros(3, dtype=torch.int64).numpy())
    assert code_sizes.ans_bytes([none, streams[3]])[0] == len(ans.encode(nothing, nothing))


def test_what_has_no_zeros_and_what_has_nothing_else(lab):
    generator = torch.Generator().manual_seed(0)
    weights = {
        "dense": torch.randn(40, 30, generator=generator),
        "halves": torch.randint(-2, 3, (40, 30), generator=generator) / 2,
        "empty": torch.zeros(40, 30),
    }
    shared = [sharing.share(w, 4) for w in weights.values()]
    (symbols,) = code_sizes.symbols_of({4: shared}).values()
    assert symbols[0].zero is None and symbols[0].counts(3)[0] is None
    for name in codec.CODES:
        for at in (0, 6):
            content = codec.encode(
                dict(zip(weights, shared, strict=True)), code=name, gap_bits=at + 1
            )
            real = parts.bytes_of_parts(codec.regions(content))
            found = code_sizes.coded_parts(symbols, at, name, lab._lengths(mine=False))
            assert found[:4].tolist() == real[:4].tolist()


def test_fillers_are_those_of_the_gaps(lab):
    for sparsity in STOPS:
        shown, shared = view(lab, 3, sparsity), lab.parts(sparsity, 16)
        weights = [part.weight for part in shared.values() if isinstance(part, sharing.Shared)]
        for at, bits in enumerate(code_sizes.GAP_BITS):
            values = [sparse.relative_indices(w, bits)[1] for w in weights]
            assert shown.entries[at] == sum(map(len, values))
            assert shown.fillers[at] == sum(int((v == 0).sum()) for v in values)


def test_the_u_of_gap_bits(lab):
    """With fixed codes many fillers on one side, wide gaps on the other; it moves with sparsity."""
    best = []
    for sparsity in STOPS:
        totals = view(lab, 1, sparsity, code="fixed").bytes.sum(1)
        best.append(int(totals.argmin()))
        assert (np.diff(totals[: best[-1] + 1]) < 0).all() and (
            np.diff(totals[best[-1] :]) > 0
        ).all()
    assert best == sorted(best) and best[0] < best[-2]


def test_no_code_is_shorter_than_the_entropy(lab):
    for sparsity in STOPS:
        for name in codec.CODES:
            shown = view(lab, 1, sparsity, code=name)
            assert (shown.bytes.sum(1) > shown.least).all()
    by_ans = view(lab, 5, code="ans")
    tables = by_ans.bytes[:, code_sizes.TABLES]
    assert by_ans.bytes.sum(1) - tables == pytest.approx(by_ans.least, rel=0.01)


# --- codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["fc1", "fc2", "fc3"])
def test_the_codes_are_those_of_the_layers_symbols(lab, layer):
    shown = view(lab, 4, layer=layer)
    part = lab.parts(92, 16)[f"{layer}.weight"]
    flat = torch.where(part.assignments.flatten() == part.zero, 0, part.assignments.flatten() + 1)
    gaps, values = sparse.relative_indices(flat.float(), 4)
    for codes, symbols in zip(shown.codes, (gaps, values), strict=True):
        counts = torch.bincount(symbols.long())
        assert codes.entropy == pytest.approx(huffman.entropy(counts))
        assert codes.share == pytest.approx(
            (counts[counts > 0].sort(descending=True).values / len(symbols)).numpy()
        )
        bits = int((counts * huffman.code_lengths(counts).long()).sum())
        assert codes.huffman == pytest.approx(bits / len(symbols))
        assert codes.huffman == pytest.approx(float(codes.share @ codes.lengths))
        stream = ans.encode(symbols.long(), ans.quantize_counts(counts))
        assert codes.ans == pytest.approx(8 * len(stream) / len(symbols))
        assert codes.entropy <= min(codes.huffman, codes.ans) and codes.huffman <= codes.fixed
    assert shown.codes[0].fixed == 4 and shown.codes[1].fixed == 5


def test_no_code_begins_another_and_symbols_have_their_names(lab):
    gaps, values = view(lab, 3).codes
    for codes in (gaps, values):
        assert [len(c) for c in codes.codes] == codes.lengths.tolist()
        for i, one in enumerate(codes.codes):
            assert not any(other.startswith(one) for other in codes.codes[i + 1 :])
    assert set(gaps.symbols) == {*map(str, range(7)), "7+"}
    part = lab.parts(92, 16)["fc1.weight"]
    weights = {f"{w:+.2g}" for i, w in enumerate(part.codebook.tolist()) if i != part.zero}
    assert set(values.symbols) == weights | {"filler"}


def test_a_symbol_costs_a_whole_bit_at_least_but_by_ans(lab):
    codes = view(lab, 1, 98, k=2).codes[1]
    assert codes.symbols[0] == "filler" and codes.share[0] > 0.9
    assert codes.huffman > 1 > codes.ans > codes.entropy


# --- accuracy ------------------------------------------------------------------------------


@pytest.mark.parametrize(("sparsity", "k"), [(50, 2), (80, 16), (92, 2), (98, 16)])
def test_the_accuracy_is_that_of_the_network_in_the_file(lab, digits, sparsity, k):
    shown = view(lab, 4, sparsity, k=k)
    net = copy.deepcopy(lab.dense)
    net.load_state_dict(codec.decode(file_of(lab, shown)))
    assert shown.accuracy == pytest.approx(share_right(net, digits.validation))
    assert shown.images == len(digits.validation)
    start = lab.dense if sparsity < 92 else lab.tuned
    assert shown.tuned == (sparsity >= 92)
    assert net.state_dict()["fc1.bias"].equal(start.state_dict()["fc1.bias"])
    weights = [p for p in net.parameters() if p.dim() == 2]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert zeros == pytest.approx(sparsity / 100, abs=1e-3)


def test_the_dense_network_stands_beside(lab, digits):
    shown = view(lab)
    assert shown.dense_bytes == measure.size(lab.dense.state_dict())
    assert shown.dense_accuracy == pytest.approx(share_right(lab.dense, digits.validation))
    tuned = copy.deepcopy(lab.tuned)
    tuned.load_state_dict(prepared.prune(lab.tuned, 98), strict=False)
    assert view(lab, sparsity=98).unshared == pytest.approx(share_right(tuned, digits.validation))


def test_moving_a_slider_codes_nothing_anew(lab, monkeypatch):
    for gap_bits in (2, 3):
        view(lab, gap_bits, 80)
    monkeypatch.setattr(huffman, "code_lengths", lambda *_: pytest.fail("again"))
    assert view(lab, 2, 80).gap_bits == 2


# --- mine ----------------------------------------------------------------------------------


def test_mine_with_the_right_answer_shows_the_same(lab):
    code_lengths.answer(lambda counts: huffman.code_lengths(counts))
    for sparsity in STOPS:
        for gap_bits in (1, 4, 8):
            mine = view(lab, gap_bits, sparsity, source="mine")
            reference = view(lab, gap_bits, sparsity)
            assert mine.bytes.tolist() == reference.bytes.tolist()
            assert mine.codes[1].codes == reference.codes[1].codes
    words = summarise(mine)
    assert mine.mine and words.startswith("<b>Your code_lengths.</b>")
    assert "Your" not in summarise(reference)


def test_a_length_that_the_file_cannot_hold_is_told(lab):
    """The best code of the gaps has more than 15 bits for the rarest."""
    code_lengths.answer(huffman.code_lengths)
    mine, reference = view(lab, 8, 50, source="mine"), view(lab, 8, 50)
    assert mine.codes[0].lengths.max() > 15 >= reference.codes[0].lengths.max()
    assert mine.too_long and "longer than 15 bits" in summarise(mine)
    assert mine.bytes.tolist() == reference.bytes.tolist()
    assert not reference.too_long and not view(lab, 2, 50, source="mine").too_long


def _all_the_same(counts):
    bits = max(1, (int((counts > 0).sum()) - 1).bit_length())
    return [bits * bool(count) for count in counts.tolist()]


def test_mine_shows_what_the_students_bug_does(lab):
    code_lengths.answer(_all_the_same)
    mine, reference = view(lab, 4, source="mine"), view(lab, 4)
    assert mine.bytes[3].sum() > 1.1 * reference.bytes[3].sum()
    assert mine.codes[0].huffman == 4 and mine.codes[0].entropy == reference.codes[0].entropy
    code_lengths.answer(huffman.code_lengths)  # asked again when it has changed
    assert view(lab, 4, source="mine").bytes[3].tolist() == reference.bytes[3].tolist()
    code_lengths.answer(_all_the_same)
    fixed = view(lab, 4, code="fixed", source="mine")
    assert fixed.bytes.tolist() == view(lab, 4, code="fixed").bytes.tolist()


def test_mine_is_asked_each_time_as_what_it_calls_may_have_changed(lab):
    helper = [_all_the_same]
    code_lengths.answer(lambda counts: helper[0](counts))
    assert view(lab, 4, source="mine").codes[0].huffman == 4
    helper[0] = huffman.code_lengths
    mine, reference = view(lab, 4, source="mine"), view(lab, 4)
    assert mine.bytes[3].tolist() == reference.bytes[3].tolist()
    assert mine.codes[0].codes == reference.codes[0].codes


def test_mine_gets_counts_of_its_own(lab):
    before = view(lab, 6).bytes.tolist()

    def spoils(counts):
        lengths = huffman.code_lengths(counts)
        counts.zero_()
        return lengths

    code_lengths.answer(spoils)
    assert view(lab, 6, source="mine").bytes.tolist() == before
    assert view(lab, 6).bytes.tolist() == before


def test_gap_bits_at_which_mine_fails_are_missing(lab):
    def too_few(counts):
        if len(counts) == 256:
            raise RuntimeError("too many for me")
        return huffman.code_lengths(counts)

    code_lengths.answer(too_few)
    shown = view(lab, 5, source="mine")
    assert np.isnan(shown.bytes[7]).all() and not np.isnan(shown.bytes[:7]).any()
    assert "at 7 gap bits" in summarise(shown)
    with pytest.raises(RuntimeError, match="too many for me"):
        view(lab, 8, source="mine")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda counts: None, "a length for each count, .* gave NoneType"),
        (lambda counts: torch.ones_like(counts), "Kraft sum, .* is 16, above 1"),
        (lambda counts: torch.zeros_like(counts), "symbol 0 occurs .* times, .* gives it 0"),
        (lambda counts: torch.nan * torch.ones(len(counts)), "whole numbers"),
        (lambda counts: torch.full_like(counts, 58), "0 to 57 bits here; yours are 58 to 58"),
    ],
)
def test_what_is_no_code_is_said_in_words(lab, answer, message):
    code_lengths.answer(answer)
    with pytest.raises(ExerciseError, match=message):
        view(lab, 5, source="mine")


# --- the picture and the words --------------------------------------------------------------


def test_the_words_hold_the_numbers(lab):
    shown = view(lab, 6, 98, k=2, layer="fc2")
    words = summarise(shown)
    share = 100 * shown.fillers[5] / shown.entries[5]
    for text in (
        "6 gap bits, sparsity 98 %, 2 values, Huffman",
        f"<b>{int(shown.bytes[5].sum()):,} bytes</b>",
        f"{shown.fillers[5]:,} of {shown.entries[5]:,} entries are fillers, {share:.3g} %",
        f"{int(shown.bytes.sum(1).min()):,} bytes, at {shown.bytes.sum(1).argmin() + 1} gap bits",
        f"{100 * shown.accuracy:.1f} %</b> of {shown.images:,} validation images",
        "fine-tuned at 92 %",
        f"fc2's gaps: fixed 6, Huffman {shown.codes[0].huffman:.3f}",
        f"entropy {shown.codes[1].entropy:.3f}",
    ):
        assert text in words
    assert "pruned and not trained on" in summarise(view(lab, 6, 80))
