"""The class experiments: what a student hands in, what is read of a folder, and what is drawn."""

import hashlib
import json
import math
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.image import imread
from matplotlib.text import Text

from shrink import chapters
from shrink.classroom import CourseError, plots
from shrink.classroom.class_work import Experiment, hand_in, reading, seed_of
from shrink.classroom.class_work import gather as gathering
from shrink.classroom.class_work.gather import Gathered
from shrink.classroom.class_work.group import Group
from shrink.cli import main
from tests import depth

EXPERIMENTS = {experiment.name: experiment for experiment in chapters.experiments()}
PRUNE, MEASURE = EXPERIMENTS["02-prune"], EXPERIMENTS["01-measure"]
FOUND = {"lenet-300-100": dict(zip(PRUNE.x, (97.25, 61.5, 96.75, 97.5), strict=True))}
SHRINK = [sys.executable, "-c", "import sys, shrink.cli as c; sys.exit(c.main())"]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("SHRINK_DEVICE", "cpu")


def gather(folder):
    return gathering.gather(folder, EXPERIMENTS.values())


def parse(content):
    return reading.parse(content, EXPERIMENTS)


def plausible(plan, generator):
    """What one student might find."""
    if plan is PRUNE:
        row = 100 - np.array([3, 40, 3.2, 2.8]) * np.exp(0.2 * generator.standard_normal(4))
        return {"lenet-300-100": dict(zip(PRUNE.x, row.tolist(), strict=True))}
    fast = np.exp(0.4 * generator.standard_normal())
    return {
        series: {x: fast * more * (60 / x + 4) for x in MEASURE.x}
        for more, series in enumerate(MEASURE.series, 1)
    }


def hand_in_a_class(folder, plan, students=30, dataset=None):
    """Thirty files in a folder of their own each; what was found, as (students, series, x)."""
    generator = np.random.default_rng(students)
    all_found = [plausible(plan, generator) for _ in range(students)]
    for i, found in enumerate(all_found):
        hand_in(plan, f"Pupil {i:02}", found, dataset, folder / f"submission {i:02}")
    return np.array([[list(row.values()) for row in found.values()] for found in all_found])


def handed_in(folder, name="Ada", found=FOUND, dataset="glyphs"):
    """The record in a file of the pruning experiment, and the file's path."""
    path = hand_in(PRUNE, name, found, dataset, folder).path
    return json.loads(path.read_text("utf-8")), path


def signed(record):
    """The record with the digest that its content has, reckoned here afresh."""
    content = {key: value for key, value in record.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return content | {"digest": digest}


@pytest.mark.parametrize(
    "name", ["Ada Lovelace", " ada  lovelace\n", "ADA\tLOVELACE", "ada\u00a0Lovelace"]
)
def test_a_name_is_one_seed_however_it_is_typed(name):
    assert seed_of(name) == int(hashlib.sha256(b"ada lovelace").hexdigest()[:8], 16) // 2


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=70))
def test_every_name_has_its_seed(name):
    if not name.strip():
        return
    seed = seed_of(name)
    assert 0 <= seed < 2**31
    decomposed = unicodedata.normalize("NFD", name)
    if len(decomposed.strip()) <= 80:
        assert seed_of(f" {decomposed} ") == seed


def test_marks_may_come_in_either_order():
    assert seed_of("\u03b1\u0345\u0301") == seed_of("\u1fb4")


def test_names_differ_in_their_seeds():
    assert len({seed_of(f"pupil {i}") for i in range(1000)}) == 1000
    assert seed_of("x" * 80) != seed_of("x" * 79)


@pytest.mark.parametrize("name", ["", " \n", "x" * 81, None, 7, b"Ada", "a\ud800"])
def test_what_is_no_name_is_refused(name, tmp_path):
    with pytest.raises(CourseError):
        seed_of(name)
    with pytest.raises(CourseError):
        hand_in(PRUNE, name, FOUND, "glyphs", tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_is_handed_in_is_told_in_one_line_and_read_back(tmp_path):
    told = hand_in(PRUNE, "  Ada\x1b[2J ", FOUND, "glyphs", tmp_path)
    assert "\n" not in repr(told) and "\x1b" not in repr(told)
    assert f"wrote {told.path}, " in repr(told) and '"Ada\\x1b[2J" as typed' in repr(told)
    assert os.listdir(tmp_path) == [told.path.name]
    record = json.loads(told.path.read_text("utf-8"))
    assert record == signed(record)
    assert record["student"] == "Ada\x1b[2J" and record["seed"] == seed_of("ada\x1b[2j")
    assert record["results"] == FOUND and record["dataset"] == "glyphs"
    assert all(word in record["machine"] for word in ("cores", "torch", "threads", "cpu"))
    assert told.path.stat().st_size < 2000
    gathered = gather(tmp_path)
    assert gathered.skipped == ()
    (group,) = gathered.groups
    assert (group.experiment.name, group.dataset) == ("02-prune", "glyphs")
    assert group.results[0].found == {"lenet-300-100": (97.25, 61.5, 96.75, 97.5)}


def test_a_second_try_replaces_the_first_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, dataset in (("Ada", "glyphs"), ("Ada", "mnist"), ("Bob", "glyphs")):
        hand_in(PRUNE, name, FOUND, dataset)
    again = {"lenet-300-100": FOUND["lenet-300-100"] | {"dense": np.float32(50)}}
    assert hand_in(PRUNE, "ADA", again, "glyphs").path.exists()
    assert os.listdir() == ["results"] and len(os.listdir("results")) == 3
    values = {g.dataset: g.values()["lenet-300-100"] for g in gather(".").groups}
    assert sorted(values["glyphs"][:, 0]) == [50, 97.25] and values["mnist"][:, 0] == [97.25]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("../../x", "x"),
        ("a\\b:c*?", "a-b-c"),
        ("Jürgen", "jurgen"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("\N{ROCKET}", "student"),
        ("李雷", "student"),
        ("CON", "con"),
        ("-rf", "rf"),
        ("a\x00b\n", "a-b"),
        (".hidden", "hidden"),
        ("y" * 80, "y" * 40),
    ],
)
def test_a_name_makes_a_safe_file_name(name, slug, tmp_path):
    path = hand_in(PRUNE, name, FOUND, "glyphs", tmp_path).path
    assert path.parent == tmp_path and path.name.startswith(f"class-02-prune-glyphs-{slug}-")
    assert path.name.endswith(f"-{seed_of(name) % 16**6:06x}.json")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(gather(tmp_path).groups[0].results) == 1


TWICE = dict.fromkeys((*MEASURE.x, "1"), 1)


def wrong(**changes):
    return {"lenet-300-100": FOUND["lenet-300-100"] | changes}


@pytest.mark.parametrize(
    ("experiment", "found", "dataset", "told"),
    [
        (PRUNE, FOUND, None, "on one of mnist, glyphs, digits, not None"),
        (PRUNE, FOUND, "cifar", "'cifar'"),
        (MEASURE, FOUND, "mnist", "of no data set, not 'mnist'"),
        (PRUNE, wrong(dense=101), "glyphs", "dense: 101 is not a number from 0 to 100"),
        (PRUNE, wrong(dense=-0.1), "glyphs", "-0.1"),
        (PRUNE, wrong(dense=math.nan), "glyphs", "nan"),
        (PRUNE, wrong(dense=True), "glyphs", "True"),
        (PRUNE, wrong(dense="97"), "glyphs", "'97'"),
        (PRUNE, wrong(dense=None), "glyphs", "None"),
        (PRUNE, wrong(random=97), "glyphs", "lenet-300-100 must be for dense, 90 % pruned"),
        (PRUNE, {"lenet-300-100": {"dense": 97}}, "glyphs", r"not \['dense'\]"),
        (PRUNE, {"lenet-300-100": [97, 60, 97, 97]}, "glyphs", r"not \[97, 60, 97, 97\]"),
        (PRUNE, FOUND["lenet-300-100"], "glyphs", "the results must be for lenet-300-100"),
        (PRUNE, None, "glyphs", "not None"),
        (MEASURE, {s: dict.fromkeys(MEASURE.x, 0) for s in MEASURE.series}, None, "1: 0 is"),
        (MEASURE, dict.fromkeys(MEASURE.series, TWICE), None, "must be for 1, 4, 16"),
        (MEASURE, {"lenet-5": dict.fromkeys(MEASURE.x, 1)}, None, r"not \['lenet-5'\]"),
    ],
)
def test_what_cannot_be_right_is_named_and_not_written(experiment, found, dataset, told, tmp_path):
    with pytest.raises(CourseError, match=told) as caught:
        hand_in(experiment, "Ada", found, dataset, tmp_path)
    assert "\n" not in str(caught.value) and not any(tmp_path.iterdir())


def test_a_class_is_gathered_whole_and_data_sets_stay_apart(tmp_path):
    expected = {
        (name, dataset): hand_in_a_class(tmp_path, EXPERIMENTS[name], n, dataset)
        for name, dataset, n in (
            ("02-prune", "mnist", 5),
            ("02-prune", "glyphs", 30),
            ("01-measure", None, 30),
        )
    }
    gathered = gather(tmp_path)
    assert gathered.skipped == ()
    keys = [(g.experiment.name, g.dataset) for g in gathered.groups]
    assert keys == [("01-measure", None), ("02-prune", "glyphs"), ("02-prune", "mnist")]
    for group in gathered.groups:
        values = np.stack(list(group.values().values()), axis=1)
        np.testing.assert_array_equal(values, expected[group.experiment.name, group.dataset])
        for series in values.transpose(1, 2, 0):
            for column in series:
                assert f"{column.mean():.2f} ± {np.std(column, ddof=1):.2f}" in str(group)


def test_of_one_student_there_is_no_deviation(tmp_path):
    handed_in(tmp_path)
    (group,) = gather(tmp_path).groups
    assert "1 student, glyphs" in str(group) and "61.50" in str(group)
    assert str(group).count("±") == 1  # in the heading
    group.draw()


NUMBER = '"dense": 97.25'


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: "", "damaged, or no JSON"),
        (lambda t: t[:200], "damaged, or no JSON"),
        (lambda t: t.encode()[:50] + b"\xff" + t.encode()[50:], "damaged, or no JSON"),
        (lambda t: b"\x89PNG\r\n\x1a\n\0\0", "damaged, or no JSON"),
        (lambda t: t.encode("utf-16"), "damaged, or no JSON"),
        (lambda t: "[" * 30_000, "damaged, or no JSON"),
        (lambda t: '{"a":' * 10_000, "damaged, or no JSON"),
        (lambda t: "9" * 10_000, "damaged, or no JSON"),
        (lambda t: t.replace("97.25", "NaN"), "NaN is not a number"),
        (lambda t: t.replace("97.25", "-Infinity"), "-Infinity is not a number"),
        (lambda t: t.replace(NUMBER, f'{NUMBER}, "dense": 97.25'), "comes twice"),
        (lambda t: t.replace("97.25", "1e999"), "dense: inf is not a number from 0 to 100"),
        (lambda t: t.replace("97.25", "9" * 4000), "is not a number from 0 to 100"),
        (lambda t: t.replace("97.25", "100.01"), "100.01"),
        (lambda t: t.replace("97.25", "true"), "dense: True is"),
        (lambda t: t.replace("97.25", '"97.25"'), "dense: '97.25' is"),
        (lambda t: t.replace("97.25", "[97.25]"), r"dense: \[97.25\] is"),
        (lambda t: t.replace("97.25", "null"), "dense: None is"),
        (lambda t: t.replace("97.25", "97.26"), "edited: the digest"),
        (lambda t: t.replace("torch", "tarch"), "edited: the digest"),
        (lambda t: t.replace('"Ada"', '"Bob"'), 'edited: the seed is not that of "Bob"'),
        (lambda t: t.replace('"Ada"', '""'), "a name has 1 to 80 characters"),
        (lambda t: t.replace('"Ada"', '"\\ud800"'), "not a text in Unicode"),
        (lambda t: t.replace('"seed": ', '"seed": 1'), "edited: the seed"),
        (lambda t: t.replace('"dense":', '"dance":'), "must be for dense, 90 % pruned"),
        (lambda t: t.replace('"glyphs"', "null"), "not None"),
        (lambda t: t.replace('"glyphs"', '["glyphs"]'), "on one of"),
        (lambda t: t.replace('"version": 1', '"version": 2'), "of a newer course"),
        (lambda t: t.replace('"version": 1', '"version": true'), "no version True"),
        (lambda t: t.replace('"version": 1', '"version": 0'), "no version 0"),
        (lambda t: t.replace("02-prune", "99-moon"), "no experiment '99-moon'"),
        (lambda t: t.replace('"02-prune"', "{}"), "no experiment {}"),
        (lambda t: t.replace('"machine"', '"mill"'), "incomplete: without machine"),
        (lambda t: t.replace("{\n", '{"more": 1,\n', 1), "edited: the digest"),
        (lambda t: t.replace("shrink class result", "x"), "not a result of a class experiment"),
        (lambda t: '{"cells": [], "nbformat": 4}', "not a result of a class experiment"),
        (lambda t: '[{"name": "dense", "dataset": "mnist"}]', "not a result of a class"),
        (lambda t: "null", "not a result of a class experiment"),
        (lambda t: t + " " * 70_000, "larger than 64 KB"),
    ],
)
def test_what_is_not_as_it_was_written_is_told_and_left_out(change, reason, tmp_path):
    handed_in(tmp_path, "Good")
    _, path = handed_in(tmp_path)
    text = path.read_text("utf-8")
    changed = change(text)
    changed = changed if isinstance(changed, bytes) else changed.encode()
    assert changed != text.encode()
    path.write_bytes(changed)
    gathered = gather(tmp_path)
    assert [r.student for r in gathered.groups[0].results] == ["Good"]
    (skipped,) = gathered.skipped
    assert skipped.file == path.name
    with pytest.raises(CourseError, match=reason):
        raise CourseError(skipped.reason)
    assert "\n" not in str(skipped) and len(str(skipped)) < 300


def test_a_digest_that_fits_saves_nothing_else(tmp_path):
    for number, (place, key, value) in enumerate(
        ((("results", "lenet-300-100"), "dense", 1e6), ((), "machine", 7), ((), "dataset", "cifar"))
    ):
        record, path = handed_in(tmp_path)
        inner = record
        for name in place:
            inner = inner[name]
        inner[key] = value
        path.with_name(f"{number}.json").write_text(json.dumps(signed(record)))
        path.unlink()
    gathered = gather(tmp_path)
    reasons = [skipped.reason for skipped in gathered.skipped]
    assert gathered.groups == () and len(reasons) == 3
    assert all(not reason.startswith("edited: the digest") for reason in reasons), reasons


def test_what_another_program_did_to_the_file_does_no_harm(tmp_path):
    record, path = handed_in(tmp_path, "Jürgen", wrong(dense=97.0))
    record["results"]["lenet-300-100"]["dense"] = 97
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(record, sort_keys=True).encode())
    assert gather(tmp_path).groups[0].results[0].student == "Jürgen"


def test_whatever_lies_in_the_folder(tmp_path):
    """Each is told under its name or passed over, and the one result is found."""
    handed_in(tmp_path / "x.json" / "deeper", "Ada")
    (tmp_path / "running_table.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("{}")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.json").write_text("{")
    (tmp_path / "._mac.json").write_text("{")
    expected = {"running_table.json", "notes.txt"}
    if os.name == "posix":
        (tmp_path / "loop.json").symlink_to("loop.json")
        (tmp_path / "gone.json").symlink_to("nowhere")
        (tmp_path / "x.json" / "up").symlink_to(tmp_path)
        (tmp_path / "up.json").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "pipe.json")
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "endless.png").symlink_to("/dev/zero")
        (tmp_path / os.fsdecode(b"\xff\x1b.JSON")).write_text("{")
        expected |= {
            "loop.json",
            "gone.json",
            "pipe.json",
            "pipe.png",
            "endless.png",
            os.fsdecode(b"\xff\x1b.JSON"),
        }
        expected |= {"x.json/up", "up.json"}
        if os.geteuid():
            (tmp_path / "shut").mkdir(mode=0)
            (tmp_path / "shut.json").touch(mode=0)
            expected |= {"shut", "shut.json"}
    gathered = gather(tmp_path)
    assert len(gathered.groups[0].results) == 1
    assert {s.file for s in gathered.skipped} == expected
    assert all(str(s).isprintable() and str(s).isascii() for s in gathered.skipped)


@pytest.mark.parametrize("name", ["gone", "file.json"])
def test_what_is_no_folder_is_said_in_one_line(name, tmp_path, capsys):
    (tmp_path / "file.json").write_text("{}")
    assert main(["gather", str(tmp_path / name)]) == 1
    assert capsys.readouterr().err == f"shrink: no folder {tmp_path / name}\n"


def test_the_same_student_twice_counts_once(tmp_path):
    for folder, name in (("a", "Ada"), ("b", " ADA"), ("c", "ada")):
        changed = FOUND if folder < "c" else wrong(dense=50)
        handed_in(tmp_path / folder, name, changed)
    gathered = gather(tmp_path)
    (result,) = gathered.groups[0].results
    assert result.student == "Ada" and result.found["lenet-300-100"][0] == 97.25
    first = handed_in(tmp_path / "a", "Ada")[1].relative_to(tmp_path).as_posix()
    assert [(s.file[0], s.reason) for s in gathered.skipped] == [
        ("b", f'"ADA" again, the same result as in {first}, which counts'),
        ("c", f'"ada" again, not the result of {first}, which counts'),
    ]


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    return handed_in(folder, "Jürgen \N{ROCKET}")[1].read_bytes()


def accepted_or_told(content, folder):
    """The result that the bytes are read as, or None where the file was told instead."""
    path = folder / "a.json"
    path.write_bytes(content)
    gathered = gather(folder)
    assert isinstance(gathered, Gathered)
    assert len(gathered.groups) + len(gathered.skipped) == 1
    assert all(str(s).isprintable() for s in gathered.skipped)
    return gathered.groups[0].results[0] if gathered.groups else None


@given(data=st.data())
@settings(max_examples=depth.examples(300))
def test_changed_bytes_are_told_or_change_nothing(valid, tmp_path_factory, data):
    content = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "drop", "double", "insert"]))
        if kind == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[max(at, 1) :]
        elif kind == "drop":
            del content[at : at + data.draw(st.integers(1, 20))]
            content = content or bytearray(b" ")
        elif kind == "double":
            content[at:at] = content[at : at + data.draw(st.integers(1, 50))]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=5))
    result = accepted_or_told(bytes(content), tmp_path_factory.mktemp("fuzz"))
    if result is not None:
        assert result == parse(valid)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text(max_size=100)
    | st.sampled_from([97.0, 0, 100, "glyphs", "mnist", "02-prune", "01-measure", "Ada", 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@given(data=st.data())
@settings(max_examples=depth.examples(300))
def test_other_values_are_told_even_under_a_digest_that_fits(valid, tmp_path_factory, data):
    record = json.loads(valid)
    for _ in range(data.draw(st.integers(1, 2))):
        place = record
        for _ in range(data.draw(st.integers(0, 2))):
            inner = [value for value in place.values() if isinstance(value, dict) and value]
            place = inner[0] if inner else place
        if data.draw(st.booleans()):
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
        else:
            del place[data.draw(st.sampled_from(sorted(place)))]
    record = signed(record) if data.draw(st.booleans()) else record
    content = json.dumps(record).encode("utf-8", "surrogatepass")
    result = accepted_or_told(content, tmp_path_factory.mktemp("fuzz"))
    if result is not None:
        plan = result.experiment
        ys = [y for row in result.found.values() for y in row]
        assert all(type(y) is float and plan.limits[0] <= y <= plan.limits[1] for y in ys)
        assert [len(row) for row in result.found.values()] == [len(plan.x)] * len(plan.series)
        assert result.dataset in (plan.datasets or (None,))


def drawn_group(tmp_path, plan, students=30, dataset=None):
    values = hand_in_a_class(tmp_path, plan, students, dataset)
    (group,) = gather(tmp_path).groups
    plot = group.draw()
    return values, plot, plot.axes[0]


def dots_of(ax, colour):
    (line,) = [
        a
        for a in ax.lines
        if a.get_linestyle() == "None" and len(a.get_xdata()) and a.get_color() == colour
    ]
    return line.get_xdata(), line.get_ydata()


COLOURS = [plots.COLOURS["pruned"], plots.COLOURS["fine-tuned"]]


def test_the_figure_of_numbers_is_the_mean_and_the_band_of_all_students(tmp_path):
    values, plot, ax = drawn_group(tmp_path, MEASURE)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_title(loc="left") == f"{MEASURE.title}\n30 students, 1 kind of machine"
    means = {a.get_label(): a for a in ax.lines if a.get_linestyle() == "-"}
    bands = [a for a in ax.collections if isinstance(a, PolyCollection)]
    for i, name in enumerate(MEASURE.series):
        line = means[f"{name}, mean"]
        np.testing.assert_array_equal(line.get_xdata(), MEASURE.x)
        np.testing.assert_allclose(line.get_ydata(), values[:, i].mean(0))
        corners = bands[i].get_paths()[0].vertices
        for k, x in enumerate(MEASURE.x):
            at = corners[corners[:, 0] == x][:, 1]
            low, high = np.percentile(values[:, i, k], [10, 90])
            np.testing.assert_allclose([at.min(), at.max()], [low, high])
        x, y = dots_of(ax, COLOURS[i])
        np.testing.assert_array_equal(y.reshape(30, 5), values[:, i])
        away = np.log(x.reshape(30, 5) / MEASURE.x) / math.log(4)
        assert abs(away).max() < 0.2 and len(np.unique(away[:, 0])) == 30
    legend = {text.get_text() for text in plot.legends[0].get_texts()}
    assert {"a student", "10th to 90th percentile", "lenet-5, mean"} <= legend


def test_the_figure_of_categories_has_a_bar_each_and_the_dense_line(tmp_path):
    values, plot, ax = drawn_group(tmp_path, PRUNE, dataset="glyphs")
    values = values[:, 0]
    assert ax.get_title(loc="left").endswith("30 students, glyphs")
    assert [t.get_text().replace("\n", " ") for t in ax.get_xticklabels()] == list(PRUNE.x)
    (means,) = [a for a in ax.collections if isinstance(a, LineCollection)]
    heights = [segment[:, 1] for segment in means.get_segments()]
    np.testing.assert_allclose(heights, np.stack([values.mean(0)] * 2, axis=1))
    low, high = np.percentile(values, [10, 90], axis=0)
    np.testing.assert_allclose([p.get_y() for p in ax.patches], low)
    np.testing.assert_allclose([p.get_y() + p.get_height() for p in ax.patches], high)
    (dense,) = [a for a in ax.lines if a.get_linestyle() == "--"]
    np.testing.assert_allclose(dense.get_ydata(), values[:, 0].mean())
    assert dense.get_color() == plots.COLOURS["dense"]
    x, y = dots_of(ax, COLOURS[0])
    np.testing.assert_array_equal(y.reshape(30, 4), values)
    assert abs(x.reshape(30, 4) - range(4)).max() < 0.3
    words = " ".join(text.get_text() for text in plot.findobj(Text)) + plot.alt
    assert "Pupil" not in words and PRUNE.y_label in words


def test_no_student_is_cut_off(tmp_path):
    for name, y in (("low", 0.0), ("high", 100.0), ("other", 99.8)):
        handed_in(tmp_path, name, {"lenet-300-100": dict.fromkeys(PRUNE.x, y)})
    plot = gather(tmp_path).groups[0].draw()
    plot.draw_without_rendering()
    ax = plot.axes[0]
    x, y = dots_of(ax, COLOURS[0])
    pixels = ax.transData.transform(np.stack([x, y], axis=1))
    inside = ax.bbox.padded(0.5)
    assert all(inside.contains(*pixel) for pixel in pixels)


@pytest.mark.parametrize(
    "plan",
    [plan for plan in EXPERIMENTS.values() if isinstance(plan, Experiment)],  # else test_league
    ids=lambda plan: plan.name,
)
def test_each_experiment_can_be_handed_in_and_drawn(plan, tmp_path):
    assert EXPERIMENTS[plan.name] is plan and plan.title.endswith("?")
    assert len(set(map(str, plan.x))) == len(plan.x) and plan.limits[0] < plan.limits[1]
    assert plan.baseline is None or plan.baseline in plan.x
    assert plan.y_scale != "log" or plan.limits[0] > 0
    for i, y in enumerate((*plan.limits, sum(plan.limits) / 2)):
        found = {s: dict.fromkeys(plan.x, y) for s in plan.series_of(f"n{i}")}
        for dataset in plan.datasets or (None,):
            hand_in(plan, f"n{i}", found, dataset, tmp_path)
    gathered = gather(tmp_path)
    assert len(gathered.groups) == max(1, len(plan.datasets)) and not gathered.skipped
    for group in gathered.groups:
        group.draw().draw_without_rendering()


def test_a_further_experiment_is_one_entry(tmp_path, monkeypatch):
    plan = Experiment("09-new", "more?", ("a", "b"), "y", (-1, 1), ("one", "two"))
    monkeypatch.setitem(EXPERIMENTS, plan.name, plan)
    for name, y in (("n", -1), ("m", 1)):
        hand_in(plan, name, {s: dict.fromkeys(plan.x, y) for s in plan.series}, None, tmp_path)
    (group,) = gather(tmp_path).groups
    ax = group.draw().axes[0]
    places = [dots_of(ax, colour)[0] for colour in COLOURS]
    assert places[0][:2].max() < places[1].max() and abs(places[0][0] - places[1][0]) > 0.2


def test_the_projector_has_a_larger_figure(tmp_path, monkeypatch):
    handed_in(tmp_path)
    (group,) = gather(tmp_path).groups
    small = group.draw().get_size_inches()
    monkeypatch.setattr(plots, "SCALE", 1.35)
    np.testing.assert_allclose(group.draw().get_size_inches(), 1.35 * small)


def test_gather_draws_and_tells(tmp_path, capsys):
    hand_in_a_class(tmp_path, PRUNE, 30, "glyphs")
    hand_in_a_class(tmp_path, MEASURE)
    (tmp_path / "a\x1b[2J.json").write_text("{}")
    (tmp_path / "class-01-bob.json.txt").write_text("{}")
    (tmp_path / "of bob.zip").write_bytes(b"PK")
    (tmp_path / ".hidden").write_text("")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.json")}
    assert main(["gather", str(tmp_path), "--out", str(tmp_path / "new" / "out")]) == 0
    told = capsys.readouterr().out
    assert (
        "01-measure, 30 students, 1 kind of machine: time per image, µs, mean ± standard deviation"
        in told
    )
    assert "02-prune, 30 students, glyphs: accuracy on validation" in told
    assert "left out: 3\n" in told and "\n  a\\x1b[2J.json: not a result" in told
    assert "\n  class-01-bob.json.txt: no .json file\n  of bob.zip: no .json file\n" in told
    assert "\x1b" not in told and "hidden" not in told
    assert "Pupil" not in told
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.json")} == before
    names = ["class-01-measure.png", "class-02-prune-glyphs.png"]
    assert sorted(os.listdir(tmp_path / "new" / "out")) == names
    for name in names:
        picture = tmp_path / "new" / "out" / name
        assert f"wrote {picture}\n" in told
        assert imread(picture).shape[1] > 1000 and b"Pupil" not in picture.read_bytes()
    assert main(["gather", str(tmp_path)]) == main(["gather", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("left out: 3\n") == 2  # not our own pictures
    assert sorted(p.name for p in tmp_path.glob("*.png")) == names


def test_gather_of_nothing_says_why_and_fails(tmp_path, capsys):
    assert main(["gather", str(tmp_path)]) == 1
    (tmp_path / "a.json").write_text("{}")
    assert main(["gather", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "a.json: not a result" in told.out
    assert told.err == f"shrink: no results in {tmp_path}\n" * 2
    assert os.listdir(tmp_path) == ["a.json"]


def test_gather_leaves_what_is_not_its_own(tmp_path, capsys):
    handed_in(tmp_path)
    picture = tmp_path / "class-02-prune-glyphs.png"
    picture.write_bytes(b"mine")
    assert main(["gather", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert picture.read_bytes() == b"mine" and "97.25" in told.out
    assert "move it, or pass --out" in told.err and told.err.count("\n") == 1
    for out in (picture, tmp_path / "dir"):
        (tmp_path / "dir" / picture.name).mkdir(parents=True, exist_ok=True)
        assert main(["gather", str(tmp_path), "--out", str(out)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_without_unicode_is_written_to(tmp_path):
    for folder in "ab":
        handed_in(tmp_path / folder, "李雷 \N{ROCKET}")
    ended = subprocess.run(
        [*SHRINK, "gather", str(tmp_path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert b'"\\u674e\\u96f7 \\U0001f680" again, the same' in ended.stdout


def test_two_at_once_do_not_harm_each_other(tmp_path):
    """Two processes hand in under one name, then two gather the same folder."""
    code = f"""
from shrink.chapters.prune import EXPERIMENT
from shrink.classroom.class_work import hand_in
for i in range(50):
    hand_in(EXPERIMENT, "Ada", {FOUND!r}, "glyphs", {str(tmp_path)!r})
"""
    commands = [[sys.executable, "-c", code], [*SHRINK, "gather", str(tmp_path)]]
    for command in commands:
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 2
    assert len(gather(tmp_path).groups[0].results) == 1
    assert imread(tmp_path / "class-02-prune-glyphs.png").ndim == 3


def test_a_failed_write_leaves_the_picture_as_it_was(tmp_path, monkeypatch):
    handed_in(tmp_path)
    (group,) = gather(tmp_path).groups
    assert isinstance(group, Group)
    before = group.write(tmp_path).read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        group.write(tmp_path)
    assert (tmp_path / "class-02-prune-glyphs.png").read_bytes() == before
    assert len(os.listdir(tmp_path)) == 2


# ---- one bad file costs that file


RAISED = (
    *(IndexError("tuple index out of range"), KeyError("x"), RecursionError(), MemoryError()),
    *(
        TimeoutError("too long"),
        OSError(5, "Input/output error"),
        AssertionError(),
        StopIteration(),
    ),
    *(RuntimeError("two\nlines\x1b[2J"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")),
)


def a_class_with_one_bad(folder, monkeypatch, where, error):
    """Two chapters' results, and one of Bad's, for whom a step of the experiment raises."""
    for name in ("Ada", "Bad", "Cleo"):
        handed_in(folder, name)
        hand_in(MEASURE, name, plausible(MEASURE, np.random.default_rng(0)), None, folder)
    monkeypatch.setattr(*where(error))


def bad_of(results):
    return any(result.student == "Bad" for result in results)


def while_read(error):
    whole = reading.handing_in.check_dataset

    def check(experiment, dataset):
        if experiment is PRUNE and next(turns) == 1:
            raise error
        whole(experiment, dataset)

    turns = iter(range(99))
    return reading.handing_in, "check_dataset", check


def while_grouped(error):
    def group(plan, dataset, results):
        if plan is PRUNE and bad_of(results):
            raise error
        return Group(plan, dataset, results)

    return Experiment, "group", group


def while_told(error):
    whole = Group.__str__

    def tell(group):
        if group.experiment is PRUNE and bad_of(group.results):
            raise error
        return whole(group)

    return Group, "__str__", tell


def while_drawn(error):
    whole = Group.draw

    def draw(group):
        if group.experiment is PRUNE and bad_of(group.results):
            raise error
        return whole(group)

    return Group, "draw", draw


@pytest.mark.parametrize("error", RAISED if depth.DEEP else RAISED[:4:3], ids=repr)
@pytest.mark.parametrize("where", [while_read, while_grouped, while_told, while_drawn])
def test_one_bad_hand_in_costs_that_one_and_nothing_else(
    where, error, tmp_path, monkeypatch, capsys
):
    a_class_with_one_bad(tmp_path, monkeypatch, where, error)
    assert main(["gather", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "02-prune, 2 students" in told and "01-measure, 3 students" in told
    assert "left out: 1\n" in told and f"cannot be used: {type(error).__name__}" in told
    assert "\x1b" not in told and "class-02-prune-glyphs-bad" in told.split("left out")[1]
    names = ["class-01-measure.png", "class-02-prune-glyphs.png"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == names


def test_what_fails_of_all_together_leaves_the_other_chapters(tmp_path, monkeypatch, capsys):
    whole = Group.draw

    def draw(group):
        if group.experiment is PRUNE and len(group.results) > 1:
            raise ZeroDivisionError
        return whole(group)

    a_class_with_one_bad(tmp_path, monkeypatch, lambda _: (Group, "draw", draw), None)
    assert main(["gather", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "02-prune, " not in told and told.count("cannot be used: ZeroDivisionError") == 3
    assert [p.name for p in tmp_path.glob("*.png")] == ["class-01-measure.png"]


def test_a_picture_that_cannot_be_written_leaves_the_others(tmp_path, capsys):
    handed_in(tmp_path, "Ada")
    hand_in(MEASURE, "Ada", plausible(MEASURE, np.random.default_rng(0)), None, tmp_path)
    (tmp_path / "class-01-measure.png").write_bytes(b"mine")
    assert main(["gather", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert (
        "class-02-prune-glyphs.png" in told.out
        and (tmp_path / "class-02-prune-glyphs.png").exists()
    )
    assert told.err.count("\n") == 1 and "move it, or pass --out" in told.err


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such paths")
def test_folders_as_deep_as_they_may_be(tmp_path):
    """Deeper than Python calls itself."""
    handed_in(tmp_path, "Ada")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        gathered = gather(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest cannot
    assert [result.student for result in gathered.groups[0].results] == ["Ada"]
