"""The explorer of chapter 09 on small data: what it shows is what its masks and trainings do."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from shrink import pruning
from shrink.chapters.tickets import (
    colours,
    explorer,
    figure,
    lab,
    learning_view,
    prepared,
    rounds,
    view,
    weights_view,
)
from shrink.chapters.tickets.survivors import prune_survivors
from shrink.classroom.exercises.exercise import ExerciseError
from tests.chapters.small import run_through, run_until, share_right
from tests.chapters.tickets.small import EARLY, EXPLORERS, SEEDS, initial

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
LEARNS, WEIGHTS = lab.QUESTIONS
NAMES = ("fc1.weight", "fc2.weight", "fc3.weight")
NAMED = colours.REWOUND.copy()  # before `prepare` makes the trainings short
MADE_OF = rounds.RATES, rounds.ROUNDS, rounds.REWINDS


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return lab.TicketsLab(digits, prune_survivors, SEEDS)


@pytest.fixture
def a_lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    return first_lab


@pytest.fixture(scope="module")
def explorer_on_show(first_lab, digits):
    return EXPLORERS[0].make(digits)


def values(question=LEARNS, **changed):
    given = {"round": 7, "arm": "ticket", "rewound": "step 0", "layer": "fc1", "seed": "all"}
    return {"question": question} | given | {"source": "reference"} | changed


def shown(a_lab, question=LEARNS, **changed):
    return a_lab.view(**values(question, **changed))


def weights_of(net):
    return {name: net.get_parameter(name).detach() for name in NAMES}


def trained(digits, seed, masks, start=None, order=None):
    """A network of a seed after its training under masks, from `start` or the initial weights."""
    net = initial(seed)
    if start is not None:
        net.load_state_dict(start)
    accuracy = rounds.trained(net, masks, digits, seed if order is None else order).accuracy
    return net, 100 * accuracy


# --- how it learns -------------------------------------------------------------------------


def test_the_explorer_says_the_steps_that_rounds_are_rewound_to():
    assert list(NAMED.items()) == [("step 0", 0), ("step 100", 100), ("the end", None)]
    assert {"ticket, step 100", "ticket, the end", *rounds.ARMS} == colours.COLOURS.keys()
    assert colours.COLOURS.keys() == colours.STYLES.keys() == set(lab.lines())
    looks = zip(colours.COLOURS.values(), map(str, colours.STYLES.values()), strict=True)
    assert all(a != c and b != d for (a, b), (c, d) in itertools.combinations(looks, 2))


def test_the_slider_has_a_stop_for_each_round(explorer_on_show):
    slider = explorer_on_show.controls["round"]
    assert (slider.min, slider.max, slider.step) == (0, rounds.ROUNDS, 1)


def test_a_round_of_the_ticket_is_its_training_from_the_initial_weights(a_lab, digits):
    everything = {
        name: torch.ones_like(w, dtype=torch.bool) for name, w in weights_of(initial(1)).items()
    }
    net, dense = trained(digits, 1, everything)
    smallest = {
        n: w.abs().flatten().argsort()[: round(MADE_OF[0][n] * w.numel())]
        for n, w in weights_of(net).items()
    }
    masks = {n: mask.clone().flatten() for n, mask in everything.items()}
    for name, places in smallest.items():
        masks[name][places] = False
    masks = {n: mask.view(everything[n].shape) for n, mask in masks.items()}
    found = shown(a_lab, round=1, seed=1)
    assert found.dense.tolist() == [pytest.approx(dense)]
    _, first = trained(digits, 1, masks)
    assert found.shown.tolist() == [pytest.approx(first)]
    left = sum(int(mask.sum()) for mask in masks.values())
    assert found.shares[1] == pytest.approx(left / sum(m.numel() for m in masks.values()))


def test_a_control_changes_one_thing(a_lab, digits):
    masks = a_lab.chains[0].masks(7)
    _, fresh = trained(digits, 0, masks, initial(rounds.APART).state_dict())
    assert shown(a_lab, arm="re-initialised", seed=0).shown[0] == pytest.approx(fresh)
    _, elsewhere = trained(digits, 0, pruning.shuffle_masks(masks, rounds.APART))
    assert shown(a_lab, arm="random places", seed=0).shown[0] == pytest.approx(elsewhere)
    start = initial(0).state_dict()
    for name in NAMES:
        start[name] = start[name].sign() * start[name].std(correction=0)
    _, signs = trained(digits, 0, masks, start)
    assert shown(a_lab, arm="signs only", seed=0).shown[0] == pytest.approx(signs)


def test_rewound_elsewhere_it_is_another_ticket(a_lab, digits):
    for rewound, step in (("step 100", EARLY), ("the end", None)):
        chain = rounds.chain(digits, SEEDS[1], step)
        found = shown(a_lab, rewound=rewound, seed=SEEDS[1])
        assert found.line == f"ticket, {rewound}"
        assert found.shown[0] == pytest.approx(100 * chain.curves[7].accuracy)
        assert found.in_round("ticket")[0] == pytest.approx(shown(a_lab, seed=SEEDS[1]).shown[0])


def test_of_all_seeds_there_are_a_mean_and_a_range(a_lab):
    every = shown(a_lab, arm="random places")
    one_by_one = [shown(a_lab, arm="random places", seed=seed).shown[0] for seed in SEEDS]
    assert (every.shown == np.stack(one_by_one)).all() and every.seeds == SEEDS
    words = view.summarise(every)
    ends = [curve[-1] for curve in one_by_one]
    assert f"<b>{np.mean(ends):.1f} %</b> ({min(ends):.1f} to {max(ends):.1f})" in words


def test_signs_alone_are_shown_in_the_nearest_round_that_was_trained(a_lab):
    found = shown(a_lab, arm="signs only", round=5)
    assert (found.trained, found.number) == (3, 5) and "not trained at round 5" in view.summarise(
        found
    )
    assert (found.shown == shown(a_lab, arm="signs only", round=3).shown).all()
    assert "signs only" not in shown(a_lab, round=5).others
    assert "signs only" in shown(a_lab, round=7).others


@pytest.mark.parametrize("arm", rounds.ARMS)
def test_in_round_0_each_arm_is_the_whole_network(a_lab, arm):
    found = shown(a_lab, arm=arm, round=0)
    assert (found.shown == found.dense).all() and found.others == ()
    assert "the whole network" in view.summarise(found)


# --- which weights -------------------------------------------------------------------------


def masks_by_hand(digits, arm, seed, number):
    masks = rounds.chain(digits, seed).masks(number)
    return pruning.shuffle_masks(masks, seed + rounds.APART) if arm == "random places" else masks


@pytest.mark.parametrize("arm", ["ticket", "random places"])
@pytest.mark.parametrize("number", [0, 1, 6, 12])
def test_masks_are_those_that_the_arm_learns_under(a_lab, digits, arm, number):
    for seed in SEEDS:
        by_hand = masks_by_hand(digits, arm, seed, number)
        found = a_lab.masks(arm, seed, number)
        assert all(torch.equal(found[name], by_hand[name]) for name in NAMES)


@pytest.mark.parametrize("arm", ["ticket", "random places"])
def test_pixels_are_counted(a_lab, digits, arm):
    counts = [masks_by_hand(digits, arm, s, 7)["fc1.weight"].sum(0).reshape(28, 28) for s in SEEDS]
    assert (shown(a_lab, WEIGHTS, arm=arm, seed=1).pixels == counts[1].numpy()).all()
    found = shown(a_lab, WEIGHTS, arm=arm)
    assert found.pixels == pytest.approx(torch.stack(counts).double().mean(0).numpy())
    ink = digits.train.images[: rounds.TRAINED].mean((0, 1)) >= lab.INKED
    inside = torch.stack(counts).double().mean(0)[ink].mean()
    assert found.inside == pytest.approx(float(inside)) and 0 < found.inked.sum() < 784


@pytest.mark.parametrize("layer", ["fc1", "fc2", "fc3"])
@pytest.mark.parametrize("arm", rounds.ARMS)
def test_initial_weights_are_counted_by_what_the_arm_begins_with(a_lab, digits, arm, layer):
    name, began, kept = f"{layer}.weight", 0, 0
    found = shown(a_lab, WEIGHTS, arm=arm, layer=layer)
    for seed in SEEDS:
        start = initial(seed + rounds.APART if arm == "re-initialised" else seed)
        w = start.get_parameter(name).detach().double()
        if arm == "signs only":
            w = w.sign() * w.std(correction=0)
        mask = masks_by_hand(digits, arm, seed, 7)[name]
        edges = found.edges * (1 + 1e-6)
        began = began + np.histogram(w, edges)[0]
        kept = kept + np.histogram(w[mask], edges)[0]
    off = [
        abs(counted - by_hand).sum()
        for counted, by_hand in ((found.began, began), (found.kept, kept))
    ]
    assert max(off) <= 0.02 * began.sum(), "a few are rounded into the next bin"
    assert found.began.sum() == began.sum() and found.kept.sum() == kept.sum()


@pytest.mark.parametrize("arm", ["ticket", "random places"])
def test_what_two_seeds_share_stands_beside_chance(a_lab, digits, arm):
    found = shown(a_lab, WEIGHTS, arm=arm).shared
    one, other = (masks_by_hand(digits, arm, seed, 7) for seed in SEEDS)
    for name, shared in zip(NAMES, found.values(), strict=True):
        size, kept = one[name].numel(), int(one[name].sum())
        chance = stats.hypergeom(size, kept, kept)
        assert shared.both.tolist() == [int((one[name] & other[name]).sum())]
        assert (shared.expected, shared.deviation) == pytest.approx((chance.mean(), chance.std()))
    first, second = (masks["fc1.weight"].double().sum(0) for masks in (one, other))
    by_pixel = (first * second).sum().item() / len(one["fc1.weight"])
    assert found["fc1"].by_pixel.tolist() == [pytest.approx(by_pixel)]
    assert found["fc2"].by_pixel is None is found["fc3"].by_pixel


def test_a_seed_is_compared_with_each_other_one(digits, cache):
    of_three = lab.TicketsLab(digits, None, (0, 1, 2))
    pairs = {s: shown(of_three, WEIGHTS, seed=s).shared["fc1"].both.tolist() for s in ("all", 1)}
    masks = [masks_by_hand(digits, "ticket", seed, 7)["fc1.weight"] for seed in range(3)]
    both = {
        (a, b): int((masks[a] & masks[b]).sum()) for a, b in itertools.combinations(range(3), 2)
    }
    assert pairs["all"] == list(both.values()) and pairs[1] == [both[0, 1], both[1, 2]]


# --- mine ----------------------------------------------------------------------------------


def test_a_right_round_of_mine_leaves_what_the_reference_does(a_lab):
    prune_survivors.answer(pruning.prune_survivors)
    found = shown(a_lab, source="mine")
    assert found.following.mine == found.following.reference
    counts = {
        n: pruning.count_survivors(w.numel(), MADE_OF[0][n], 8)[-1]
        for n, w in weights_of(initial(0)).items()
    }
    assert found.following.mine == counts
    assert found.following.share == pytest.approx(found.shares[8])
    assert f"leaves fc1 {counts['fc1.weight']:,} (reference" in view.summarise(found)
    assert "One more round by your function would keep" in view.describe(found)
    assert shown(a_lab).following is None is shown(a_lab, arm="signs only", source="mine").following


def _share_of_all(weights, masks, rates):
    found = {}
    for name, mask in masks.items():
        order = weights[name].abs().masked_fill(~mask, -1).flatten().argsort()
        gone = int((~mask).sum()) + round(rates[name] * mask.numel())
        keep = torch.ones(mask.numel(), dtype=torch.bool)
        keep[order[:gone]] = False
        found[name] = keep.view(mask.shape)
    return found


def test_mine_shows_what_the_students_bug_does(a_lab):
    prune_survivors.answer(_share_of_all)
    found = shown(a_lab, round=3, source="mine").following
    assert found.mine["fc1.weight"] < found.reference["fc1.weight"]
    prune_survivors.answer(lambda weights, masks, rates: masks)
    found = shown(a_lab, round=3, source="mine")
    assert found.following.share == pytest.approx(found.shares[3])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda w, m, r: None, "mask for each weight; yours gave NoneType"),
        (lambda w, m, r: {}, "mask for each weight; yours gave an empty one"),
        (lambda w, m, r: {"fc1.weight": m["fc1.weight"]}, "yours gave fc1.weight$"),
        (
            lambda w, m, r: {n: x.flatten() for n, x in m.items()},
            r"shapes; yours gave shape \(15680,\)",
        ),
        (
            lambda w, m, r: {n: x.float() for n, x in m.items()},
            "bool masks .* yours gave torch.float32",
        ),
        (lambda w, m, r: dict.fromkeys(m), "shapes; yours gave NoneType"),
    ],
)
def test_what_is_no_round_is_told(a_lab, answer, words):
    prune_survivors.answer(answer)
    with pytest.raises(ExerciseError, match=words):
        shown(a_lab, source="mine")


def test_a_function_that_changes_its_inputs_changes_nothing_else(a_lab):
    def spoiling(weights, masks, rates):
        for tensor in (*weights.values(), *masks.values()):
            tensor.zero_()
        rates.clear()
        return masks

    before = shown(a_lab, WEIGHTS).kept
    prune_survivors.answer(spoiling)
    assert shown(a_lab, source="mine").following.share == 0
    assert (shown(a_lab, WEIGHTS).kept == before).all() and len(rounds.RATES) == 3


# --- what the button does ------------------------------------------------------------------


def spied(monkeypatch):
    """What was trained: the weights that it began with, the network after, its masks and order."""
    done, real = [], rounds.trained

    def spy(net, masks, dataset, seed, *rest):
        start = weights_of(net)
        start = {name: w.clone() for name, w in start.items()}
        curve = real(net, masks, dataset, seed, *rest)
        done.append((start, net, masks, seed))
        return curve

    monkeypatch.setattr(rounds, "trained", spy)
    return done


@pytest.mark.parametrize("arm", rounds.ARMS)
def test_it_trains_what_is_on_show_with_another_seed(a_lab, digits, monkeypatch, arm):
    done = spied(monkeypatch)
    calls = run_through(a_lab.work, values(arm=arm, seed=1))
    ((start, net, masks, order),), (run,) = done, a_lab.runs
    assert calls[-1] == (2, 2) and order == run.seed == lab.NEW_SEEDS
    masks_of = a_lab.chains[1].masks(7)
    assert all(masks[name].sum() == masks_of[name].sum() for name in NAMES)
    assert all(torch.equal(masks[n], masks_of[n]) for n in NAMES) is (arm != "random places")
    first = weights_of(initial(1))
    assert all(torch.equal(start[n], first[n]) for n in NAMES) is (arm == "ticket")
    assert all(torch.equal(start[n].sign(), first[n].sign()) for n in NAMES) is (
        arm in ("ticket", "signs only")
    )
    assert run.accuracy == share_right(net, digits.validation)
    assert run.share == shown(a_lab).shares[7] and not run.stopped
    run_through(a_lab.work, values(arm=arm))
    assert [run.seed for run in shown(a_lab).runs] == [lab.NEW_SEEDS, lab.NEW_SEEDS + 1]


def test_under_mine_it_prunes_the_trained_ticket_rewinds_it_and_trains_again(
    a_lab, digits, monkeypatch
):
    prune_survivors.answer(pruning.prune_survivors)
    done = spied(monkeypatch)
    calls = run_through(a_lab.work, values(source="mine"))
    (_, net, masks, _), (start, _, fewer, order) = done
    assert [done for done, _ in calls] == [1, 2, 3, 4] and calls[0][1] == 4
    by_hand = pruning.prune_survivors(weights_of(net), masks, rounds.RATES)
    assert all(torch.equal(fewer[name], by_hand[name]) for name in NAMES)
    assert all(torch.equal(start[name], w) for name, w in weights_of(initial(0)).items())
    (run,) = a_lab.runs
    assert run.mine and order == SEEDS[0]
    following = shown(a_lab, round=8, seed=SEEDS[0])
    assert 100 * run.accuracy == pytest.approx(following.shown[0, -1])
    assert run.share == pytest.approx(following.shares[8])
    assert "pruned once more by your function" in view.summarise(shown(a_lab))


@pytest.mark.parametrize("step", [0, 1])
def test_a_stopped_run_is_kept_and_marked(a_lab, step):
    run_until(a_lab.work, values(arm="re-initialised"), step)
    (run,) = a_lab.runs
    assert run.stopped and run.steps == step
    assert f"{step} steps, stopped" in view.summarise(shown(a_lab, WEIGHTS))


def test_what_is_stopped_before_it_is_pruned_leaves_no_mark(a_lab):
    prune_survivors.answer(pruning.prune_survivors)
    run_until(a_lab.work, values(source="mine"), 1)
    assert a_lab.runs == []
    run_until(a_lab.work, values(source="mine"), 3)
    assert a_lab.runs[0].stopped and a_lab.runs[0].steps == 1


def test_a_ticket_whose_masks_are_not_kept_is_refused(a_lab):
    with pytest.raises(ExerciseError, match="trains what is rewound to step 0"):
        run_through(a_lab.work, values(rewound="the end"))
    run_through(a_lab.work, values(arm="signs only", rewound="the end"))
    assert a_lab.runs[0].line == "signs only"


# --- what is hidden, and the picture -------------------------------------------------------


def test_what_has_no_effect_is_hidden():
    def hidden(*question, **changed):
        return lab.without_effect(values(*question, **changed))

    assert hidden() == {"layer"} and hidden(rewound="the end") == {"layer", "source"}
    assert hidden(arm="signs only") == {"layer", "rewound", "source"}
    assert hidden(WEIGHTS) == hidden(WEIGHTS, arm="signs only") == {"rewound", "source"}


def artists_of(explorer, **values):
    explorer.move(**values)
    assert explorer.error is None
    return explorer._picture._artists, explorer.result


@pytest.fixture
def on_show(explorer_on_show):
    before = explorer_on_show.values
    yield explorer_on_show
    explorer_on_show.move(**before)


def test_lines_bands_and_marker_lie_where_the_numbers_are(on_show):
    artists, found = artists_of(on_show, arm="re-initialised", round=7)
    for panel, x, right in (
        ("steps", rounds.WATCHED, found.shown),
        ("shares", 100 * found.shares[1:], found.lines["re-initialised"].ends),
    ):
        line = artists[panel]["lines"]["re-initialised"]
        assert line.get_xydata() == pytest.approx(np.stack([x, right.mean(0)], 1))
        (edge,) = (path.vertices for path in artists[panel]["band"].get_paths())
        assert all(np.isclose(edge[:, 1], y).any() for y in (right.min(), right.max()))
        assert not artists[panel]["lines"]["ticket, the end"].get_visible()
        assert line.get_linewidth() > artists[panel]["lines"]["ticket"].get_linewidth()
    marker = artists["shares"]["marker"].get_xydata()
    assert marker == pytest.approx(np.array([[100 * found.shares[7], found.shown[:, -1].mean()]]))


def test_runs_and_the_next_round_have_their_marks(on_show):
    artists, found = artists_of(on_show, round=7)
    run = learning_view.Run("signs only", False, 3, 0.5, 100, 0.9, steps=7, stopped=False)
    stopped = learning_view.Run("ticket", True, 7, 0.2, 0, 0.8, steps=2, stopped=True)
    following = learning_view.NextRound({"fc1.weight": 1}, {"fc1.weight": 1}, 0.125)
    figure.update(
        artists,
        learning_view.LearningView(
            **{**vars(found), "runs": (run, stopped), "following": following}
        ),
    )
    marks = artists["shares"]["runs"]
    assert marks["trained here"]["signs only"].get_xydata().tolist() == [[50, 90]]
    assert marks["stopped"]["ticket"].get_xydata().tolist() == [[20, 80]]
    assert artists["shares"]["next"].get_xdata() == [12.5]


def test_bars_map_and_points_are_the_masks(on_show):
    artists, found = artists_of(on_show, question=WEIGHTS, arm="ticket", round=7, layer="fc2")
    assert (artists["pixels"]["image"].get_array() == found.pixels).all()
    top = float(artists["kept"]["up"][-1].get_text())
    heights = np.array([bar.get_height() for bar in artists["kept"]["bars"]])
    assert heights * top / 100 == pytest.approx(100 * found.kept / found.began)
    for points, shared in zip(artists["shared"]["points"], found.shared.values(), strict=True):
        assert points.get_ydata() == pytest.approx(shared.both / shared.expected)


def test_the_outline_goes_around_the_pixels_inside():
    from shrink.chapters.tickets.weights_figure import _outline

    inside = np.zeros((3, 3), bool)
    inside[1, 1:] = True
    x, y = (side.reshape(-1, 3)[:, :2] for side in _outline(inside))
    edges = {
        frozenset(zip(*edge, strict=True)) for edge in zip(x.tolist(), y.tolist(), strict=True)
    }
    above = {frozenset({(0.5, 0.5), (1.5, 0.5)}), frozenset({(1.5, 0.5), (2.5, 0.5)})}
    below = {frozenset({(0.5, 1.5), (1.5, 1.5)}), frozenset({(1.5, 1.5), (2.5, 1.5)})}
    ends = {frozenset({(0.5, 0.5), (0.5, 1.5)}), frozenset({(2.5, 0.5), (2.5, 1.5)})}
    assert edges == above | below | ends


def test_what_ships_is_what_the_rounds_are(digits, monkeypatch):
    made = []
    monkeypatch.setattr(rounds, "trainings", lambda dataset: iter([lambda: made.append(dataset)]))
    prepared.first_picture(digits)
    assert made == [digits] and list(prepared.further_cells(digits)) == []


def test_the_words_of_constants_are_of_their_signs(a_lab):
    words = view.summarise(shown(a_lab, WEIGHTS, arm="signs only"))
    assert "% of the negative" in words and "% of the positive" in words
    assert "% of the largest" in view.summarise(shown(a_lab, WEIGHTS))
    assert weights_view.heading(shown(a_lab, WEIGHTS, seed=1)).endswith("ticket, seed 1")
    assert explorer.TRIES[0].label == "1 structure"
