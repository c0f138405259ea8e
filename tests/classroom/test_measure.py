"""Sizes are lengths of files, reports are about what the file holds, the running table is safe."""

import json
import math
import os
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from shrink import cost, pruning
from shrink.classroom import CourseError, arrays, cache, formats, measure, models
from shrink.classroom.data import Split
from shrink.classroom.measure import Report, Table, read, record, size, write
from shrink.coding import codec, sparse


def report(name="dense", dataset="mnist", correct=9840, images=10_000):
    return Report(name, dataset, 266_610, 266_610, 1_066_888, correct, images)


@pytest.fixture
def net():
    """One that answers with the index of the brightest of the first ten pixels."""
    layer = nn.Linear(784, 10, bias=False)
    layer.weight.data.zero_()
    layer.weight.data[:, :10] = torch.eye(10)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.fixture
def split():
    images = torch.zeros(20, 1, 28, 28)
    labels = torch.arange(20) % 10
    images[torch.arange(20), 0, 0, labels] = 1
    labels[0] = 5
    return Split(images, labels)


ARRAYS = {
    "float32": torch.tensor([[1.5, -2.0], [torch.nan, torch.inf]]),
    "float16": torch.tensor([0.1], dtype=torch.float16),
    "bfloat16": torch.tensor([0.1, 0.2], dtype=torch.bfloat16),
    "int8": torch.tensor([-128, 127], dtype=torch.int8),
    "bool": torch.tensor([True, False]),
    "number": torch.tensor(3.0),
    "empty": torch.zeros(0, 3),
    "view": torch.arange(6).view(2, 3).t(),
    "parameter": nn.Parameter(torch.ones(2)),
    "uint8 array": np.array([[0, 255]], np.uint8),
    "float64 array": np.array([0.1]),
    "array of the other order": np.arange(3, dtype=">i4"),
    "strided array": np.arange(10, dtype=np.int64)[::2],
}


def test_what_is_written_is_read_again(tmp_path):
    write(tmp_path / "all.safetensors", ARRAYS)
    decoded = read(tmp_path / "all.safetensors")
    assert decoded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        if isinstance(array, np.ndarray):
            array = array.astype(array.dtype.newbyteorder("="))
        original = torch.as_tensor(array).detach()
        assert decoded[name].dtype == original.dtype and decoded[name].shape == original.shape
        torch.testing.assert_close(decoded[name], original, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("arrays", [{}, {"w": torch.zeros(1000)}, ARRAYS], ids=len)
def test_the_size_is_the_length_of_the_file(tmp_path, arrays):
    path = tmp_path / "file"
    length = write(path, arrays)
    assert length == os.path.getsize(path) == size(arrays)


def test_zeros_are_stored_like_other_values():
    assert size({"w": torch.zeros(1000)}) == size({"w": torch.randn(1000)}) > 4000


@pytest.mark.parametrize("value", [[1.0, 2.0], 3.0, "w", None, {"w": torch.ones(1)}])
def test_what_is_no_array_is_named_and_nothing_written(tmp_path, value):
    path = tmp_path / "file"
    with pytest.raises(TypeError, match=rf"fc2\.weight must be .*{type(value).__name__}"):
        write(path, {"fc1.weight": torch.ones(2), "fc2.weight": value})
    with pytest.raises(TypeError, match=r"fc2\.weight"):
        size({"fc2.weight": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("before", [None, b"as it was"])
def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch, function, before):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def fails(*args):
        raise OSError("disk full")

    monkeypatch.setattr(cache.os, function, fails)
    with pytest.raises(OSError, match="disk full"):
        write(path, {"w": torch.ones(3)})
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "deep" / "file"
    contents = [{"w": torch.full((50_000,), float(i))} for i in range(2)]
    write(path, contents[0])
    writers = [
        threading.Thread(target=lambda c=content: [write(path, c) for _ in range(10)])
        for content in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert read(path)["w"].unique().numel() == 1
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_report_says_what_the_file_holds(tmp_path, net, split):
    path = tmp_path / "net.safetensors"
    found = measure.measure("first ten", net, split, "dots", path)
    expected = Report("first ten", "dots", 7840, 10, path.stat().st_size, 19, 20)
    assert replace(found, macs=None, microjoules=None, milliseconds=None, timed_on=None) == expected
    assert found.accuracy == 0.95
    assert found.macs == 7840
    low, median, high = found.milliseconds
    assert 0 < low <= median <= high < 1000
    assert re.fullmatch(r"\d+ threads?, cpu", found.timed_on)


def test_the_energy_is_that_of_reading_the_file(tmp_path, net, split):
    """By hand: 64 KB of SRAM hold the 794 inputs and outputs first, and then of the file."""
    report = measure.measure("first ten", net, split, "dots", tmp_path / "net.safetensors")
    sram_pj = 10 * 2 ** (math.log(5) / math.log(32))  # twice 32 KB, on the line to 1 MB
    words = report.file_bytes / 4
    sram = (words + 794) * sram_pj
    assert report.file_bytes + 4 * 794 < measure.ON_CHIP  # so that nothing comes from DRAM
    assert report.microjoules == pytest.approx((7840 * 4.6 + sram) / 1e6)

    def short(state):
        return {"0": torch.zeros(1)}

    less = measure.measure(
        "short", net, split, "dots", tmp_path / "s", encode=short, decode=lambda _: net.state_dict()
    )
    assert less.microjoules < report.microjoules


def test_rows_of_an_older_table_have_empty_cells(tmp_path):
    path = tmp_path / "table.json"
    old = {"name": "dense", "dataset": "mnist", "parameters": 10, "nonzeros": 10}
    old |= {"file_bytes": 100, "correct": 9, "images": 10, "gone": 1}
    path.write_text(json.dumps([old]))
    new = replace(report("new"), macs=7, microjoules=1.5, milliseconds=(0.1, 0.2, 0.4))
    new = replace(new, timed_on="2 threads, cpu")
    table = record(new, path)
    assert table.rows[0] == Report("dense", "mnist", 10, 10, 100, 9, 10)
    assert record(new, path).rows[1] == new
    html = table._repr_html_()
    assert "<td></td><td></td><td></td>" in html
    assert "<td>7</td><td>1.5</td><td>0.2 (0.1 to 0.4), 2 threads, cpu</td>" in html
    assert "energy, µJ, estimated" in html and "time, ms, measured" in html


def test_the_file_is_evaluated_and_not_the_model_in_memory(tmp_path, monkeypatch, net, split):
    def rounds_to_nothing(path, arrays):
        return write(path, {name: torch.zeros_like(array) for name, array in arrays.items()})

    monkeypatch.setattr(measure, "write", rounds_to_nothing)
    found = measure.measure("broken", net, split, "dots", tmp_path / "net")
    assert found.nonzeros == 0
    assert found.correct == int((split.labels == 0).sum()) == 1


def test_a_file_of_another_format_counts_by_its_own_bytes(tmp_path, monkeypatch, net, split):
    """The codec's, read back from the disk: what is written there is what is evaluated."""
    path, how = tmp_path / "net.shrk", {"encode": codec.encode, "decode": codec.decode}
    found = measure.measure("coded", net, split, "dots", path, **how)
    content = codec.encode(net.state_dict())
    assert path.read_bytes() == content and found.file_bytes == len(content) != size(
        net.state_dict()
    )
    assert (found.correct, found.nonzeros) == (19, 10)
    plain = measure.measure("plain", net, split, "dots", tmp_path / "net.safetensors")
    assert found.file_bytes < plain.file_bytes and found.microjoules < plain.microjoules

    def writes_zeros(path, content):
        zeros = {name: torch.zeros_like(t) for name, t in codec.decode(content).items()}
        return cache.write_atomically(path, codec.encode(zeros))

    monkeypatch.setattr(measure, "write_atomically", writes_zeros)
    broken = measure.measure("broken", net, split, "dots", path, **how)
    assert (broken.correct, broken.nonzeros) == (1, 0)


def test_measuring_leaves_the_model_as_it_is(tmp_path, net, split):
    before = {name: t.clone() for name, t in net.state_dict().items()}
    net.train()
    measure.measure("same", net, split, "dots", tmp_path / "net")
    assert net.training
    assert all(t.equal(before[name]) for name, t in net.state_dict().items())


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [  # Wilson's interval at 95 %, from published tables
        (10, 20, 0.2993, 0.7007),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (1, 29, 0.0061, 0.1718),
        (0, 20, 0.0, 0.1611),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_the_interval_is_wilsons(correct, images, low, high):
    assert report(correct=correct, images=images).interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("correct", "images"), [(0, 20), (7, 20), (9840, 10_000)])
def test_the_intervals_ends_are_where_the_score_test_turns(correct, images):
    p = correct / images
    for bound in report(correct=correct, images=images).interval:
        assert 0 <= bound <= 1
        standard_error = math.sqrt(bound * (1 - bound) / images)
        assert abs(p - bound) == pytest.approx(1.96 * standard_error, abs=1e-9)


def test_rows_are_added_and_the_same_row_replaced_in_its_place(tmp_path):
    path = tmp_path / "table.json"
    assert record(report("dense"), path).rows == (report("dense"),)
    record(report("pruned"), path)
    record(report("dense", dataset="glyphs"), path)
    table = record(report("dense", correct=9000), path)
    expected = (report("dense", correct=9000), report("pruned"), report("dense", dataset="glyphs"))
    assert table.rows == expected
    assert record(report("pruned"), path).rows == expected


def test_the_table_starts_again_when_its_file_was_deleted(tmp_path):
    path = tmp_path / "table.json"
    record(report("dense"), path)
    path.unlink()
    assert record(report("pruned"), path).rows == (report("pruned"),)


def test_the_table_lies_beside_the_notebooks_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(report())
    table = json.loads((tmp_path / "results" / "running_table.json").read_text())
    assert [row["name"] for row in table] == ["dense"]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_table_among_the_notebooks_is_taken_over_once(tmp_path, monkeypatch):
    """As an earlier course wrote it; a table that is deleted after that stays deleted."""
    monkeypatch.chdir(tmp_path)
    record(report("dense"), "running_table.json")
    assert record(report("pruned")).rows == (report("dense"), report("pruned"))
    (tmp_path / "results" / "running_table.json").unlink()
    assert record(report("shared")).rows == (report("shared"),)


@pytest.mark.parametrize(
    "content",
    [
        b'[{"name": "dense"',
        b'[{"name": "dense"}]',
        b'[{"name": "dense", "colour": "red"}]',
        b'{"name": "dense"}',
        b"[1, 2]",
        b'[{"name": "", "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1, "milliseconds": [1, 2]}]',
        b'[{"name": "", "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1, "milliseconds": []}]',
        b'[{"name": "", "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 0, "images": 0}]',
        b'[{"name": "", "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1, "macs": "x"}]',
        b'[{"name": null, "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1}]',
        b'[{"name": ["a"], "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1}]',
        b'[{"name": "\\ud800", "dataset": "", "parameters": 1, "nonzeros": 1, "file_bytes": 1,'
        b' "correct": 1, "images": 1}]',
        b"[" * 100_000,
        b"{}",
        b"null",
        b"",
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_table_is_told_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=r"table\.json.*delete it"):
        record(report(), path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["table.json"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_that_an_editor_saved_in_another_encoding_is_read(tmp_path, encoding):
    path = tmp_path / "table.json"
    record(report(), path)
    path.write_text(path.read_text(), encoding=encoding)
    assert len(record(report(name="other"), path).rows) == 2


def test_a_table_shows_every_row_in_words_and_in_html():
    table = Table((report("dense"), report("pruned", correct=9837)))
    lines = str(table).splitlines()
    assert len(lines) == 3 and len(set(map(len, lines))) == 1
    for text in ("dense", "mnist", "266,610", "1,066,888", "98.40 (98.13 to 98.63)"):
        assert text in lines[1]
    markup = table._repr_html_()
    assert markup.count("<tr>") == 3 and "<td>98.37 (98.10 to 98.60)</td>" in markup
    assert "<td>dense</td>" in report()._repr_html_()


def test_names_are_text_in_html():
    markup = report("<b>&'", dataset="<script>")._repr_html_()
    assert "&lt;b&gt;&amp;" in markup and "&lt;script&gt;" in markup
    assert "<b>" not in markup and "<script>" not in markup


def test_names_survive_the_file(tmp_path):
    odd = report('«ü» "x"\n\\', dataset="数字")
    record(odd, tmp_path / "table.json")
    assert record(report(), tmp_path / "table.json").rows == (odd, report())


@pytest.mark.parametrize("format", sparse.FORMATS)
def test_a_model_in_a_sparse_format_is_evaluated_as_its_file_has_it(split, tmp_path, format):
    model = models.build("lenet-300-100", seed=0)
    weights = models.weights(model)
    model.load_state_dict(
        pruning.apply_masks(model.state_dict(), pruning.global_masks(weights, 0.9))
    )
    path = tmp_path / "model.safetensors"
    report = measure.measure(
        "sparse",
        model,
        split,
        "digits",
        path,
        encode=lambda state: formats.pack(state, format),
        decode=lambda arrays: formats.unpack(arrays, format),
    )
    whole = measure.measure("whole", model, split, "digits", tmp_path / "whole.safetensors")
    assert report.file_bytes == path.stat().st_size
    assert (report.file_bytes < 0.2 * whole.file_bytes) == (format != "dense")
    assert (report.correct, report.nonzeros) == (whole.correct, whole.nonzeros)


def test_a_product_of_integers_costs_less_energy_than_one_of_floats(split, tmp_path):
    model, path = models.build("lenet-300-100", seed=0), tmp_path / "model.safetensors"
    floats, integers = (
        measure.measure("", model, split, "digits", path, num_bits=bits).microjoules
        for bits in (32, 8)
    )
    network = cost.layers(model, split.images[:1])
    length = path.stat().st_size
    energy = cost.energy(network, measure.ON_CHIP, num_bits=8, stored_bytes=length)
    assert integers == pytest.approx(sum(layer.total for layer in energy) / 1e6)
    assert integers < floats


def test_what_the_file_lost_counts(split, tmp_path):
    model = models.build("lenet-300-100", seed=0)

    def lose(state):
        return {name: torch.zeros_like(tensor) for name, tensor in state.items()}

    path = tmp_path / "model.safetensors"
    assert measure.measure("", model, split, "digits", path, encode=lose).nonzeros == 0
    assert measure.measure("", model, split, "digits", path, decode=lose).nonzeros == 0
    assert all(weight.any() for weight in models.weights(model).values())


def test_a_model_that_cannot_be_counted_writes_nothing(split, tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Bilinear(784, 784, 10))
    with pytest.raises(ValueError, match="no rule counts"):
        measure.measure("", model, split, "digits", tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---- what a file holds, and what is none


def tied():
    """A state in which the head's weight is the embedding's."""
    embedding, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    return nn.ModuleDict({"embedding": embedding, "head": head}).state_dict()


@pytest.mark.parametrize(
    ("model", "num_bits", "error"),
    [("gives a pair", 32, TypeError), ("plain", 12, ValueError), (None, 32, TypeError)],
)
def test_what_cannot_be_measured_writes_nothing(model, num_bits, error, net, split, tmp_path):
    if model == "gives a pair":
        net.register_forward_hook(lambda module, x, y: (y, y))
    with pytest.raises(error, match=r"must (give logits|be an nn.Module)|num_bits must be"):
        measure.measure("net", model and net, split, "digits", tmp_path / "f", num_bits=num_bits)
    assert not [*tmp_path.iterdir()]


def test_a_tensor_under_two_names_is_stored_once_and_read_under_both(tmp_path):
    state = tied()
    alone = {"embedding.weight": state["embedding.weight"]}
    length = write(tmp_path / "file", state)
    assert length == size(state) < size(alone) + 100
    found = read(tmp_path / "file")
    assert found.keys() == state.keys() and found["head.weight"] is found["embedding.weight"]
    assert torch.equal(found["head.weight"], state["head.weight"])
    assert size(found) == length


def test_views_of_one_memory_are_stored_each(tmp_path):
    w = torch.arange(12.0).view(3, 4)
    views = {"w": w, "rows": w[:2], "turned": w.T, "flat": w.view(-1), "none": w[3:], "end": w[2:]}
    array = np.arange(4.0)
    write(tmp_path / "file", views | {"array": array, "again": array, "back": array[::-1]})
    found = read(tmp_path / "file")
    assert all(torch.equal(found[name], view) for name, view in views.items())
    assert found["back"].tolist() == [3, 2, 1, 0] and found["again"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", arrays.DTYPES, ids=str)
def test_every_type_that_is_taken_is_read(dtype, tmp_path):
    tensor = torch.arange(3).to(dtype)
    write(tmp_path / "file", {"w": tensor})
    found = read(tmp_path / "file")["w"]
    assert found.dtype == dtype
    assert found.view(torch.uint8).tolist() == tensor.view(torch.uint8).tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (torch.eye(3).to_sparse(), "w: .*sparse_coo.*to_dense"),
        (torch.eye(3).to_sparse_csc(), "w: .*sparse_csc.*to_dense"),
        (torch.eye(3, device="meta"), "w: .*meta"),
        (torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "w: .*torch quantized"),
        (torch.ones(2, dtype=torch.complex128), "w: .*complex128"),
        (np.array(["a"]), "w: .*numpy"),
        (np.array([None]), "w: .*numpy"),
        (np.ones(2, np.longdouble), "w: .*numpy"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "w: .*MaskedArray"),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_what_safetensors_cannot_hold_is_refused_by_name(array, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        write(tmp_path / "file", {"b": torch.ones(2), "w": array})
    with pytest.raises(TypeError, match=message):
        size({"w": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [7, None, b"w", "a\ud800", "__metadata__"])
def test_names_that_safetensors_cannot_hold_are_refused(name):
    with pytest.raises((TypeError, ValueError), match="name"):
        size({name: torch.ones(2)})


def safetensors_of(header, data=b""):
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


W = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>\n<html></html>", "it is a web page"),
        (b"\n  <html>" + bytes(99), "it is a web page"),
        (b'{"message": "Not Found"}', "it is JSON"),
        (b"PK\3\4" + bytes(50), "it is a zip archive, as torch.save"),
        (b"\x80\2}q\0." + bytes(50), "it is a pickle"),
        (b"SHRK\1\0" + bytes(4), "it is a file of chapter 05's codec"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
        (b"\x1f\x8b\x08" + bytes(30), "it is compressed by gzip"),
        (b"a few words", "something that begins with b'a few words'"),
        (bytes(3), "something that begins with"),
        (safetensors_of({"w": W}, bytes(8))[:-3], "it is cut off: 74 bytes of 77"),
        (safetensors_of({"w": W}, bytes(8))[:30], "it is cut off: 30 bytes of at least 69"),
        (safetensors_of({"w": W}, bytes(9)), "it is damaged"),
        (
            safetensors_of({"w": W | {"dtype": "F8_E8M0", "data_offsets": [0, 2]}}, bytes(2)),
            "it is",
        ),
        (safetensors_of({"w": W | {"dtype": "X"}}, bytes(8)), "it is damaged"),
        ((60_000).to_bytes(8, "little") + b'{"w":' + b"[" * 59_995, "it is damaged"),
        (
            safetensors_of({"w": W, "__metadata__": {"shrink.tied": "[" * 60_000}}, bytes(8)),
            "it is",
        ),
        (safetensors_of({"w": W, "__metadata__": {"shrink.tied": "{"}}, bytes(8)), "damaged"),
        (safetensors_of({"w": W, "__metadata__": {"shrink.tied": "[]"}}, bytes(8)), "damaged"),
        (
            safetensors_of({"w": W, "__metadata__": {"shrink.tied": '{"v": "u"}'}}, bytes(8)),
            "it is",
        ),
    ],
)
def test_what_is_no_safetensors_file_is_named_and_told(content, said, tmp_path):
    (tmp_path / "net.bin").write_bytes(content)
    with pytest.raises(CourseError, match=r"net\.bin is no safetensors file: ") as refused:
        read(tmp_path / "net.bin")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_what_others_say_in_a_files_metadata_does_no_harm(tmp_path, metadata):
    content = safetensors_of({"w": W, "__metadata__": metadata}, bytes(8))
    (tmp_path / "net.bin").write_bytes(content)
    assert read(tmp_path / "net.bin")["w"].tolist() == [0, 0]


def test_what_is_no_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(OSError, match=path.name):
            read(path)


def test_a_model_with_tied_weights_is_measured(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(784, 784, bias=False), nn.Linear(784, 784, False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))[:, :10]

    split = Split(torch.rand(4, 1, 28, 28), torch.arange(4))
    report = measure.measure("tied", Tied(), split, "dots", tmp_path / "net")
    assert report.file_bytes < 784 * 784 * 4 + 500
