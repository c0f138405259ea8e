"""Pruning before training: who chooses what, the controls, and how far each method can go."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from shrink import pruning
from shrink.chapters.saliency import arms
from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.classroom.training import accuracy

IMAGES = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(30) % 10
ORDERED = [("SynFlow", 1), ("SynFlow", 40), ("SNIP", 1), ("SNIP", 7), ("random", 3)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """SynFlow in three steps, and networks that are not trained."""
    for name, value in {"STEPS": 3, "ORDER_STEPS": 3, "EPOCHS": 0}.items():
        monkeypatch.setattr(arms, name, value)


@pytest.fixture(scope="module")
def few():
    """So few digits that a training takes a moment."""
    whole = data.load("digits", announce=False)
    part = Split(whole.train.images[:256], whole.train.labels[:256])
    return replace(whole, train=part)


@pytest.fixture(scope="module")
def net():
    return arms.initial(4)


def weights_of(net):
    return {name: p.detach() for name, p in net.named_parameters() if p.dim() == 2}


def gradients(net):
    net.zero_grad()
    F.cross_entropy(net(IMAGES), LABELS).backward()
    return {name: net.get_parameter(name).grad.clone() for name in weights_of(net)}


def chosen(method, net, sparsity, **options):
    return arms.masks_by(method, net, IMAGES, LABELS, sparsity, **{"seed": 4} | options)


def ordered(method, net, steps=None):
    return arms.order_by(method, net, IMAGES, LABELS, seed=4, steps=steps)


def kept_of(masks):
    return [int(mask.sum()) for mask in masks.values()]


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def largest(scores, sparsity):
    """By hand: the masks of the largest scores."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    threshold = flat.sort().values[round(sparsity * len(flat))]
    return {name: score >= threshold for name, score in scores.items()}


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_magnitude_and_snip_keep_the_largest_of_what_they_say(net, sparsity):
    magnitudes = {name: w.abs() for name, w in weights_of(net).items()}
    assert same(chosen("magnitude", net, sparsity), largest(magnitudes, sparsity))
    moved = {name: (g * weights_of(net)[name]).abs() for name, g in gradients(net).items()}
    mine, oracle = chosen("SNIP", net, sparsity), largest(moved, sparsity)
    differ = sum(int((mine[name] != oracle[name]).sum()) for name in mine)
    assert differ < 20 and sum(kept_of(mine)) == 266_200 - round(sparsity * 266_200)


def test_grasp_removes_what_lowers_the_gradient_least(net):
    """Without the weights that go first the gradient is larger than without those that go last."""

    def without(scores, largest_go):
        flat = torch.cat([score.flatten() for score in scores.values()])
        order = flat.argsort(descending=largest_go)[:50]
        gone = torch.ones_like(flat, dtype=bool).index_fill(0, order, False)
        parts = gone.split([score.numel() for score in scores.values()])
        twin = arms.initial(4)
        for part, w in zip(parts, weights_of(twin).values(), strict=True):
            w.mul_(part.view(w.shape))
        loss = F.cross_entropy(twin(IMAGES) / 200, LABELS)
        return sum(
            float(g.square().sum())
            for g in torch.autograd.grad(loss, [twin.get_parameter(n) for n in scores])
        )

    scores = ordered("GraSP", net)
    assert without(scores, largest_go=False) > without(scores, largest_go=True)


def test_synflow_takes_a_hundred_steps_and_the_others_one(net, monkeypatch):
    asked, score = [], arms.scores_by

    def counted(method, *args, **options):
        asked.append(method)
        return score(method, *args, **options)

    monkeypatch.setattr(arms, "scores_by", counted)
    for method in arms.METHODS:
        chosen(method, net, 0.9)
    assert [asked.count(method) for method in arms.METHODS] == [1, 1, 1, 1, 100]
    asked.clear()
    chosen("SNIP", net, 0.9, steps=3)
    assert asked == ["SNIP"] * 3


@pytest.mark.parametrize("seed", [0, 4])
def test_random_scores_have_nothing_to_do_with_the_weights_of_that_seed(seed):
    net = arms.initial(seed)
    scores = arms.scores_by("random", net, IMAGES, LABELS, seed=seed)
    for name, weight in weights_of(net).items():
        both = torch.stack([scores[name].flatten(), weight.flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < 4 / weight.numel() ** 0.5
    again, other = (arms.scores_by("random", net, IMAGES, LABELS, seed=s) for s in (seed, seed + 1))
    assert same(scores, again) and not same(scores, other)


def test_the_network_is_left_as_it_was(net):
    before = arms.initial(4).state_dict()
    for method in arms.METHODS:
        ordered(method, net, steps=2)
        chosen(method, net, 0.5, steps=2)
    assert same(before, net.state_dict())


@pytest.mark.parametrize(("method", "steps"), ORDERED)
def test_an_order_gives_the_masks_after_every_one_of_its_steps(net, method, steps):
    """What goes up to a step is what a run of these steps alone would prune."""
    order, n = ordered(method, net, steps), 266_200
    for step in {1, steps // 2, steps} - {0}:
        final = 1 - 1 / n if steps > 1 else 0.9
        sparsity = 1 - (1 - final) ** (step / steps)
        alone = chosen(method, net, sparsity, steps=step)
        assert same(pruning.masks_from_scores(order, sparsity), alone)


def test_an_order_in_steps_counts_all_weights(net):
    order = torch.cat([part.flatten() for part in ordered("SynFlow", net, 40).values()])
    assert order.sort().values[:-1].equal(torch.arange(266_199).double())
    assert order.max() == 266_200  # the last is still there


@pytest.mark.parametrize("method", ["magnitude", "SNIP", "GraSP", "random"])
def test_above_the_critical_compression_a_layer_is_empty_and_at_it_none(net, method):
    order = ordered(method, net)
    kept = round(266_200 / arms.critical(order))
    at, above = (
        kept_of(pruning.masks_from_scores(order, 1 - k / 266_200)) for k in (kept, kept - 1)
    )
    assert min(at) > 0 == min(above) and sum(at) == kept


def test_synflow_goes_as_far_as_one_weight_for_each_layer(net):
    assert arms.critical(ordered("SynFlow", net)) == pytest.approx(266_200 / 3)
    assert arms.critical(ordered("SynFlow", net, steps=1)) < 100


def test_what_is_left_is_counted(net):
    masks = {name: torch.zeros_like(w, dtype=bool) for name, w in weights_of(net).items()}
    for name, places in {
        "fc1.weight": [(0, 3), (0, 4), (7, 5)],
        "fc2.weight": [(2, 0), (9, 0), (9, 8)],
        "fc3.weight": [(1, 9)],
    }.items():
        for place in places:
            masks[name][place] = True
    left = arms.left_by(net, masks)
    assert left.weights == {"fc1.weight": 3, "fc2.weight": 3, "fc3.weight": 1}
    assert left.paths == 2 and left.empty == ()
    masks["fc3.weight"][1, 9] = False
    cut = arms.left_by(net, masks)
    assert cut.empty == ("fc3.weight",) and cut.paths == 0


def test_controls_change_places_or_values_and_nothing_else(net):
    masks = chosen("SNIP", net, 0.95)
    nets, theirs = zip(*(arms.controlled(c, masks, 4) for c in arms.CONTROLS), strict=True)
    assert same(nets[0].state_dict(), net.state_dict()) and same(theirs[0], masks)
    assert same(nets[1].state_dict(), net.state_dict())
    assert kept_of(theirs[1]) == kept_of(masks)
    for name, mask in masks.items():
        both = int((mask & theirs[1][name]).sum())
        share = int(mask.sum()) / mask.numel()
        assert both == pytest.approx(share * int(mask.sum()), rel=0.25, abs=12)
    assert same(theirs[2], masks)
    anew = torch.stack([nets[2].fc1.weight.flatten(), net.fc1.weight.flatten()])
    assert abs(torch.corrcoef(anew)[0, 1]) < 0.01


def test_images_to_score_are_drawn_from_the_seed():
    split = Split(torch.arange(50.0).view(50, 1, 1, 1).expand(50, 1, 28, 28), torch.arange(50))
    first, again, other = (arms.scored(split, seed, 20) for seed in (0, 0, 1))
    assert first.labels.equal(again.labels) and not first.labels.equal(other.labels)
    assert len(set(first.labels.tolist())) == 20
    assert first.images[:, 0, 0, 0].long().equal(first.labels)


def test_an_arm_is_trained_under_its_masks_and_its_accuracy_kept(few, quick, monkeypatch):
    monkeypatch.setattr(arms, "EPOCHS", 3)
    net = arms.trained_arm(few, "SynFlow", 0.9, "shuffled", 1)
    zeros = [int((w == 0).sum()) for w in weights_of(net).values()]
    assert sum(zeros) == pytest.approx(0.9 * 266_200, abs=20)
    found = arms.accuracy_of(few, "SynFlow", 0.9, "shuffled", 1)
    assert found == accuracy(net, few.validation) and found > 0.3
    monkeypatch.setattr(arms, "new_bar", lambda *_, **__: pytest.fail("made again"))
    assert arms.accuracy_of(few, "SynFlow", 0.9, "shuffled", 1) == found
    row = arms.accuracies(few, "SynFlow", "shuffled", [0.1], 1)
    assert row.tolist() == [100 * found]


def test_another_seed_method_sparsity_or_control_is_trained_anew(few, cache, quick):
    plain = ("magnitude", 0.9, "as chosen", 0)
    changes = {0: "random", 1: 0.8, 2: "shuffled", 3: 1}
    for place, value in itertools.chain([(0, "magnitude")], changes.items()):
        asked = list(plain)
        asked[place] = value
        arms.accuracy_of(few, *asked)
    assert len(list(cache.rglob("arms-*.safetensors"))) == 5


def test_critical_compressions_are_those_of_the_initial_network(few, net, cache):
    found = arms.critical_of(few, "magnitude", 4)
    assert found == arms.critical({name: w.abs() for name, w in weights_of(net).items()})
    assert arms.critical_of(few, "magnitude", 4, steps=5) == pytest.approx(found, rel=0.01)
    assert len(list(cache.rglob("critical-*.safetensors"))) == 2


def test_all_that_is_prepared_is_made_once(few, cache, quick, monkeypatch):
    monkeypatch.setattr(arms, "SEEDS", (0,))
    monkeypatch.setattr(arms, "SHARES", (0.1, 0.05))
    monkeypatch.setattr(arms, "CONTROLLED", (0.05,))
    for make in arms.trainings(few):
        make()
    files = [path.name.split("-")[0] for path in cache.rglob("*.safetensors")]
    assert files.count("arms") == 5 * 2 + 4 * 2 and files.count("critical") == 7


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda net: chosen("OBD", net, 0.5), "'OBD'; there are random, magnitude"),
        (lambda net: arms.controlled("swapped", {}, 0), "'swapped'; there are as chosen, shuffled"),
    ],
)
def test_what_is_unknown_is_named(net, ask, words):
    with pytest.raises(ValueError, match=words):
        ask(net)


def test_random_masks_have_no_control(few):
    """New initial weights would be drawn from the numbers that are the random scores."""
    first = arms.scores_by("random", arms.initial(3), few.train.images, few.train.labels, seed=3)[
        "fc1.weight"
    ]
    anew = arms.controlled("re-initialised", {}, 3)[0].fc1.weight.detach()
    assert torch.corrcoef(torch.stack([first.flatten(), anew.flatten()]))[0, 1] > 0.99
    for control in arms.CONTROLS[1:]:
        with pytest.raises(ValueError, match=f"no control: '{control}'"):
            arms.accuracy_of(few, "random", 0.9, control, 3)
