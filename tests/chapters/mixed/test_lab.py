"""The explorer of chapter 11 on small data: what it shows is what allocations and roundings do."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.chapters.mixed import (
    allocation_lab,
    answers_lab,
    colours,
    costs,
    curves,
    kernel_lab,
    lab,
    networks,
    prepared,
    tables_lab,
    view,
)
from shrink.chapters.mixed.allocating import best_allocation
from shrink.chapters.mixed.explorer import TAKE, TRIES
from shrink.chapters.mixed.kernel_view import BY_RANK
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.quantization import allocation
from shrink.quantization.moments import input_moments
from tests.chapters.mixed.small import EXPLORERS, SEEDS, curve

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
BITS, KERNEL = lab.SCENES
LAYERS = lab.LAYERS


@pytest.fixture(scope="module")
def explorer_on_show(digits, cache):
    return EXPLORERS[0].make(digits)


@pytest.fixture(scope="module")
def a_lab(digits, cache):
    return lab.MixedLab(digits, best_allocation, SEEDS)


def values(scene=BITS, **changed):
    given = {"budget": 4.0, "by": "answers", "rounding": "nearest", "biases": "as they are"}
    given |= {"per": "layer", "source": "reference"} | dict.fromkeys(LAYERS, 4)
    given |= {"layer": "stem", "kernel": 2, "width": 4, "rounded": "nearest", "rank": 1}
    return {"scene": scene} | given | changed


def shown(a_lab, scene=BITS, **changed):
    return a_lab.view(**values(scene, **changed))


# --- bits by layer -------------------------------------------------------------------------


@pytest.mark.parametrize(("rounding", "biases"), [("nearest", False), ("learned", True)])
@pytest.mark.parametrize("per", tables_lab.PER)
def test_answers_are_those_of_the_network_put_together(a_lab, digits, rounding, biases, per):
    bits = dict(zip(LAYERS, (8, 3, 5, 2, 4, 6), strict=True))
    how = {"rounding": rounding, "per": per}
    corrected = next(name for name, on in lab.BIASES.items() if on is biases)
    found = shown(a_lab, biases=corrected, **how, **bits)
    net = networks.floats(digits, SEEDS[0])
    table = networks.integers(digits, SEEDS[0], rounding=rounding, per_channel=per == "channel")
    mixed = networks.put_together(net, table, bits)
    if biases:
        seen = digits.train.images[: allocation_lab.CALIBRATED]
        networks.correct_biases(mixed, networks.output_means(net, seen), seen)
    images, labels = (
        x[: allocation_lab.ASKED] for x in (digits.validation.images, digits.validation.labels)
    )
    with torch.no_grad():
        logits, floats = mixed(images), net(images)
    wrong = 100 * float((logits.argmax(1) != labels).double().mean())
    assert found.hand.error == pytest.approx(wrong, abs=200 / len(labels))  # a tie may be broken
    apart = F.kl_div(
        logits.log_softmax(1), floats.log_softmax(1), reduction="batchmean", log_target=True
    )
    assert found.hand.divergence == pytest.approx(float(apart), rel=1e-2, abs=1e-6)
    sizes = networks.sizes(per_channel=per == "channel")
    assert found.hand.bytes == sum(sizes[name][width] for name, width in bits.items())
    assert found.images == len(labels)


def test_floats_in_their_own_place_answer_as_they_do(a_lab, digits):
    net = networks.floats(digits, SEEDS[0])
    weights = {name: net.get_parameter(f"{name}.weight").detach() for name in LAYERS}
    for correct in (False, True):
        found = a_lab.allocations.answering.of(weights, correct)
        assert found.divergence == pytest.approx(0, abs=1e-6)
        assert found.error == a_lab.allocations.answering.whole


def test_the_pool_of_three_maxima_is_the_pool():
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(answers_lab._pooled(x), F.max_pool2d(x, 2))


@pytest.mark.parametrize("per", tables_lab.PER)
def test_budgets_bytes_and_costs_are_those_of_the_networks(a_lab, digits, per):
    each = per == "channel"
    for budget in (2.0, 3.5, 8.0):
        found = shown(a_lab, budget=budget, per=per)
        assert found.room == networks.budget(budget, per_channel=each)
    assert found.bits_a_weight(found.hand) == pytest.approx(4)
    table = costs.sensitivities(digits, SEEDS[0], per_channel=each)
    assert found.costs == pytest.approx(np.array([[*of.values()] for of in table.values()]))
    assert found.hand.cost == pytest.approx(sum(table[name][4] for name in LAYERS))
    assert found.cost_of(found.hand) == pytest.approx([table[name][4] for name in LAYERS])


def test_the_optimum_is_the_cheapest_of_all_allocations_that_fit(a_lab):
    costs_, sizes = (
        {name: {w: of[w] for w in (2, 4, 8)} for name, of in table.items()}
        for table in (
            a_lab.allocations.tables.costs("layer", "answers", "nearest"),
            a_lab.allocations.tables.sizes("layer"),
        )
    )
    room = a_lab.allocations.tables.room("layer", 4.0)
    every = (
        dict(zip(LAYERS, widths, strict=True)) for widths in itertools.product((2, 4, 8), repeat=6)
    )
    least = min(
        allocation.total(costs_, one) for one in every if allocation.total(sizes, one) <= room
    )
    found = shown(a_lab).optimum
    assert found.cost <= least * (1 + 1e-9) and found.bytes <= room
    assert shown(a_lab, budget=8.0).over(found) == 0
    assert shown(a_lab, budget=2.0).over(found) == found.bytes - networks.budget(2)


def test_lines_are_those_of_the_curves_and_those_without_costs_stay(a_lab, digits):
    found = {by: shown(a_lab, by=by, budget=2.5) for by in curves.BY}
    for by, one in found.items():
        assert one.lines.keys() == set(colours.LINES) <= set(curves.LINES)
        for name, errors in one.lines.items():
            which = by if name in curves.BY_ALL else "answers"
            rows = [[*curve(digits, seed, name, by=which).values()] for seed in SEEDS]
            assert errors == pytest.approx(100 * np.array(rows))
    assert found["answers"].budgets[found["answers"].here] == 2.5
    assert found["answers"].line == "mixed"
    assert shown(a_lab, rounding="learned").line is None
    learned = shown(a_lab, rounding="learned", biases="corrected")
    assert learned.line == "mixed, rounding learned"
    per_channel = shown(a_lab, per="channel", by="weights")
    assert per_channel.by == "answers"


# --- mine ----------------------------------------------------------------------------------


def test_a_right_function_of_mine_shows_what_the_reference_does(a_lab):
    best_allocation.answer(allocation.best_allocation)
    mine, reference = (shown(a_lab, source=one) for one in ("mine", "reference"))
    assert mine.mine and mine.optimum == reference.optimum
    assert "your optimum" in view.summarise(mine)


def test_mine_shows_what_the_students_bug_does(a_lab):
    best_allocation.answer(
        lambda costs, sizes, budget: {name: max(of) for name, of in costs.items()}
    )
    found = shown(a_lab, source="mine")
    assert found.optimum.bits == (8,) * 6 and found.over(found.optimum) > 0
    assert "over the budget" in view.summarise(found)


def test_mine_may_change_what_it_is_given(a_lab):
    def clears(costs, sizes, budget):
        for of in (*costs.values(), *sizes.values()):
            of.clear()
        return dict.fromkeys(costs, 2)

    best_allocation.answer(clears)
    shown(a_lab, source="mine")
    assert shown(a_lab).costs.shape == (6, 7)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "yours gave NoneType"),
        ([8] * 6, "yours gave list"),
        ({}, "yours has none"),
        ({"stem": 8}, "yours has stem"),
        (dict.fromkeys(LAYERS, 9), "yours gave stem 9"),
        (dict.fromkeys(LAYERS, "8"), "yours gave stem '8'"),
        ({name: [8] for name in LAYERS}, r"yours gave stem \[8\]"),
    ],
)
def test_what_is_no_allocation_is_told(a_lab, answer, words):
    best_allocation.answer(lambda *_: answer)
    with pytest.raises(ExerciseError, match=words):
        shown(a_lab, source="mine")


# --- one kernel ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", kernel_lab.LAYERS)
@pytest.mark.parametrize("width", [2, 4])
def test_every_rounding_has_the_errors_of_its_weights_and_of_its_output(
    a_lab, digits, layer, width
):
    found = shown(a_lab, KERNEL, layer=layer, width=width)
    net = networks.floats(digits, SEEDS[0])
    weight = net.get_parameter(f"{layer}.weight").detach()[2].flatten().double()
    q, scale = networks.integers(digits, SEEDS[0])[layer][width]
    assert found.integers[found.nearest].tolist() == q[2].flatten().tolist()
    moments = input_moments(net, networks.calibration(digits))[layer].products
    g = moments[2 if len(moments) > 1 else 0]
    ratio = weight / float(scale)
    for place in (0, 5, 300, 511):
        integers = torch.tensor(found.integers[place]).double()
        assert bool(((integers - ratio).abs() < 1 + 1e-6).all())
        error = integers * float(scale) - weight
        assert found.weight_errors[place] == pytest.approx(float(error @ error))
        assert found.output_errors[place] == pytest.approx(float(error @ g @ error))
        assert found.sums[place] == pytest.approx(float((integers - ratio).sum()), abs=1e-5)
    best = found.output_errors.min()
    assert found.output_errors[found.places["optimum"]] == best
    learned = networks.integers(digits, SEEDS[0], rounding="adaround")[layer][width][0][2]
    assert found.integers[found.places["AdaRound"]].tolist() == learned.flatten().tolist()
    assert len(set(map(tuple, found.integers.tolist()))) > 1


def test_ranks_go_through_all_roundings_the_smallest_output_error_first(a_lab):
    by_rank = [shown(a_lab, KERNEL, rounded=BY_RANK, rank=rank) for rank in (1, 2, 256, 512)]
    errors = [one.output_errors[one.place] for one in by_rank]
    assert [one.rank for one in by_rank] == [1, 2, 256, 512] and errors == sorted(errors)
    assert by_rank[0].place == by_rank[0].places["optimum"]
    assert by_rank[0].better == sum(
        by_rank[0].output_errors < by_rank[0].output_errors[by_rank[0].nearest]
    )
    numbers = np.abs(by_rank[0].sums)
    expected = np.corrcoef(
        numbers.argsort().argsort(), by_rank[0].output_errors.argsort().argsort()
    )
    assert by_rank[0].correlation(numbers) == pytest.approx(expected[0, 1], abs=0.05)


def test_the_first_kernel_is_the_one_that_nearest_serves_worst(a_lab):
    better = [
        shown(a_lab, KERNEL, layer="depthwise1", kernel=kernel).better for kernel in range(16)
    ]
    assert better[a_lab.kernels.first] == max(better)


# --- what is hidden, and the picture -------------------------------------------------------


def test_what_has_no_effect_is_hidden():
    def hidden(*scene, **changed):
        return lab.without_effect(values(*scene, **changed))

    of_kernel = {"layer", "kernel", "width", "rounded", "rank"}
    of_bits = {"budget", *LAYERS, "by", "rounding", "biases", "per", "source", "take"}
    assert hidden() == of_kernel
    assert hidden(per="channel") == of_kernel | {"by"}
    assert hidden(KERNEL) == of_bits | {"rank"}
    assert hidden(KERNEL, rounded=BY_RANK) == of_bits


def test_no_two_lines_or_marks_differ_by_colour_alone():
    for looks in (colours.STYLES, colours.MARKS, colours.MARKS_OF_ROUNDINGS):
        assert len(set(map(str, looks.values()))) == len(looks)
    assert colours.LINES.keys() == colours.STYLES.keys() == colours.MARKS.keys()
    for of in (colours.LINES, colours.ALLOCATIONS, colours.ROUNDINGS):
        assert len(set(of.values())) == len(of)


@pytest.fixture
def on_show(explorer_on_show):
    before = explorer_on_show.values
    yield explorer_on_show
    explorer_on_show.move(**before)


def artists_of(explorer, **values):
    explorer.move(**values)
    assert explorer.error is None
    return explorer._picture._artists, explorer.result


def test_marks_bars_and_bytes_lie_where_the_numbers_are(on_show):
    artists, found = artists_of(on_show, budget=3.0, stem=2, fc=8)
    marks = artists["costs"]["marks"]
    assert marks["by hand"].get_xdata() == [0, 2, 2, 2, 2, 6]
    assert [x + 2 for x in marks["optimum"].get_xdata()] == list(found.optimum.bits)
    assert [bar.get_height() for bar in artists["bits"]["bars"]] == [2, 4, 4, 4, 4, 8]
    widths = [bar.get_width() for bar in artists["bits"]["bars"]]
    assert widths == pytest.approx(np.array(found.counts) / sum(found.counts))
    assert [o.get_height() for o in artists["bits"]["outlines"]] == list(found.optimum.bits)
    over = artists["bytes"]["over"][0]
    assert over.get_x() == found.room and over.get_width() == found.hand.bytes - found.room
    assert f"{over.get_width():,} OVER" in artists["bytes"]["words"][0].get_text()
    assert artists["bytes"]["over"][1].get_width() == 0
    point = artists["errors"]["points"]["by hand"].get_xydata()
    assert point[0] == pytest.approx([found.bits_a_weight(found.hand), found.hand.error])
    line, _ = artists["errors"]["lines"].artists["mixed"]
    assert line.get_ydata() == pytest.approx(found.lines["mixed"].mean(0))


def test_the_optimum_can_be_taken(on_show):
    on_show.move(budget=2.5)
    best = on_show.result.optimum.bits
    on_show.move(**TAKE.values(on_show.result))
    assert on_show.result.hand == on_show.result.optimum and on_show.result.hand.bits == best


def test_dots_and_integers_of_a_kernel_lie_where_the_numbers_are(on_show):
    artists, found = artists_of(on_show, scene=KERNEL, rounded="optimum", width=4)
    shown_at = artists["roundings"]["on show"].get_xydata()[0]
    ratios = [
        float(found.beside_nearest(errors, found.place))
        for errors in (found.weight_errors, found.output_errors)
    ]
    assert shown_at == pytest.approx(ratios)
    dots = artists["roundings"]["others"]
    assert sum(len(one.get_xdata()) for one in dots) == 512
    assert len(dots[1].get_xdata()) == (np.abs(found.sums) <= 0.5).sum()
    texts = [text.get_text() for text in artists["kernel"]["integers"]]
    assert texts == [str(q) for q in found.integers[found.place]]
    frames = [frame.get_visible() for frame in artists["kernel"]["changed"]]
    assert frames == (found.integers[found.place] != found.integers[found.nearest]).tolist()


def test_what_ships_is_all_that_the_explorer_asks_for(digits, monkeypatch):
    made = []
    monkeypatch.setattr(curves, "cells", lambda dataset: iter([lambda: made.append("curves")]))
    for module in (allocation_lab, kernel_lab):
        name = module.__name__
        monkeypatch.setattr(
            module, "prepared", lambda d, name=name: iter([lambda: made.append(name)])
        )
    prepared.first_picture(digits)
    assert made == ["curves", allocation_lab.__name__, kernel_lab.__name__]
    assert list(prepared.further_cells(digits)) == [] and TRIES[0].label == "1 one width"
