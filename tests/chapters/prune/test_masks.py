"""The exercises of chapter 02 on masks: right answers pass, each wrong one is told why."""

import copy
import re

import numpy as np
import pytest
import torch

from shrink import pruning
from shrink.chapters import prune
from shrink.classroom.exercises.exercise import Exercise
from tests import depth
from tests.chapters.judging import judge

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
REBUILT = {"magnitude_mask": prune.magnitude_mask, "global_masks": prune.global_masks}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in (*REBUILT.values(), prune.break_the_masks):
        exercise.student, exercise.passed = None, False


# --- right answers -------------------------------------------------------------------------


def _number(weight, sparsity):
    return round(sparsity * weight.numel())


def by_argsort(weight, sparsity):
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[weight.detach().abs().flatten().argsort()[: _number(weight, sparsity)]] = False
    return mask.view(weight.shape)


def last_ties_go_first(weight, sparsity):
    backwards = weight.detach().abs().flatten().flip(0)
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[backwards.argsort(stable=True)[: _number(weight, sparsity)]] = False
    return mask.flip(0).reshape(weight.shape)


def by_topk_of_the_smallest(weight, sparsity):
    flat = weight.abs().reshape(-1)
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[torch.topk(flat, _number(weight, sparsity), largest=False).indices] = False
    return mask.reshape(weight.shape)


def by_topk_of_the_largest(weight, sparsity):
    flat = weight.abs().flatten()
    mask = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    mask[torch.topk(flat, flat.numel() - _number(weight, sparsity)).indices] = True
    return mask.view_as(weight)


def by_numpy(weight, sparsity):
    size = np.abs(weight.detach().cpu().numpy())
    mask = np.ones(size.size, dtype=bool)
    mask[np.argsort(size, axis=None)[: round(sparsity * size.size)]] = False
    return torch.from_numpy(mask.reshape(size.shape)).to(weight.device)


def by_kthvalue(weight, sparsity):
    k = _number(weight, sparsity)
    if k == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    flat = weight.detach().abs().flatten()
    threshold = flat.kthvalue(k).values
    mask = flat > threshold
    spare = flat.numel() - k - int(mask.sum())
    mask[(flat == threshold).nonzero().flatten()[:spare]] = True
    return mask.view(weight.shape)


def by_rank(weight, sparsity):
    rank = weight.abs().flatten().argsort().argsort()
    return (rank >= _number(weight, sparsity)).view(weight.shape)


def by_counting(weight, sparsity):
    flat = weight.detach().cpu().abs().flatten().tolist()
    order = sorted(range(len(flat)), key=flat.__getitem__)
    gone = set(order[: round(sparsity * len(flat))])
    mask = torch.tensor([i not in gone for i in range(len(flat))], device=weight.device)
    return mask.view(weight.shape)


RIGHT = [
    by_argsort,
    last_ties_go_first,
    by_topk_of_the_smallest,
    by_topk_of_the_largest,
    by_numpy,
    by_kthvalue,
    by_rank,
    by_counting,
]


def over_all(one_mask):
    """A function of one tensor as a function of all, laid end to end."""

    def global_masks(weights, sparsity):
        mask = one_mask(torch.cat([w.detach().flatten() for w in weights.values()]), sparsity)
        masks, start = {}, 0
        for name, weight in weights.items():
            masks[name] = mask[start : start + weight.numel()].view(weight.shape)
            start += weight.numel()
        return masks

    return global_masks


@pytest.mark.parametrize("name", REBUILT)
def test_the_reference_is_right_on_all_inputs(name):
    exercise = REBUILT[name]
    assert exercise.reference is getattr(pruning, name)
    for seed in SEEDS:
        assert judge(exercise, exercise.reference, seed).state == "done"


@pytest.mark.parametrize("function", RIGHT)
def test_other_right_answers_pass(function):
    for seed in FEW_SEEDS:
        for exercise, answer in (
            (prune.magnitude_mask, function),
            (prune.global_masks, over_all(function)),
        ):
            outcome = judge(exercise, answer, seed)
            assert outcome.state == "done", outcome.message


# --- known mistakes ------------------------------------------------------------------------


def _alike(function, mistake, calls):
    return all(_equal(_outcome(function, args), _outcome(mistake, args)) for args in calls)


def _outcome(function, args):
    try:
        return function(*copy.deepcopy(args))
    except Exception as error:
        return type(error)


def _equal(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and all(_equal(a[name], b[name]) for name in a)
    return a.equal(b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a is b


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in REBUILT.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    """Or with the hint of another mistake that answers just the same on every call made."""
    own = 0
    for seed in SEEDS:
        calls = []

        def answer(*args, calls=calls):
            calls.append(copy.deepcopy(args))
            return mistake.function(*args)

        outcome = judge(exercise, answer, seed)
        assert outcome.state == "wrong", f"seed {seed} lets it pass"
        hint = re.search(r"^  hint:     (.*)$", outcome.message, re.MULTILINE)
        assert hint, outcome.message
        (given,) = (m for m in exercise.mistakes if m.hint == hint[1])
        assert given is mistake or _alike(given.function, mistake.function, calls)
        own += given is mistake
    assert own >= 0.9 * len(SEEDS)


@pytest.mark.parametrize("name", REBUILT)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(name):
    mistakes = REBUILT[name].mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


# --- other wrong answers -------------------------------------------------------------------


def _float_mask(weight, sparsity):
    return by_argsort(weight, sparsity).float()


def _nothing(weight, sparsity):
    by_argsort(weight, sparsity)


def _list(weight, sparsity):
    return by_argsort(weight, sparsity).tolist()


def _array(weight, sparsity):
    return by_argsort(weight, sparsity).cpu().numpy()


def _flattened(weight, sparsity):
    return by_argsort(weight, sparsity).flatten()


def _with_one_more_axis(weight, sparsity):
    return by_argsort(weight, sparsity).unsqueeze(0)


def _pruned_weight(weight, sparsity):
    return weight * by_argsort(weight, sparsity)


def _prunes_the_input(weight, sparsity):
    mask = by_argsort(weight, sparsity)
    weight.data[~mask] = 0
    return mask


def _no_parameters(weight, sparsity):
    mask = np.ones(weight.numel(), dtype=bool)
    mask[np.argsort(np.abs(weight.numpy()).ravel())[: _number(weight, sparsity)]] = False
    return torch.from_numpy(mask).view(weight.shape)


def _raises(weight, sparsity):
    raise ValueError("no idea")


def _one_row_at_a_time(weight, sparsity):
    return torch.stack([by_argsort(row, sparsity) for row in weight])


def _contiguous_only(weight, sparsity):
    return by_argsort(weight.view(-1), sparsity).view(weight.shape)


def _everything(weight, sparsity):
    return torch.ones_like(weight, dtype=torch.bool)


def _random(weight, sparsity):
    return by_argsort(
        torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)), sparsity
    )


WRONG_MASKS = {
    _float_mask: "a mask is a bool tensor.*given: +torch.float32",
    _nothing: "a mask is a tensor.*given: +None",
    _list: r"a mask is a tensor.*given: +\[",
    _array: r"a mask is a tensor.*given: +array\(",
    _flattened: r"shape and device of its weight.*\(4, 4\).*\(16,\)",
    _with_one_more_axis: r"shape and device of its weight.*\(4, 4\).*\(1, 4, 4\)",
    _pruned_weight: "a mask is a bool tensor.*given: +torch.float32",
    _prunes_the_input: "changed its input",
    _no_parameters: r"RuntimeError.*requires grad.*_no_parameters|at line .*weight\.numpy\(\)",
    _raises: 'ValueError: no idea.*at line .*raise ValueError\\("no idea"\\)',
    _one_row_at_a_time: "of magnitude|exactly|raised",
    _contiguous_only: "RuntimeError.*view",
    _everything: r"of 16 weights at sparsity 0\.\d+ exactly \d go.*given: +'?0 False",
    _random: r"a weight of magnitude [\d.]+ went, and one of [\d.]+ stayed",
}


@pytest.mark.parametrize(("function", "message"), WRONG_MASKS.items())
def test_other_wrong_masks_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        outcome = judge(prune.magnitude_mask, function, seed)
        assert outcome.state == "wrong"
        assert re.search(message, outcome.message, re.DOTALL), outcome.message
        assert "called:   magnitude_mask(" in outcome.message
        assert f"check(seed={seed})" in outcome.message


def _list_of_masks(weights, sparsity):
    return list(pruning.global_masks(weights, sparsity).values())


def _one_flat_mask(weights, sparsity):
    return by_argsort(torch.cat([w.flatten() for w in weights.values()]), sparsity)


def _no_masks(weights, sparsity):
    pruning.global_masks(weights, sparsity)


def _one_layer_missing(weights, sparsity):
    return dict(list(pruning.global_masks(weights, sparsity).items())[1:])


def _flat_masks(weights, sparsity):
    return {n: m.flatten() for n, m in pruning.global_masks(weights, sparsity).items()}


def _float_masks(weights, sparsity):
    return {n: m.float() for n, m in pruning.global_masks(weights, sparsity).items()}


def _masks_are_lists(weights, sparsity):
    return {n: m.tolist() for n, m in pruning.global_masks(weights, sparsity).items()}


def _pruned_weights(weights, sparsity):
    return pruning.apply_masks(weights, pruning.global_masks(weights, sparsity))


def _empties_the_input(weights, sparsity):
    masks = pruning.global_masks(weights, sparsity)
    weights.clear()
    return masks


def _same_size_layers_only(weights, sparsity):
    flat = torch.stack([w.detach().flatten() for w in weights.values()])
    masks = by_argsort(flat, sparsity)
    return {n: m.view(w.shape) for (n, w), m in zip(weights.items(), masks, strict=True)}


WRONG_GLOBAL_MASKS = {
    _list_of_masks: r"one mask a layer.*given: +\[",
    _one_flat_mask: r"one mask a layer.*given: +tensor\(",
    _no_masks: "one mask a layer.*given: +None",
    _one_layer_missing: r"one mask a layer.*fc1\.weight.*given",
    _flat_masks: r"shape and device of its weight.*\(2, 4\).*\(8,\)",
    _float_masks: "bool tensor.*given: +torch.float32",
    _masks_are_lists: r"a mask is a tensor.*given: +\[",
    _pruned_weights: "bool tensor.*given: +torch.float32",
    _empties_the_input: "changed its input",
    _same_size_layers_only: "raised RuntimeError.*at line .*torch.stack",
}


@pytest.mark.parametrize(("function", "message"), WRONG_GLOBAL_MASKS.items())
def test_other_wrong_global_masks_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        outcome = judge(prune.global_masks, function, seed)
        assert outcome.state == "wrong"
        assert re.search(message, outcome.message, re.DOTALL), outcome.message
        assert "called:   global_masks(" in outcome.message


# --- break it ------------------------------------------------------------------------------

W = torch.tensor


@pytest.mark.parametrize(
    ("weight", "sparsity"),
    [
        (W([-3.0, 1.0, 1.0, 2.0]), 0.25),
        (W([[-3.0, 1.0], [-1.0, 2.0]]), 0.25),
        (W([-2.0, 1.0, 1.0, 0.5]), 0.5),
        (W([-9.0, 0.0, 0.0, 0.0]), 0.5),
        (W([-3.0, 1.0, 1.0, 2.0], dtype=torch.float64), 0.25),
        (torch.nn.Parameter(W([-3.0, 1.0, 1.0, 2.0])), 0.25),
    ],
)
def test_an_input_that_breaks_every_mistake_passes(weight, sparsity):
    outcome = judge(prune.break_the_masks, lambda: (weight, sparsity))
    assert outcome.state == "done", outcome.message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (W([-4.0, 1.0, 2.0, 3.0]), 0.5),
            "threshold, strict threshold: on.*wrong there.*: k off by one, signed",
        ),
        (
            (W([-4.0, 1.0, 1.0, 3.0]), 0.5),
            "threshold, strict threshold: on.*wrong there.*: k off by one, signed",
        ),
        ((W([3.0, 1.0, 1.0, 2.0]), 0.25), "signed: on your input the mask comes out right"),
        ((W([-3.0, 1.0, 1.0, 2.0]), 0), "signed: on your input.*wrong there, as it should be"),
        ((W([-1.0, 1.0, 1.0, -1.0]), 0.5), "signed: on your input the mask comes out right"),
        ((torch.randn(13), 0.5), "twelve weights are plenty"),
        (([-3.0, 1.0, 1.0, 2.0], 0.25), "must be a tensor, not a list"),
        ((W([-3, 1, 1, 2]), 0.25), "floating point of 16, 32 or 64 bits, not torch.int64"),
        ((W([-3.0, 1.0, 1.0, torch.nan]), 0.25), "1 NaN of 4"),
        ((W([]), 0.25), "empty"),
        ((W([-3.0, 1.0, 1.0, 2.0]), 1.5), "between 0 and 1, not 1.5"),
        ((W([-3.0, 1.0, 1.0, 2.0]), "0.25"), "must be a number, not '0.25'"),
        (W([-3.0, 1.0, 1.0, 2.0]), "return a pair"),
        ((W([-3.0, 1.0, 1.0, 2.0]),), "return a pair"),
        ((W([-3.0, 1.0, 1.0, 2.0]), 0.25, 1), "return a pair"),
        (None, "return a pair.*given: +None"),
        ("break", "return a pair"),
    ],
)
def test_an_input_that_breaks_too_little_is_told_why(given, message):
    outcome = judge(prune.break_the_masks, lambda: given)
    assert outcome.state == "wrong"
    assert re.search(message, outcome.message, re.DOTALL), outcome.message
    assert "called:   break_the_masks()" in outcome.message


def _raises_without_input():
    raise KeyError("where")


def test_an_input_that_raises_is_told_so():
    assert "KeyError: 'where'" in judge(prune.break_the_masks, _raises_without_input).message


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    exercises = [value for value in vars(prune).values() if isinstance(value, Exercise)]
    assert [exercise.name for exercise in exercises] == [
        "magnitude_mask",
        "global_masks",
        "masked_step",
        "relative_indices",
        "sensitivity",
        "break_the_masks",
    ]
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 3
    assert sum(exercise.minutes for exercise in exercises if exercise.core) <= 40
