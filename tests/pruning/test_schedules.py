"""When weights are pruned: growing masks, the cubic schedule, rounds; each layer's sensitivity."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink import pruning

LAYERS = {"a": (4, 5), "b": (7,), "c": (2, 3, 2)}
N = 39


def layers(seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(shape, generator=generator) for name, shape in LAYERS.items()}


def pruned(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


def flat(tensors):
    return np.concatenate([tensors[name].numpy().ravel() for name in LAYERS])


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10))
def test_masks_only_grow_and_take_the_smallest_of_what_is_left(first, second, seed):
    before = pruning.global_masks(layers(seed), first)
    weights = layers(seed + 1)  # training has changed every weight, those of the pruned too
    after = pruning.grow_masks(weights, before, second)
    assert not (flat(after) & ~flat(before)).any()
    assert pruned(after) == max(round(second * N), round(first * N))
    left, size = flat(before), np.abs(flat(weights))
    gone_now = left & ~flat(after)
    expected = np.sort(size[left])[: gone_now.sum()]
    assert np.array_equal(np.sort(size[gone_now]), expected)


def test_a_pruned_weight_goes_before_a_kept_one_that_is_zero():
    weights = {"w": torch.tensor([0.0, 5.0, 0.0, 1.0])}
    masks = {"w": torch.tensor([True, False, True, True])}
    assert pruning.grow_masks(weights, masks, 0.25)["w"].tolist() == [True, False, True, True]


def test_growing_gives_new_masks_and_changes_nothing():
    weights, masks = layers(), pruning.global_masks(layers(), 0.5)
    grown = pruning.grow_masks(weights, masks, 0.2)
    grown["a"].fill_(False)
    assert pruned(masks) == round(0.5 * N)
    assert torch.equal(weights["a"], layers()["a"])


def test_a_weight_without_a_mask_cannot_grow():
    masks = pruning.global_masks(layers(), 0.5)
    del masks["b"]
    with pytest.raises(ValueError, match="no mask for b"):
        pruning.grow_masks(layers(), masks, 0.6)
    with pytest.raises(ValueError, match=r"sparsity.*1\.2"):
        pruning.grow_masks(layers(), pruning.global_masks(layers(), 0.5), 1.2)


def test_shuffled_masks_keep_as_many_of_each_layer_elsewhere():
    masks = pruning.global_masks(layers(), 0.5)
    shuffled = pruning.shuffle_masks(masks, seed=1)
    for name, mask in masks.items():
        assert shuffled[name].shape == mask.shape
        assert shuffled[name].sum() == mask.sum()
    assert not np.array_equal(flat(shuffled), flat(masks))
    again = pruning.shuffle_masks(masks, seed=1)
    assert np.array_equal(flat(shuffled), flat(again))
    assert not np.array_equal(flat(shuffled), flat(pruning.shuffle_masks(masks, seed=2)))


def test_every_place_is_as_likely_to_be_kept():
    mask = {"w": torch.tensor([True, False, False, False])}
    kept = torch.stack([pruning.shuffle_masks(mask, seed)["w"] for seed in range(400)]).sum(0)
    assert kept.min() > 60 and kept.max() < 140  # 100 each, standard deviation 8.7


@given(st.integers(-50, 500), st.integers(0, 100), st.integers(1, 300))
def test_the_cubic_schedule_is_the_papers_equation_clamped_at_both_ends(step, begin, length):
    end = begin + length
    given_ = pruning.cubic_sparsity(step, begin=begin, end=end, initial=0.2, final=0.9)
    if step <= begin:
        assert given_ == pytest.approx(0.2)
    elif step >= end:
        assert given_ == 0.9
    else:
        paper = 0.9 + (0.2 - 0.9) * (1 - (step - begin) / (length * 1)) ** 3
        assert given_ == pytest.approx(paper, abs=1e-12)


def test_the_schedule_never_falls_and_slows_down():
    curve = np.array([pruning.cubic_sparsity(t, end=100, final=0.9) for t in range(101)])
    steps = np.diff(curve)
    assert (steps >= 0).all() and (np.diff(steps) <= 1e-12).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"begin": 5, "end": 5, "final": 0.5}, "5 after 5"),
        ({"end": 10, "final": 1.5}, "final=1.5"),
        ({"end": 10, "initial": 0.6, "final": 0.5}, "initial=0.6"),
        ({"end": 10, "initial": -0.1, "final": 0.5}, "initial=-0.1"),
        ({"end": 10, "final": math.nan}, "final=nan"),
    ],
)
def test_a_bad_schedule_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        pruning.cubic_sparsity(3, **arguments)


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.AdamW(p, lr=0.05),
}


class Task:
    """A linear regression whose weight's gradient is dense."""

    def __init__(self, optimizer):
        generator = torch.Generator().manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(6, 10, generator=generator))
        self.x = torch.randn(20, 10, generator=generator)
        self.y = torch.randn(20, 6, generator=generator)
        self.optimizer = OPTIMIZERS[optimizer]([self.weight])

    def step(self):
        loss = ((self.x @ self.weight.T - self.y) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradual_pruning_follows_the_schedule_and_never_revives(optimizer):
    task = Task(optimizer)
    schedule = [0.1, 0.1, 0.3, 0.9, 0.5, 0.6, 0.2, 0.8, 0.95]  # it falls in between
    counts, gone = [], torch.zeros(6, 10, dtype=torch.bool)
    weights = {"w": task.weight}
    with pruning.prune_gradually(
        weights, task.optimizer, lambda step: schedule[min(step, 8)], every=2
    ) as masks:
        counts.append(pruned(masks))
        for _ in range(8):
            task.step()
            assert not (gone & masks["w"]).any()
            gone = ~masks["w"].clone()
            assert not task.weight[gone].any()
            assert task.weight[~gone].all()
            counts.append(pruned(masks))
    assert counts == [6, 6, 18, 18, 30, 30, 30, 30, 57]


def test_after_gradual_pruning_no_hook_is_left_also_after_an_error():
    task = Task("momentum")
    with (
        pytest.raises(KeyboardInterrupt),
        pruning.prune_gradually({"w": task.weight}, task.optimizer, lambda step: 0.5),
    ):
        raise KeyboardInterrupt
    assert not task.optimizer._optimizer_step_post_hooks
    task.step()
    assert task.weight.all()


def test_gradual_pruning_refuses_before_it_changes_anything():
    task = Task("momentum")
    before = task.weight.detach().clone()
    for every, schedule, named in [(0, lambda t: 0.5, "every"), (1, lambda t: 1.5, "1.5")]:
        with (
            pytest.raises(ValueError, match=named),
            pruning.prune_gradually({"w": task.weight}, task.optimizer, schedule, every=every),
        ):
            pass
    assert torch.equal(task.weight, before) and not task.optimizer._optimizer_step_post_hooks


def test_the_masks_of_gradual_pruning_are_for_reading():
    task = Task("momentum")
    with (
        pruning.prune_gradually({"w": task.weight}, task.optimizer, lambda step: 0.5) as masks,
        pytest.raises(TypeError),
    ):
        masks["w"] = torch.ones(6, 10, dtype=torch.bool)


def test_a_new_mask_in_the_dict_is_held_from_the_next_step_on():
    task = Task("momentum")
    masks = {"w": torch.ones(6, 10, dtype=torch.bool)}
    with pruning.hold_masks({"w": task.weight}, masks, task.optimizer):
        task.step()
        assert task.weight.all()
        masks["w"] = torch.zeros(6, 10, dtype=torch.bool)
        task.step()
        assert not task.weight.any() and not task.weight.grad.any()


def test_rounds_rank_what_fine_tuning_left_and_never_revive():
    weights = layers()
    seen = []

    def fine_tune(masks):
        seen.append({name: mask.clone() for name, mask in masks.items()})
        for name, w in weights.items():
            w.copy_(layers(len(seen))[name])  # nothing held: what is pruned has a value again

    last = pruning.prune_iteratively(weights, [0.2, 0.5, 0.5, 0.9], fine_tune)
    assert [pruned(masks) for masks in seen] == [round(s * N) for s in (0.2, 0.5, 0.5, 0.9)]
    assert all(not (flat(b) & ~flat(a)).any() for a, b in itertools.pairwise(seen))
    assert np.array_equal(flat(last), flat(seen[-1]))
    ranked = np.abs(flat(layers(3)))[flat(seen[2])]  # the fourth ranking saw the third's weights
    kept = np.abs(flat(layers(3)))[flat(seen[3])]
    assert np.array_equal(np.sort(ranked)[-len(kept) :], np.sort(kept))


def test_bad_rounds_are_named_before_anything_is_trained():
    def fine_tune(masks):
        raise AssertionError("trained")

    for rounds, named in [([0.5, 0.4], "0.5 to 0.4"), ([0.5, 1.5], "1.5"), ([0.1, "0.5"], "0.5")]:
        with pytest.raises((ValueError, TypeError), match=named):
            pruning.prune_iteratively(layers(), rounds, fine_tune)
    assert pruned(pruning.prune_iteratively(layers(), [], fine_tune)) == 0


def test_sensitivity_prunes_one_layer_at_a_time_and_leaves_the_others_whole():
    weights, calls = layers(), []

    def evaluate(given_):
        calls.append({name: w.clone() for name, w in given_.items()})
        return len(calls)

    curves = pruning.sensitivity(weights, evaluate, [0.9, 0, 0.5])
    assert curves == {"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]}
    for i, call in enumerate(calls):
        layer, sparsity = list(LAYERS)[i // 3], (0.9, 0, 0.5)[i % 3]
        for name, w in layers().items():
            share = sparsity if name == layer else 0
            order = np.abs(w.numpy().ravel()).argsort()[round(share * w.numel()) :]
            expected = np.zeros(w.numel(), np.float32)
            expected[order] = w.numpy().ravel()[order]
            assert np.array_equal(call[name].numpy().ravel(), expected)


def test_an_evaluation_that_changes_what_it_is_given_harms_nothing():
    weights = layers()

    def evaluate(given_):
        total = sum(float(w.sum()) for w in given_.values())
        for w in given_.values():
            w.zero_()
        return total

    curves = pruning.sensitivity(weights, evaluate, [0, 0])
    assert all(total == curves["a"][0] for curve in curves.values() for total in curve)
    assert torch.equal(weights["a"], layers()["a"])


def test_sparsities_may_come_one_after_the_other():
    def left(weights):
        return float(sum(w.abs().sum() for w in weights.values()))

    one_by_one = pruning.sensitivity(layers(), left, (s for s in (0.2, 0.5)))
    assert one_by_one == pruning.sensitivity(layers(), left, [0.2, 0.5])


def test_bad_sparsities_are_named_before_anything_is_evaluated():
    with pytest.raises(ValueError, match=r"1\.1"):
        pruning.sensitivity(layers(), lambda given_: pytest.fail("evaluated"), [0.5, 1.1])
