"""Class experiments where each name has one of the series: dealt out, checked, gathered, drawn."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from shrink.classroom import CourseError
from shrink.classroom.class_work import Experiment, hand_in, seed_of
from shrink.classroom.class_work.gather import gather, write

ARMS = ("ticket", "re-initialised", "random places")
PLAN = Experiment(
    name="99-arms",
    title="which is best?",
    x=(100, 21.1, 3.6),
    x_label="weights kept, %",
    x_scale="log",
    y_label="accuracy, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=ARMS,
    datasets=("glyphs",),
    one_series=True,
)
ALL = [f"name {i}" for i in range(60)]
NAMES = {arm: [name for name in ALL if PLAN.series_of(name) == (arm,)] for arm in ARMS}


def found(name, add=0.0):
    """What a student of that name finds: numbers that differ by name and arm."""
    (arm,) = PLAN.series_of(name)
    first = 80 - 20 * ARMS.index(arm) + seed_of(name) % 1000 / 100
    return {arm: {x: first + add + i for i, x in enumerate(PLAN.x)}}


def hand_in_some(folder, *counts):
    """So many names with each arm; arm → array (students, x)."""
    names = {arm: NAMES[arm][:count] for arm, count in zip(ARMS, counts, strict=True)}
    for some in names.values():
        for name in some:
            hand_in(PLAN, name, found(name), "glyphs", folder)
    rows = {arm: [list(found(n)[arm].values()) for n in names[arm]] for arm in ARMS}
    return {arm: np.sort(np.reshape(r, (-1, 3)), axis=0) for arm, r in rows.items()}


def edited(path, change):
    """Change the record in the file, under a digest that fits."""
    record = json.loads(path.read_text("utf-8"))
    del record["digest"]
    change(record)
    record["digest"] = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(record))


def test_each_series_goes_to_as_many_names_and_a_name_has_its_own_for_good():
    dealt = Counter(PLAN.series_of(f"pupil {i}") for i in range(3000))
    assert set(dealt) == {(arm,) for arm in ARMS}
    assert all(900 < count < 1100 for count in dealt.values())
    assert PLAN.series_of(" Ada  LOVELACE") == PLAN.series_of("ada lovelace")
    with pytest.raises(CourseError, match="a name has 1 to 80 characters"):
        PLAN.series_of(" ")


def test_where_all_have_all_series_every_name_is_dealt_all():
    plan = Experiment("9-all", "?", ("a",), "y", (0, 1), ("one", "two"))
    assert plan.series_of("Ada") == plan.series_of("Bob") == ("one", "two")


def test_another_series_than_the_names_own_is_refused(tmp_path):
    name = NAMES["ticket"][0]
    mine = found(name)["ticket"]
    for given in ({"random places": mine}, {"ticket": mine, "random places": mine}, {}):
        with pytest.raises(CourseError, match=f"the results of '{name}' must be for ticket, not"):
            hand_in(PLAN, name, given, "glyphs", tmp_path)
    with pytest.raises(CourseError, match=r"ticket, 3\.6: 101 is not a number from 0 to 100"):
        hand_in(PLAN, name, {"ticket": mine | {3.6: 101}}, "glyphs", tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("others", [["random places"], ["ticket", "random places"], ["moon"], []])
def test_a_file_with_another_series_is_left_out_though_its_digest_fits(tmp_path, others):
    good, bad = NAMES["ticket"][:2]
    hand_in(PLAN, good, found(good), "glyphs", tmp_path)
    path = hand_in(PLAN, bad, found(bad), "glyphs", tmp_path).path

    def change(record):
        record["results"] = dict.fromkeys(others, record["results"]["ticket"])

    edited(path, change)
    gathered = gather(tmp_path, [PLAN])
    assert [r.student for r in gathered.groups[0].results] == [good]
    (skipped,) = gathered.skipped
    assert skipped.file == path.name and f"of '{bad}' must be for ticket, not" in skipped.reason


def test_a_result_under_another_name_is_left_out(tmp_path):
    """Of the same arm, whose series would fit: the seed is another."""
    mine, other = NAMES["ticket"][:2]
    path = hand_in(PLAN, mine, found(mine), "glyphs", tmp_path).path
    edited(path, lambda record: record.update(student=other))
    assert "the seed is not that of" in gather(tmp_path, [PLAN]).skipped[0].reason


def test_of_two_files_of_a_name_the_first_counts(tmp_path):
    name = NAMES["ticket"][0]
    hand_in(PLAN, name, found(name), "glyphs", tmp_path / "a")
    hand_in(PLAN, name.upper(), found(name, add=1), "glyphs", tmp_path / "b")
    gathered = gather(tmp_path, [PLAN])
    assert [r.found for r in gathered.groups[0].results] == [PLAN.checked(found(name), name)]
    assert "again, not the result of a/" in gathered.skipped[0].reason


def test_a_class_is_told_and_drawn_series_by_series(tmp_path):
    expected = hand_in_some(tmp_path, 5, 3, 1)
    gathered = gather(tmp_path, [PLAN])
    (group,) = gathered.groups
    assert not gathered.skipped and group.about == "9 students, glyphs"
    for arm, values in group.values().items():
        np.testing.assert_array_equal(np.sort(values, axis=0), expected[arm])
    lines = str(group).splitlines()
    assert lines[2].split() == ["students", "5", "3", "1"]
    of_ticket, of_random = expected["ticket"][:, 2], expected["random places"][0, 2]
    assert lines[-1].startswith("  3.6  ")
    assert f" {of_ticket.mean():.2f} ± {of_ticket.std(ddof=1):.2f} " in lines[-1]
    assert lines[-1].endswith(f" {of_random:.2f}")

    plot = group.draw()
    plot.draw_without_rendering()
    (ax,) = plot.axes
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # it falls, as x does
    drawn = {line.get_label(): line for line in ax.lines}
    for arm, values in expected.items():
        mean = drawn[f"{arm}, mean of {len(values)}"]
        np.testing.assert_allclose(mean.get_ydata(), values.mean(0))
        (dots,) = [
            line
            for line in ax.lines
            if line.get_color() == mean.get_color() and line.get_linestyle() == "None"
        ]
        dots_y = dots.get_ydata().reshape(-1, 3)
        np.testing.assert_array_equal(np.sort(dots_y, axis=0), values)
        away = abs(np.log(dots.get_xdata().reshape(-1, 3) / PLAN.x))
        assert away.max() < np.log(21.1 / 3.6) / 2  # beside its x
    assert not any(name in plot.alt for name in NAMES["ticket"])


def test_a_series_that_nobody_has_is_told_and_harms_no_other(tmp_path):
    hand_in_some(tmp_path, 2, 0, 1)
    written = write(gather(tmp_path, [PLAN]), tmp_path)
    assert [path.name for path in written.pictures] == ["class-99-arms-glyphs.png"]
    (group,) = written.gathered.groups
    lines = [line.split() for line in str(group).splitlines()[2:]]
    assert lines[0] == ["students", "2", "0", "1"]
    assert all("none" in line for line in lines[1:])
    labels = [text.get_text() for text in group.draw().legends[0].get_texts()]
    assert "re-initialised, nobody" in labels and "ticket, mean of 2" in labels
