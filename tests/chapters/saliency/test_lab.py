"""The explorer of chapter 08 on small data: what it shows is what the pruned network does."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from shrink import pruning
from shrink.chapters.saliency import (
    after_view,
    arms,
    before_view,
    collapsing,
    deleting,
    deletions,
    figure,
    lab,
    view,
)
from shrink.chapters.saliency.deleting import Case
from shrink.chapters.saliency.obd import obd_saliency
from shrink.classroom.data import Split
from shrink.classroom.exercises.exercise import ExerciseError
from tests.chapters.saliency.small import EXPLORERS, SEEDS
from tests.chapters.small import run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
STOPS = deleting.DELETED, collapsing.COMPRESSIONS  # as they are, before `prepare` makes them few
AFTER, BEFORE = lab.QUESTIONS


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return lab.SaliencyLab(digits, obd_saliency, SEEDS)


@pytest.fixture
def a_lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    return first_lab


@pytest.fixture(scope="module")
def explorer(first_lab, digits):
    return EXPLORERS[0].make(digits)


def values(question=AFTER, **changed):
    given = {"deleted": 60, "order": "OBD", "network": "tanh", "trained": "out", "rescaled": "no"}
    given |= {"compression": 10**1.4, "method": "SNIP", "steps": 1, "source": "reference"}
    return {"question": question} | given | changed


def shown(a_lab, question=AFTER, **changed):
    return a_lab.view(**values(question, **changed))


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def weights_of(net):
    return [net.fc1.weight, net.fc2.weight, net.fc3.weight]


def deleted_by_hand(net, scores, share):
    """A copy in which the smallest of all scores are zero, and where they are."""
    net = copy.deepcopy(net)
    gone = torch.zeros(len(scores), dtype=bool)
    gone[scores.argsort(stable=True)[: round(share * len(scores))]] = True
    parts = gone.split([w.numel() for w in weights_of(net)])
    for weight, part in zip(weights_of(net), parts, strict=True):
        weight.data[part.view(weight.shape)] = 0
    return net, gone


def loss_of(net, split):
    with torch.no_grad():
        return F.cross_entropy(net(split.images), split.labels).item()


def scores_by_hand(net, split, order):
    """Of the orders that need no seed, all weights in a row."""
    w = flat(weights_of(net))
    if order == "magnitude":
        return w.abs()
    if order == "OBD":
        h = pruning.hessian_diagonal(net, split.images, split.labels)
        return flat([h[f"fc{i}.weight"] for i in (1, 2, 3)]) * w**2 / 2
    loss = F.cross_entropy(net(split.images), split.labels)
    return (flat(torch.autograd.grad(loss, weights_of(net))) * w).abs()


# --- after training ------------------------------------------------------------------------


def test_the_sliders_stop_where_there_is_something_to_show(explorer):
    deleted, compressions = STOPS
    slider = explorer.controls["deleted"]
    assert [*range(slider.min, slider.max + 1, slider.step)] == np.round(100 * deleted).tolist()
    slider = explorer.controls["compression"]
    exponents = np.arange(round((slider.max - slider.min) / slider.step) + 1) * slider.step
    assert compressions == pytest.approx(10**exponents)


@pytest.mark.parametrize("order", ["magnitude", "OBD", "gradient"])
@pytest.mark.parametrize(
    "case", [Case(), Case("tanh", "one epoch"), Case("ReLU", rescaled="10x")], ids=str
)
def test_the_rises_are_those_of_the_network_with_zeros_in_it(a_lab, digits, case, order):
    found = shown(
        a_lab, order=order, network=case.network, trained=case.trained, rescaled=case.rescaled
    )
    split, net = deletions.asked(digits), deleting.network_of(case, digits, SEEDS[0])
    smaller, gone = deleted_by_hand(net, scores_by_hand(net, split, order), 0.6)
    rise = loss_of(smaller, split) - loss_of(net, split)
    assert found.shown.actual[found.stop] == pytest.approx(rise, abs=1e-5)
    predicted = scores_by_hand(net, split, "OBD")[gone].sum().item()
    assert found.shown.predicted[found.stop] == pytest.approx(predicted, rel=1e-3)
    asked = Split(digits.validation.images[:60], digits.validation.labels[:60])
    assert found.shown.right[found.stop] == pytest.approx(share_right(smaller, asked))
    assert found.dense_accuracy == pytest.approx(share_right(net, asked))


def test_the_band_is_the_seeds(a_lab, digits):
    found, split, rises = shown(a_lab), deletions.asked(digits), []
    for seed in SEEDS:
        net = deleting.network_of(Case(), digits, seed)
        smaller, _ = deleted_by_hand(net, scores_by_hand(net, split, "OBD"), 0.6)
        rises.append(loss_of(smaller, split) - loss_of(net, split))
    assert found.band[:, found.stop] == pytest.approx(sorted(rises), abs=1e-5)


@pytest.mark.parametrize("order", ["magnitude", "OBD", "gradient"])
def test_ranks_are_those_of_single_deletions(a_lab, digits, order):
    found, split = shown(a_lab, order=order), deletions.asked(digits)
    net = deleting.network_of(Case(), digits, SEEDS[0])
    sizes = [w.numel() for w in weights_of(net)]
    starts = {"fc1.weight": 0, "fc2.weight": sizes[0], "fc3.weight": sizes[0] + sizes[1]}
    drawn = [
        int(starts[name] + place)
        for name, place in deletions.places(net, deleting.SINGLES, SEEDS[0])
    ]
    assert len(set(drawn)) == deleting.SINGLES
    rises = []
    for place in drawn:
        only = torch.ones(sum(sizes))
        only[place] = 0
        smaller, _ = deleted_by_hand(net, only, 1 / sum(sizes))
        rises.append(loss_of(smaller, split) - loss_of(net, split))
    scores = scores_by_hand(net, split, order)[drawn]
    expected = spearmanr(scores, rises).statistic
    assert found.correlations[order] == pytest.approx(expected, abs=0.02)


def test_ranks_of_ties_are_scipys():
    values, others = np.array([0, 2, 2, 0, 5, 1.0]), np.array([3, 1, 1, 1, 4, 0.0])
    both = np.stack([after_view.ranks_of(values), after_view.ranks_of(others)])
    assert after_view.correlation(both) == pytest.approx(spearmanr(values, others).statistic)
    assert after_view.correlation(np.stack([np.ones(6), both[0]])) == 0


def test_a_rescaled_network_computes_the_same_and_only_magnitude_sees_it(a_lab, digits):
    one, other = (shown(a_lab, network="ReLU", rescaled=by) for by in ("no", "30x"))
    nets = [a_lab.network(found.case) for found in (one, other)]
    images = digits.validation.images[:50]
    with torch.no_grad():
        assert torch.allclose(nets[0](images), nets[1](images), atol=1e-3)
    assert (nets[1].fc1.weight / nets[0].fc1.weight).log().abs().max() > 1
    for order in ("OBD", "gradient"):
        assert one.curves[order].actual == pytest.approx(other.curves[order].actual, abs=1e-4)
    magnitudes = [found.curves["magnitude"].actual for found in (one, other)]
    assert abs(magnitudes[0] - magnitudes[1]).max() > 5e-3


def test_a_tanh_network_is_not_rescaled(a_lab):
    assert shown(a_lab, rescaled="30x").case == Case()


# --- before training -----------------------------------------------------------------------


def initial_of(digits):
    return arms.initial(SEEDS[0]), arms.scored(digits.train, SEEDS[0])


def masks_by_hand(digits, method, compression):
    net, few = initial_of(digits)
    w = weights_of(net)
    if method == "magnitude":
        scores = flat(w).abs()
    else:
        loss = F.cross_entropy(net(few.images), few.labels)
        scores = (flat(torch.autograd.grad(loss, w)) * flat(w)).abs()
    _, gone = deleted_by_hand(net, scores, 1 - 1 / compression)
    return [~m.view(x.shape) for m, x in zip(gone.split([x.numel() for x in w]), w, strict=True)]


@pytest.mark.parametrize("compression", [10**1.4, 100])
@pytest.mark.parametrize("method", ["magnitude", "SNIP"])
def test_what_is_left_in_each_layer_is_counted(a_lab, digits, method, compression):
    found = shown(a_lab, BEFORE, method=method, compression=compression)
    first, second, third = masks = masks_by_hand(digits, method, compression)
    assert found.kept.tolist() == [int(mask.sum()) for mask in masks]
    assert found.sizes.tolist() == [235_200, 30_000, 1_000]
    into = first.double().sum(1)  # paths from the input to each unit of the first hidden layer
    beyond = third.double().sum(0)  # and from each of the second to the output
    assert found.paths == (second.double() @ into) @ beyond
    on = second.double().T @ beyond > 0, second.double() @ into > 0, beyond > 0, into > 0
    assert found.live.tolist() == [
        int((first & on[0][:, None]).sum()),
        int((second & on[3][None, :] & on[2][:, None]).sum()),
        int((third & on[1][None, :]).sum()),
    ]


def test_the_scores_of_synflow_are_the_same_in_each_layer_and_at_each_unit(a_lab):
    for steps, compression in ((1, 1), (10, 10**1.4), (10, 100)):
        found = shown(a_lab, BEFORE, method="SynFlow", steps=steps, compression=compression)
        assert found.shares == pytest.approx([1 / 3] * 3, rel=1e-4)
    assert found.into == pytest.approx(found.out, rel=1e-4)
    assert len(found.into) == 400 and found.first == 300
    other = shown(a_lab, BEFORE, method="SNIP", compression=1)
    assert abs(other.shares - 1 / 3).max() > 0.05


def test_the_scores_of_a_unit_are_those_of_its_row_and_its_column(a_lab, digits):
    found = shown(a_lab, BEFORE, method="magnitude")
    net, _ = initial_of(digits)
    one, two, three = (w.detach().abs() for w in weights_of(net))
    into, out = torch.cat([one.sum(1), two.sum(1)]), torch.cat([two.sum(0), three.sum(0)])
    largest = max(into.max(), out.max())
    assert found.into == pytest.approx((into / largest).numpy(), rel=1e-4)
    assert found.out == pytest.approx((out / largest).numpy(), rel=1e-4)


def test_scores_are_taken_anew_in_what_is_left(a_lab, digits):
    found = shown(a_lab, BEFORE, method="SNIP", compression=100)
    masks = masks_by_hand(digits, "SNIP", 100)
    net, few = initial_of(digits)
    for weight, mask in zip(weights_of(net), masks, strict=True):
        weight.data *= mask
    loss = F.cross_entropy(net(few.images), few.labels)
    gradients = torch.autograd.grad(loss, weights_of(net))
    sums = [(g * w).abs().sum().item() for g, w in zip(gradients, weights_of(net), strict=True)]
    assert found.sums == pytest.approx(sums, rel=1e-4)


def test_synflow_in_steps_keeps_a_weight_in_each_layer_and_in_one_step_it_does_not(a_lab):
    few = shown(a_lab, BEFORE, method="SynFlow", steps=10, compression=100)
    assert few.kept.all() and few.paths > 0 and few.collapses == 1e5
    once = shown(a_lab, BEFORE, method="SynFlow", compression=100)
    assert once.empty == ("fc1",) and once.collapses <= 100 and once.paths == 0
    assert "fc1 is empty" in view.summarise(once)


def test_steps_count_only_where_a_method_takes_them(a_lab):
    first, second = (shown(a_lab, BEFORE, method="magnitude", steps=s) for s in (1, 10))
    assert first.steps == second.steps == 1 and (first.kept == second.kept).all()
    first, second = (shown(a_lab, BEFORE, method="SNIP", steps=s, compression=100) for s in (1, 10))
    assert (first.kept != second.kept).any()


def test_a_compression_between_the_stops_is_the_nearest(a_lab):
    assert shown(a_lab, BEFORE, compression=80.0).compression == 100


def test_accuracies_are_those_of_trained_arms(a_lab, digits):
    trained = shown(a_lab, BEFORE).trained
    for control, shares in (("as chosen", arms.SHARES), ("shuffled", arms.CONTROLLED)):
        found = trained["SNIP", control]
        assert found.shares.tolist() == list(shares)
        right = [arms.accuracy_of(digits, "SNIP", 1 - shares[0], control, s) for s in SEEDS]
        assert found.right[:, 0] == pytest.approx(100 * np.array(right))
    whole = [arms.accuracy_of(digits, "magnitude", 0.0, "as chosen", s) for s in SEEDS]
    assert a_lab.dense == pytest.approx(100 * np.array(whole))
    assert ("random", "shuffled") not in trained


# --- mine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["OBD", "magnitude"])
def test_a_right_saliency_of_mine_changes_nothing(a_lab, order):
    obd_saliency.answer(lambda weight, diagonal: weight**2 * diagonal / 2)
    mine, reference = (shown(a_lab, order=order, source=s) for s in ("mine", "reference"))
    assert mine.mine and "by your function" in view.summarise(mine)
    for by in deletions.ORDERS:
        assert mine.curves[by].actual == pytest.approx(reference.curves[by].actual, abs=1e-5)
    assert mine.shown.predicted == pytest.approx(reference.shown.predicted, rel=1e-3, abs=1e-6)
    assert mine.correlations == pytest.approx(reference.correlations)


def test_mine_shows_what_the_students_bug_does(a_lab):
    reference = shown(a_lab)
    obd_saliency.answer(lambda weight, diagonal: weight**2 * diagonal)
    double = shown(a_lab, source="mine")
    assert double.shown.predicted == pytest.approx(2 * reference.shown.predicted, rel=1e-3)
    assert double.shown.actual == pytest.approx(reference.shown.actual, abs=1e-5)
    obd_saliency.answer(lambda weight, diagonal: -(weight**2) * diagonal / 2)
    turned = shown(a_lab, source="mine")
    assert turned.correlations["OBD"] == pytest.approx(-reference.correlations["OBD"], abs=1e-6)
    assert turned.shown.actual[turned.stop] > reference.shown.actual[reference.stop]
    assert (turned.band == turned.shown.actual).all()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda w, h: None, "tensor of the weight's shape; yours gave NoneType"),
        (lambda w, h: (h * w**2).sum(), r"tensor of the weight's shape; yours gave shape \(\)"),
        (lambda w, h: w / (h * 0), "NaN or infinite"),
    ],
)
def test_what_is_no_saliency_is_told(a_lab, answer, words):
    obd_saliency.answer(answer)
    with pytest.raises(ExerciseError, match=words):
        shown(a_lab, source="mine")


def test_a_function_that_changes_its_inputs_changes_nothing_else(a_lab):
    before = [w.clone() for w in weights_of(a_lab.network(Case()))]
    obd_saliency.answer(lambda weight, diagonal: weight.zero_())
    shown(a_lab, source="mine")
    after = weights_of(a_lab.network(Case()))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


# --- what the button does ------------------------------------------------------------------


def spied(monkeypatch):
    trained = []
    real = lab.train_masked

    def spy(net, masks, split, **options):
        start = copy.deepcopy(net)
        done = real(net, masks, split, **options)
        trained.append((start, net, masks))
        return done

    monkeypatch.setattr(lab, "train_masked", spy)
    return trained


def test_after_training_it_trains_on_what_is_left(a_lab, digits, monkeypatch):
    trained = spied(monkeypatch)
    calls = run_through(a_lab.work, values(order="magnitude"))
    ((start, net, masks),), (run,) = trained, a_lab.runs
    assert calls and calls[-1][0] == calls[-1][1] == run.steps
    whole = deleting.network_of(Case(), digits, SEEDS[0])
    by_hand, gone = deleted_by_hand(whole, flat(weights_of(whole)).abs(), 0.6)
    for one, other in zip(start.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(flat(masks.values()), ~gone)
    assert not flat(weights_of(net))[gone].any()
    found = shown(a_lab, order="magnitude")
    assert run.before == pytest.approx(found.shown.right[found.stop])
    asked = Split(digits.validation.images[:60], digits.validation.labels[:60])
    assert run.accuracy == share_right(net, asked) and found.runs == (run,)
    assert shown(a_lab, network="ReLU").runs == () == shown(a_lab, BEFORE).runs


@pytest.mark.parametrize(("order", "told"), [("OBD", True), ("magnitude", False)])
def test_a_run_is_by_the_students_saliencies_in_their_order_alone(a_lab, order, told):
    obd_saliency.answer(lambda weight, diagonal: weight**2 * diagonal / 2)
    run_through(a_lab.work, values(order=order, source="mine"))
    (run,) = a_lab.runs
    assert run.mine is told
    shown_run = view.summarise(shown(a_lab, order=order)).split("<br>")[0]
    assert ("your saliencies" in shown_run) is told


def test_before_training_it_is_an_arm_as_those_beforehand(a_lab, digits):
    run_through(a_lab.work, values(BEFORE, method="SynFlow", steps=10, compression=100.0))
    (run,) = a_lab.runs
    expected = arms.accuracy_of(digits, "SynFlow", 0.99, "as chosen", SEEDS[0])
    assert run.accuracy == expected and not run.stopped
    assert shown(a_lab, BEFORE, method="SynFlow").runs == (run,)
    assert shown(a_lab, BEFORE).runs == () == shown(a_lab).runs


@pytest.mark.parametrize("question", lab.QUESTIONS)
@pytest.mark.parametrize("step", [0, 1])
def test_a_stopped_run_is_kept_and_marked(a_lab, question, step):
    run_until(a_lab.work, values(question), step)
    (run,) = a_lab.runs
    assert run.stopped and run.steps == step
    assert f"{step} steps, stopped" in view.summarise(shown(a_lab, question))


def test_where_no_path_is_left_training_learns_at_most_one_answer(a_lab, digits, monkeypatch):
    trained = spied(monkeypatch)
    run_through(a_lab.work, values(BEFORE, method="SynFlow", compression=100.0))
    ((_, net, _),) = trained
    with torch.no_grad():
        assert len(set(net(digits.validation.images).argmax(1).tolist())) == 1


# --- what is hidden, and the picture -------------------------------------------------------


def test_what_has_no_effect_is_hidden():
    def hidden(*question, **changed):
        return lab.without_effect(values(*question, **changed))

    before = {"compression", "method", "steps"}
    assert hidden() == before | {"rescaled"} and hidden(network="ReLU") == before
    after = {"deleted", "order", "network", "trained", "rescaled", "source"}
    assert hidden(BEFORE) == after and hidden(BEFORE, method="GraSP") == after | {"steps"}


def artists_of(explorer, **values):
    explorer.move(**values)
    assert explorer.error is None
    return explorer._picture._artists, explorer.result


def test_the_artists_after_training_are_where_the_view_says(explorer, controls):
    artists, found = artists_of(explorer, question=AFTER, deleted=60, order="magnitude")
    rise, right, at = artists["rise"], artists["right"], found.stop
    assert rise["marker"].get_xydata().tolist() == [[60, found.shown.actual[at]]]
    assert rise["expected"].get_xydata().tolist() == [[60, found.shown.predicted[at]]]
    for order, line in rise["lines"].items():
        assert line.get_ydata() == pytest.approx(found.curves[order].actual)
        assert right["lines"][order].get_ydata() == pytest.approx(100 * found.curves[order].right)
    widths = {order: line.get_linewidth() for order, line in rise["lines"].items()}
    assert max(widths, key=widths.get) == "magnitude"
    assert artists["ranks"]["points"].get_xydata() == pytest.approx(found.ranks.T)
    assert "60 % deleted in the order of magnitude" in artists["title"].get_text()


def test_the_artists_before_training_are_where_the_view_says(explorer, controls):
    moved = {"question": BEFORE, "method": "SynFlow", "compression": 100.0, "steps": 1}
    artists, found = artists_of(explorer, **moved)
    words = [text.get_text() for text in artists["layers"]["words"]]
    assert words[0] == "fc1: empty" and words[1] == f"fc2: {found.kept[1]:,.0f} kept, 0 live"
    assert [bar.get_width() for bar in artists["layers"]["live"]] == [0, 0, 0]
    assert "fc1 is empty" in artists["title"].get_text()
    assert artists["right"]["here"].get_xdata() == [100, 100]
    assert artists["right"]["gone"].get_x() == found.collapses
    marks = artists["right"]["marks"]["shuffled"].get_xydata()
    trained = found.trained["SynFlow", "shuffled"]
    assert marks == pytest.approx(np.stack([1 / trained.shares, trained.right.mean(0)], 1))
    artists, found = artists_of(explorer, steps=10)
    assert [bar.get_height() for bar in artists["sums"]["bars"]] == pytest.approx([100 / 3] * 3)
    widths = [bar.get_width() + bar.get_x() for bar in artists["layers"]["kept"]]
    assert widths == pytest.approx(found.kept)
    gone = artists_of(explorer, method="random", compression=1.0)[0]["right"]["gone"]
    assert gone.get_visible() == (explorer.result.collapses is not None)


def test_runs_have_their_marks(explorer, controls):
    _, found = artists_of(explorer, question=AFTER, deleted=60)
    run = after_view.AfterRun(Case(), "OBD", False, 0.4, 0.2, 0.9, steps=7, stopped=False)
    stopped = after_view.AfterRun(Case(), "OBD", True, 0.6, 0.2, 0.8, steps=2, stopped=True)
    figure.update(
        explorer._picture._artists,
        after_view.AfterView(**{**vars(found), "runs": (run, stopped)}),
    )
    runs = explorer._picture._artists["right"]["runs"]
    assert runs["trained on"].get_xydata().tolist() == [[40, 90]]
    assert runs["stopped on the way"].get_xydata().tolist() == [[60, 80]]
    _, found = artists_of(explorer, question=BEFORE)
    run = before_view.BeforeRun("SynFlow", 1, 100.0, 0.5, steps=7, stopped=False)
    figure.update(
        explorer._picture._artists, before_view.BeforeView(**{**vars(found), "runs": (run,)})
    )
    runs = explorer._picture._artists["right"]["runs"]
    assert runs["trained here"].get_xydata().tolist() == [[100, 50]]


def test_the_words_hold_the_numbers(a_lab):
    found = shown(a_lab)
    words = view.summarise(found)
    for text in (
        "<b>60 % of the weights deleted, in the order of OBD</b>",
        f"changes by <b>{found.shown.actual[found.stop]:+.3g}</b>",
        f"predicted <b>{found.shown.predicted[found.stop]:+.3g}</b>",
        f"OBD {found.correlations['OBD']:.3f}",
    ):
        assert text in words
    found = shown(a_lab, BEFORE, method="random", compression=100.0)
    words = view.summarise(found)
    left = f"{found.kept.sum():,.0f} of 266,200 weights stay: fc1 {found.kept[0]:,.0f} of 235,200"
    assert left in words


def test_a_verdict_tells_what_is_empty_and_whether_a_path_is_left(a_lab):
    found = shown(a_lab, BEFORE, method="SNIP")

    def verdict(**changed):
        return before_view.verdict(before_view.BeforeView(**{**vars(found), **changed}))

    assert verdict(kept=np.array([0, 2, 0])) == "fc1 and fc3 are empty"
    assert verdict(paths=0.0) == "no layer is empty, and no path is left"
    assert verdict(paths=1.0) == "no layer is empty, and 1 path leads through"
    assert verdict(paths=1200.0) == "no layer is empty, and 1,200 paths lead through"
