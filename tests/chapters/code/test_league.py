"""The byte league: files of networks, read as if they came from strangers, and measured here."""

import base64
import hashlib
import io
import json
import os
import pickle
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from matplotlib.text import Text

from shrink import chapters, sharing
from shrink.chapters.code import EXPERIMENT as PLAN
from shrink.chapters.code import league
from shrink.chapters.code.league import League
from shrink.chapters.code.standings import Standings
from shrink.chapters.prune import EXPERIMENT as PRUNE
from shrink.classroom import CourseError, baselines, measure, models, plots, training
from shrink.classroom.class_work import gather as gathering
from shrink.classroom.class_work import hand_in, reading
from shrink.classroom.class_work.handing_in import LARGEST
from shrink.classroom.data import load
from shrink.cli import main
from shrink.coding import codec, codec_format, codec_reader
from tests import depth

EXPERIMENTS = {experiment.name: experiment for experiment in chapters.experiments()}
FOUND = {"lenet-300-100": dict(zip(PRUNE.x, (97.25, 61.5, 96.75, 97.5), strict=True))}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("SHRINK_DEVICE", "cpu")


def gather(folder):
    return gathering.gather(folder, EXPERIMENTS.values())


def parse(content):
    return reading.parse(content, EXPERIMENTS)


def trained():
    """A network on small data, from the cache from the second call on."""
    return baselines.baseline("lenet-300-100", load("digits", announce=False))


def parts_of(model, k=8, kept=0.1):
    parts = dict(model.state_dict())
    for name, w in models.weights(model).items():
        threshold = w.abs().flatten().quantile(1 - kept) if w.numel() < 2**20 else 0
        parts[name] = sharing.share(w.detach() * (w.detach().abs() > threshold), k)
    return parts


def file_of(**how):
    return encode(parts_of(models.build("lenet-300-100", seed=1), **how))


def encode(parts):
    return codec.encode(parts, code="huffman", gap_bits=5)  # not the shortest, but soon done


@pytest.fixture(scope="module")
def content():
    return file_of(k=3, kept=0.02)


def signed(record):
    record = {key: value for key, value in record.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return record | {"digest": digest}


def handed_in(folder, content, name="Ada", dataset="digits"):
    path = hand_in(PLAN, name, {"file": content}, dataset, folder).path
    return json.loads(path.read_text("utf-8")), path


def repaired(content):
    return content[:-4] + zlib.crc32(content[:-4]).to_bytes(4, "little")


def test_a_file_is_measured_where_it_is_read(tmp_path):
    """The point is the length of the file, and the error of the network in it, by another way."""
    files = {"Ada": encode(parts_of(trained())), "Bob": file_of()}
    for name, some in files.items():
        record, path = handed_in(tmp_path, some, name)
        assert base64.b64decode(record["results"]["file"]) == some
        assert "accuracy" not in path.read_text("utf-8")
    gathered = gather(tmp_path)
    assert gathered.skipped == ()
    (group,) = gathered.groups
    assert isinstance(group, Standings)
    assert (group.experiment.name, group.dataset, len(group.results)) == ("05-code", "digits", 2)
    split = load("digits", announce=False).validation
    for result, point in zip(group.results, group.points, strict=True):
        (tmp_path / "one.shrk").write_bytes(files[result.student])
        state = codec.load(tmp_path / "one.shrk")
        hidden = split.images.flatten(1)
        for layer in ("fc1", "fc2", "fc3"):
            hidden = hidden.relu() if layer != "fc1" else hidden
            hidden = hidden @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        wrong = float((hidden.argmax(1) != split.labels).float().mean())
        assert point == (len(files[result.student]), pytest.approx(100 * wrong))
    errors = dict(zip((r.student for r in group.results), group.points, strict=True))
    assert errors["Ada"][1] < 60 < errors["Bob"][1]
    dense = trained()
    assert group.dense[0] == measure.size(dense.state_dict()) == 1_066_896
    assert group.dense[1] == pytest.approx(100 * (1 - training.accuracy(dense, split)))


def test_numbers_in_half_precision_or_in_bytes_are_a_fair_trick(tmp_path):
    model = models.build("lenet-300-100", seed=1)
    parts = parts_of(model) | {n: t.half() for n, t in model.state_dict().items() if "bias" in n}
    parts["fc3.bias"] = torch.zeros(10, dtype=torch.int8)
    handed_in(tmp_path, encode(parts))
    assert len(gather(tmp_path).groups[0].points) == 1


def without(parts, name):
    return {key: part for key, part in parts.items() if key != name}


@pytest.fixture(scope="module")
def foreign():
    """Bytes that are no file of this network."""
    model = models.build("lenet-300-100", seed=1)
    parts, state = parts_of(model, k=3, kept=0.02), model.state_dict()
    nan, huge = torch.zeros(300), torch.zeros(300, dtype=torch.float64)
    nan[7], huge[0] = torch.nan, 1e300
    inf = torch.full((100,), torch.inf, dtype=torch.float16)
    saved = io.BytesIO()
    torch.save(state, saved)
    good = encode(parts)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    endless = b"SHRK\x01\x01\x01a\x00\x02" + b"\xff\xff\xff\xff\x0f" * 2 + bytes(20)
    return {
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(5000),
        "pickle": pickle.dumps(print),
        "torch.save": saved.getvalue()[:200_000],
        "zip": b"PK\x03\x04" + bytes(100),
        "cut off": good[:-100],
        "one bit": bytes(flipped),
        "longer": good + bytes(9),
        "endless": repaired(endless),
        "a tensor missing": encode(without(parts, "fc3.bias")),
        "a tensor too many": encode(parts | {"more": torch.zeros(0)}),
        "other names": encode({f"x.{name}": part for name, part in parts.items()}),
        "wild names": encode({"\x1b[2J\n" * 40: torch.zeros(1)}),
        "turned over": encode(
            without(parts, "fc2.weight") | {"fc2.weight": sharing.share(torch.zeros(300, 100), 1)}
        ),
        "a scalar": encode(parts | {"fc3.bias": torch.tensor(1.0)}),
        "another network": encode(parts_of(models.build("lenet-5", seed=1), kept=0.01)),
        "too many numbers": codec.encode(
            {"a": sharing.share(torch.zeros(2**20 + 1), 1)}, "huffman", most=2**21
        ),
        "NaN": encode(parts | {"fc1.bias": nan}),
        "infinite": encode(parts | {"fc2.bias": inf}),
        "infinite as float32": encode(parts | {"fc1.bias": huge}),
        "too long": encode(state)[:300_001],
    }


FOREIGN = {
    "empty": "no file of a lenet-300-100",
    "noise": "begins with",
    "pickle": "begins with",
    "torch.save": "begins with",
    "zip": "begins with",
    "cut off": "the checksum is another",
    "one bit": "the checksum is another",
    "longer": "the checksum is another",
    "endless": "no file of a lenet-300-100: byte",
    "a tensor missing": "end: without fc3.bias",
    "a tensor too many": "name: 'more' is none of fc1.weight, fc1.bias",
    "other names": "'x.fc1.weight' is none of fc1.weight",
    "wild names": "is none of fc1.weight",
    "turned over": r"fc2.weight, shape: is \(300, 100\), not \(100, 300\)",
    "a scalar": r"fc3.bias, shape: is \(\), not \(10,\)",
    "another network": "'conv1.weight' is none of fc1.weight",
    "too many numbers": "'a' is none of fc1.weight",
    "NaN": "fc1.bias holds a number that is NaN or infinite",
    "infinite": "fc2.bias holds a number that is NaN or infinite",
    "infinite as float32": "fc1.bias holds a number that is NaN or infinite",
    "too long": "the file has 300,001 bytes, and 300,000 at most",
}


@pytest.mark.parametrize(("kind", "reason"), FOREIGN.items(), ids=list(FOREIGN))
def test_a_foreign_file_is_not_written_and_where_it_lies_it_is_told(
    kind, reason, tmp_path, content, foreign
):
    bad = foreign[kind]
    with pytest.raises(CourseError, match=reason):
        hand_in(PLAN, "Ada", {"file": bad}, "digits", tmp_path)
    assert not any(tmp_path.iterdir())
    record, path = handed_in(tmp_path, content)
    record["results"]["file"] = base64.b64encode(bad).decode()
    path.write_text(json.dumps(signed(record)))
    gathered = gather(tmp_path)
    assert gathered.groups == ()
    (skipped,) = gathered.skipped
    with pytest.raises(CourseError, match=reason):
        raise CourseError(skipped.reason)
    assert str(skipped).isprintable() and len(str(skipped)) < 400


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({"file": "~~~~"}, "the file is no base64"),
        ({"file": "AAA"}, "the file is no base64"),
        ({"file": "ÄÄÄÄ"}, "the file is no base64"),
        ({"file": None}, "the file is None, and not bytes"),
        ({"file": [83, 72]}, "and not bytes"),
        ({"file": "A" * 400_000}, "no file of a lenet-300-100: byte 0"),
        ({}, "the results must be for file"),
        ({"file": "", "accuracy": 99.9}, "the results must be for file"),
        ({"accuracy": 99.9}, "the results must be for file"),
        ("file", "the results must be for file"),
        (None, "the results must be for file"),
    ],
    ids=str,
)
def test_what_is_no_file_at_all_is_told(results, reason, tmp_path, content):
    record, path = handed_in(tmp_path, content)
    path.write_text(json.dumps(signed(record | {"results": results})), encoding="utf-8")
    gathered = gather(tmp_path)
    assert gathered.groups == () and len(gathered.skipped) == 1
    assert reason in gathered.skipped[0].reason


@pytest.mark.parametrize("change", ["newline", "another file", "claim"])
def test_what_is_changed_by_hand_is_told(change, tmp_path, content):
    record, path = handed_in(tmp_path, content)
    file = record["results"]["file"]
    if change == "newline":
        record["results"]["file"] = file + "\n"
    elif change == "another file":
        record["results"]["file"] = base64.b64encode(file_of(k=4, kept=0.02)).decode()
    else:
        record["error"] = 0.1
    path.write_text(json.dumps(record))
    (skipped,) = gather(tmp_path).skipped
    assert "edited: the digest" in skipped.reason or "no base64" in skipped.reason


def test_the_limit_is_the_files_and_no_other_results(tmp_path, content):
    """A league's file may be longer than 64 KB; a result that only looks like one may not."""
    long = encode(parts_of(models.build("lenet-300-100", seed=1), k=200, kept=0.6))
    assert LARGEST < len(long) <= PLAN.most
    record, path = handed_in(tmp_path, long)
    assert LARGEST < path.stat().st_size <= PLAN.largest
    assert len(gather(tmp_path).groups[0].points) == 1
    compact = json.dumps(record, sort_keys=True, separators=(",", ":"))  # as another program may
    path.write_text("\ufeff" + compact, encoding="utf-8")
    assert len(gather(tmp_path).groups[0].points) == 1
    text = path.read_text("utf-8")
    path.write_text(text + " " * (PLAN.largest - len(text)), encoding="utf-8")
    assert gather(tmp_path).skipped[0].reason == f"larger than {PLAN.largest // 1024} KB"
    path.unlink()

    prune = hand_in(PRUNE, "Bob", FOUND, "glyphs", tmp_path).path
    text = prune.read_text("utf-8")
    marker = '"experiment": "05-code"'
    for padded in (
        text + " " * LARGEST,
        text.replace("{", '{"x": {' + marker + "},", 1) + " " * LARGEST,
        "{" + marker + ",\n" + text[1:] + " " * LARGEST,
        marker + "[" * (LARGEST + 1000),
        marker + "9" * (LARGEST + 1000),
    ):
        prune.write_text(padded)
        gathered = gather(tmp_path)
        assert gathered.groups == () and len(gathered.skipped) == 1, padded[:100]
    for unnamed in ("[" * (LARGEST + 1), " " * 2000 + marker + "[" * LARGEST):  # not even parsed
        prune.write_text(unnamed)
        assert gather(tmp_path).skipped[0].reason == f"larger than {LARGEST // 1024} KB"
    record = json.loads(text) | {"student": marker}
    prune.write_text(json.dumps(signed(record)) + " " * LARGEST)
    assert gather(tmp_path).skipped[0].reason == f"larger than {LARGEST // 1024} KB"


def test_the_length_is_judged_by_the_experiment_that_it_is(tmp_path):
    """Wherever the bytes come from: `parse` is told only what they say."""
    path = hand_in(PRUNE, "Bob", FOUND, "glyphs", tmp_path).path
    text = path.read_bytes()
    assert parse(text + b" " * (LARGEST - len(text))).student == "Bob"
    with pytest.raises(CourseError, match="larger than 64 KB"):
        parse(text + b" " * (LARGEST - len(text) + 1))
    assert PRUNE.largest == LARGEST < PLAN.largest < 500_000


def test_of_a_student_the_first_file_counts(tmp_path, content):
    handed_in(tmp_path / "a", content)
    handed_in(tmp_path / "b", content, " ADA")
    handed_in(tmp_path / "c", file_of(k=4, kept=0.02), "ada")
    gathered = gather(tmp_path)
    assert [size for size, _ in gathered.groups[0].points] == [len(content)]
    reasons = [skipped.reason.split(",")[1].split(" in ")[0] for skipped in gathered.skipped]
    assert reasons[0] == " the same result as" and reasons[1].startswith(" not the result of")


def test_without_the_data_the_files_are_told_and_the_rest_is_gathered(
    tmp_path, monkeypatch, content
):
    handed_in(tmp_path, content, dataset="mnist")
    hand_in(PRUNE, "Bob", FOUND, "mnist", tmp_path)

    def gone(*args, **how):
        raise CourseError("MNIST is not at hand")

    monkeypatch.setattr(league, "load", gone)
    gathered = gather(tmp_path)
    assert [group.experiment.name for group in gathered.groups] == ["02-prune"]
    (skipped,) = gathered.skipped
    assert skipped.reason == "cannot be measured here: MNIST is not at hand"
    assert skipped.file.startswith("class-05-code-mnist-ada")


@pytest.fixture(scope="module")
def small():
    return repaired(file_of(k=2, kept=0.002))


@given(data=st.data())
@settings(max_examples=depth.examples(40))
def test_damaged_files_under_right_checksums_are_told_or_measured(small, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 5))
        if data.draw(st.booleans()):
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            changed[at : at + 1] = data.draw(st.binary(max_size=6))
    record, path = handed_in(folder, small)
    record["results"]["file"] = base64.b64encode(repaired(bytes(changed))).decode()
    path.write_text(json.dumps(signed(record)))
    gathered = gather(folder)
    assert len(gathered.groups) + len(gathered.skipped) == 1
    for group in gathered.groups:
        assert 0 <= group.points[0][1] <= 100 and group.points[0][0] <= PLAN.most


def test_groups_of_a_scale_without_axes_cost_one_hand_in(tmp_path, small):
    """The bytes of the network's first layer, but for the scales' axes."""
    handed_in(tmp_path, small, "Good")
    record, path = handed_in(tmp_path, small, "Bad")
    head = b"SHRK\x01\x06\x0afc1.weight\x01\x02" + b"\xac\x02\x90\x06"  # 300, 784
    content = head + b"\x02\x07\x00\x00\x00\x80\x3f\x00" + bytes(300 * 784 // 4 + 4)
    record["results"]["file"] = base64.b64encode(repaired(content)).decode()
    path.write_text(json.dumps(signed(record)))
    gathered = gather(tmp_path)
    assert [result.student for result in gathered.groups[0].results] == ["Good"]
    (skipped,) = gathered.skipped
    assert "fc1.weight, scales: () do not fit the shape (300, 784)" in skipped.reason


def test_a_foreign_network_is_refused_before_any_of_it_is_decoded(monkeypatch):
    """A file of 4096 tensors has few bytes, and would take minutes."""
    many = {f"t{i}": sharing.share(torch.zeros(64), 1) for i in range(codec_format.TENSORS)}
    stranger = codec.encode(many, code="ans", gap_bits=1, most=2**22)
    large = codec.encode({"fc1.weight": sharing.share(torch.zeros(784, 300), 1)}, "ans", 1)
    monkeypatch.setattr(codec_reader.ans, "decode", lambda *_: pytest.fail("decoded"))
    for content, reason in ((stranger, "'t0' is none of"), (large, r"is \(784, 300\), not")):
        with pytest.raises(CourseError, match=reason):
            league.network(content, "lenet-300-100")


STANDINGS = Standings(
    PLAN,
    "glyphs",
    (),
    ((20_000, 2.0), (9_000, 4.0), (30_000, 2.0), (40_000, 0.0), (9_000, 4.0)),
    (1_066_896, 1.9),
)


def test_the_figure_has_a_dot_a_file_the_stair_and_the_dense_line():
    plot = STANDINGS.draw()
    (ax,) = plot.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    dots = next(a for a in ax.lines if a.get_linestyle() == "None" and len(a.get_xdata()) == 5)
    assert dots.get_xdata().tolist() == [size for size, _ in STANDINGS.points]
    assert dots.get_ydata().tolist() == [2, 4, 2, 0.05, 4]  # none is cut off
    (stair,) = [a for a in ax.lines if a.get_drawstyle() == "steps-post"]
    assert stair.get_xdata().tolist() == [9_000, 20_000, 40_000, 1_066_896]
    assert stair.get_ydata().tolist() == [4, 2, 0.05, 0.05]
    dense = next(a for a in ax.lines if a.get_linestyle() == "--" and len(a.get_ydata()))
    assert dense.get_color() == plots.COLOURS["dense"] and set(dense.get_ydata()) == {1.9}
    assert ax.get_xlim()[1] > 1_066_896
    words = " ".join(text.get_text() for text in plot.findobj(Text))
    assert "dense, 1,066,896 bytes" in words
    plot.draw_without_rendering()
    told = str(STANDINGS).splitlines()
    assert [line.split()[0] for line in told[1:]] == [
        "9,000",
        "9,000",
        "20,000",
        "30,000",
        "40,000",
        "1,066,896",
    ]
    assert [("another" in line) for line in told[1:]] == [False, False, False, True, False, False]


def test_gather_draws_the_league_without_names(tmp_path, capsys, content):
    for name, some in {"Pupil A": content, "Pupil B": file_of(k=5)}.items():
        handed_in(tmp_path, some, name)
    assert main(["gather", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "05-code, 2 students, digits: bytes, and error" in told and "Pupil" not in told
    assert f"{len(content):,}" in told and "1,066,896" in told
    picture = tmp_path / "class-05-code-digits.png"
    assert imread(picture).shape[1] > 1000 and b"Pupil" not in picture.read_bytes()
    assert main(["gather", str(tmp_path)]) == 0
    assert len(os.listdir(tmp_path)) == 3


def test_the_league_is_an_experiment_like_the_others():
    assert isinstance(PLAN, League) and EXPERIMENTS[PLAN.name] is PLAN
    assert PLAN.title.endswith("?") and models.build(PLAN.model, seed=0)
    with pytest.raises(CourseError, match="on one of mnist, glyphs, digits, not 'cifar'"):
        hand_in(PLAN, "Ada", {"file": b""}, "cifar")
