"""The exercises of chapter 02 on what follows a mask: right answers pass, wrong ones are told why.

The steps, the gaps, the sweep over the layers; test_checks_prune.py has those that choose masks.
"""

import re
import time

import numpy as np
import pytest
import torch

from shrink import pruning
from shrink.chapters import prune
from shrink.coding import sparse
from tests import depth
from tests.chapters.judging import judge

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
EXERCISES = {e.name: e for e in (prune.masked_step, prune.relative_indices, prune.sensitivity)}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


# --- right answers -------------------------------------------------------------------------


def step_then_multiply(weights, masks, optimizer):
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)


def step_then_write_zeros(weights, masks, optimizer):
    optimizer.step()
    for name in weights:
        if name in masks:
            weights[name].data[~masks[name]] = 0
    return weights


def new_data(weights, masks, optimizer):
    optimizer.step()
    for name, mask in masks.items():
        weights[name].data = weights[name].data * mask
    optimizer.zero_grad()


def forgets_the_pruned_too(weights, masks, optimizer):
    for name, mask in masks.items():
        weights[name].grad[~mask] = 0
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].copy_(torch.where(mask, weights[name], 0))
            for memory in optimizer.state[weights[name]].values():
                if isinstance(memory, torch.Tensor) and memory.shape == mask.shape:
                    memory[~mask] = 0


def by_the_library(weights, masks, optimizer):
    with pruning.hold_masks(weights, masks, optimizer):
        optimizer.step()


def loop_with_a_count(weight, gap_bits):
    gaps, values, zeros = [], [], 0
    for value in weight.flatten().tolist():
        if value == 0:
            zeros += 1
            continue
        while zeros > 2**gap_bits - 1:
            gaps.append(2**gap_bits - 1)
            values.append(0)
            zeros -= 2**gap_bits
        gaps.append(zeros)
        values.append(value)
        zeros = 0
    return torch.tensor(gaps, dtype=torch.uint8), torch.tensor(values, dtype=weight.dtype)


def from_positions_in_numpy(weight, gap_bits):
    flat = weight.detach().cpu().numpy().reshape(-1)
    gaps, values = np.zeros(0, np.int64), np.zeros(0, flat.dtype)
    before = -1
    for place in np.flatnonzero(flat):
        fillers, gap = divmod(place - before - 1, 2**gap_bits)
        gaps = np.concatenate([gaps, np.full(fillers, 2**gap_bits - 1), [gap]])
        values = np.concatenate([values, np.zeros(fillers, flat.dtype), flat[[place]]])
        before = place
    return torch.from_numpy(gaps), torch.from_numpy(values)


def by_places_of_entries(weight, gap_bits):
    """A filler is due at each 2**gap_bits-th place of a run of zeros that goes on after it."""
    flat, places, run = weight.flatten(), [], 0
    last = int(flat.nonzero().max()) if flat.any() else -1
    for place in range(last + 1):
        run = run + 1 if flat[place] == 0 else 0
        if flat[place] != 0 or run == 2**gap_bits:
            places.append(place)
            run = 0
    index = torch.tensor(places, dtype=torch.int64, device=weight.device)
    gaps = index.diff(prepend=index.new_tensor([-1])) - 1
    return [gaps.to(torch.int16), flat[index]]


def nested_loops(weights, evaluate, sparsities):
    accuracies = {}
    for name, weight in weights.items():
        accuracies[name] = []
        for sparsity in sparsities:
            pruned = weight * prune.magnitude_mask(weight, sparsity)
            accuracies[name].append(evaluate({**weights, name: pruned}))
    return accuracies


def clones_and_topk(weights, evaluate, sparsities):
    found = {name: torch.zeros(len(sparsities), dtype=torch.float64) for name in weights}
    for i, sparsity in enumerate(sparsities):
        for name in reversed(list(weights)):
            copies = {n: w.detach().clone() for n, w in weights.items()}
            flat = copies[name].view(-1)
            k = round(sparsity * flat.numel())
            flat[torch.topk(flat.abs(), k, largest=False).indices] = 0
            found[name][i] = evaluate(copies)
    return found


def in_the_dict_and_back(weights, evaluate, sparsities):
    found = dict.fromkeys(weights)
    for name, weight in weights.items():
        numbers = []
        for sparsity in sparsities:
            weights[name] = pruning.apply_masks(
                {name: weight}, {name: pruning.magnitude_mask(weight, sparsity)}
            )[name]
            numbers.append(torch.tensor(evaluate(weights)))
        weights[name] = weight
        found[name] = tuple(numbers)
    return found


RIGHT = {
    "masked_step": [
        step_then_multiply,
        step_then_write_zeros,
        new_data,
        forgets_the_pruned_too,
        by_the_library,
    ],
    "relative_indices": [
        sparse.relative_indices,
        loop_with_a_count,
        from_positions_in_numpy,
        by_places_of_entries,
    ],
    "sensitivity": [pruning.sensitivity, nested_loops, clones_and_topk, in_the_dict_and_back],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


def test_the_references_are_the_librarys():
    assert prune.masked_step.reference is None
    assert prune.relative_indices.reference is sparse.relative_indices
    assert prune.sensitivity.reference is pruning.sensitivity


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1


# --- known mistakes ------------------------------------------------------------------------

# Those that raise, and with what; all others are wrong by what they give.
RAISING = {"a mask for each": "KeyError", "records": "RuntimeError", "layer alone": "ValueError"}


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in EXERCISES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        raised = re.search(r"your code raised (\w+)", message)
        assert (raised and raised[1]) == RAISING.get(mistake.name), message
        assert max(map(len, message.splitlines())) < 450


def rejected(exercise, function, seed):
    outcome = judge(exercise, function, seed)
    assert outcome.state == "wrong", f"seed {seed} lets it pass"
    assert f"\n  called:   {exercise.name}(" in outcome.message
    assert "the check cannot read" not in outcome.message
    return outcome.message


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


def _mistake(exercise, name):
    (found,) = (m for m in exercise.mistakes if m.name == name)
    return found


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_a_mistake_is_known_by_gaps_of_any_integer_type(dtype):
    mistake = _mistake(prune.relative_indices, "filler takes too little")

    def narrow(weight, gap_bits):
        gaps, values = mistake.function(weight, gap_bits)
        return [gaps.to(dtype), values]

    for seed in FEW_SEEDS:
        assert mistake.hint in rejected(prune.relative_indices, narrow, seed)


@pytest.mark.parametrize("kind", [tuple, torch.tensor, np.array])
def test_a_mistake_is_known_by_numbers_in_a_list_or_a_tuple_or_a_tensor(kind):
    mistake = _mistake(prune.sensitivity, "cumulative")

    def as_kind(*args):
        return {name: kind(numbers) for name, numbers in mistake.function(*args).items()}

    for seed in FEW_SEEDS:
        assert mistake.hint in rejected(prune.sensitivity, as_kind, seed)


# --- masked_step ---------------------------------------------------------------------------


def _zero(weights, masks):
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)


def _changes_a_mask(weights, masks, optimizer):
    step_then_multiply(weights, masks, optimizer)
    for mask in masks.values():
        mask.fill_(True)


def _drops_a_mask(weights, masks, optimizer):
    step_then_multiply(weights, masks, optimizer)
    masks.clear()


def _by_hand(weights, masks, optimizer):
    with torch.no_grad():
        for weight in weights.values():
            weight -= optimizer.param_groups[0]["lr"] * weight.grad
    _zero(weights, masks)


def _other_parameter(weights, masks, optimizer):
    optimizer.step()
    for name, mask in masks.items():
        weights[name] = torch.nn.Parameter(weights[name] * mask)


def _empties_the_dict(weights, masks, optimizer):
    step_then_multiply(weights, masks, optimizer)
    weights.clear()


def _no_longer_trained(weights, masks, optimizer):
    optimizer.step()
    for name, mask in masks.items():
        weights[name].requires_grad_(False).mul_(mask)


def _in_double(weights, masks, optimizer):
    optimizer.step()
    for name, mask in masks.items():
        weights[name].data = weights[name].data * mask.double()


def _flat(weights, masks, optimizer):
    step_then_multiply(weights, masks, optimizer)
    for weight in weights.values():
        weight.data = weight.data.flatten()


def _nearly_zero(weights, masks, optimizer):
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name][~mask] *= 1e-9


def _nothing(weights, masks, optimizer):
    pass


def _trains_what_has_a_mask(weights, masks, optimizer):
    for name, weight in weights.items():
        if name not in masks:
            weight.grad = None
    step_then_multiply(weights, masks, optimizer)


def _typo(weights, masks, optimizer):
    optimizer.step()
    weights["fc3.weight"].data.mul_(masks["fc3.weight"])


LAST = "is no longer the parameter that the optimizer trains"
WRONG_STEPS = {
    _changes_a_mask: "changed the masks",
    _drops_a_mask: "changed the masks",
    _by_hand: "a kept weight of fc1.weight is not.*expected: tensor.*given: +tensor",
    _other_parameter: LAST + ".*hint: +`weights",
    _empties_the_dict: LAST,
    _no_longer_trained: "no longer the kind of parameter.*requires_grad=True.*requires_grad=False",
    _in_double: "no longer the kind of parameter.*torch.float32.*torch.float64",
    _flat: r"no longer the kind of parameter.*\(2, 3\).*\(6,\)",
    _nearly_zero: r"after the step \d of \d pruned weights of fc1.weight are not zero",
    _nothing: "pruned weights of fc1.weight are not zero|a kept weight",
    _trains_what_has_a_mask: "fc1.weight, which has no mask, is not what the optimizer's step",
    _typo: "KeyError: 'fc3.weight'",
}


@pytest.mark.parametrize(("function", "message"), WRONG_STEPS.items())
def test_other_wrong_steps_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(prune.masked_step, function, seed)
        assert re.search(message, text, re.DOTALL), text
    assert ("hint:" in text) == (function is _other_parameter)


def test_the_optimizer_is_named_as_it_was_made():
    text = rejected(prune.masked_step, _mistake(prune.masked_step, "no mask").function, 0)
    assert re.search(
        r"called: .*, SGD\(lr=0\.\d+, momentum=0\.9, weight_decay=0\.1\)\)$", text, re.MULTILINE
    )


def test_the_plain_sgd_step_alone_would_let_momentum_pass():
    """The check needs its other optimizers: with these two mistakes plain SGD gives the zeros."""
    both = _mistake(prune.masked_step, "weight and gradient before").function
    sgd_only = _mistake(prune.masked_step, "momentum buffer only").function
    for function in (both, sgd_only):
        w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        w.sum().backward()
        mask = torch.tensor([True, False])
        function({"w": w}, {"w": mask}, torch.optim.SGD([w], lr=0.1))
        assert w.tolist() == pytest.approx([0.9, 0])


# --- relative_indices ----------------------------------------------------------------------


def _lists(weight, gap_bits):
    return tuple(t.tolist() for t in loop_with_a_count(weight, gap_bits))


def _arrays(weight, gap_bits):
    return tuple(t.numpy() for t in loop_with_a_count(weight, gap_bits))


def _gaps_alone(weight, gap_bits):
    return loop_with_a_count(weight, gap_bits)[0]


def _three(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps, values, 4 * len(values)


def _none(weight, gap_bits):
    loop_with_a_count(weight, gap_bits)


def _float_gaps(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps.float(), values


def _float_gaps_when_empty(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return torch.tensor(gaps.tolist()), values


def _float32_values(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps, values.float()


def _columns(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps[:, None], values[:, None]


def _swapped(weight, gap_bits):
    return loop_with_a_count(weight, gap_bits)[::-1]


def _column_by_column(weight, gap_bits):
    return loop_with_a_count(weight.T if weight.dim() == 2 else weight, gap_bits)


def _as_it_lies_in_memory(weight, gap_bits):
    contiguous = weight.T if weight.dim() == 2 and not weight.is_contiguous() else weight
    return loop_with_a_count(contiguous, gap_bits)


def _one_dimension_only(weight, gap_bits):
    numbers = [0.0 if number == 0 else float(number) for number in weight]
    return loop_with_a_count(torch.tensor(numbers, dtype=weight.dtype), gap_bits)


def _zeros_before_fillers(weight, gap_bits):
    """The rest of a run comes before its last filler instead of after it."""
    gaps, values = (t.tolist() for t in loop_with_a_count(weight, gap_bits))
    for i in range(len(gaps) - 1):
        if values[i] == 0 and values[i + 1] != 0:
            gaps[i], gaps[i + 1] = gaps[i + 1], gaps[i]
    return torch.tensor(gaps, dtype=torch.int64), torch.tensor(values, dtype=weight.dtype)


def _needless_filler(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    if len(gaps) and gaps[0] > 0:
        gaps = torch.cat([gaps.new_tensor([0]), gaps[:1] - 1, gaps[1:]])
        values = torch.cat([values.new_zeros(1), values])
    return gaps, values


def _all_zeros_stored(weight, gap_bits):
    flat = weight.detach().flatten()
    return torch.zeros(len(flat), dtype=torch.uint8), flat.clone()


def _changes_the_weight(weight, gap_bits):
    weight.detach().view(-1)[0] = 0
    return loop_with_a_count(weight, gap_bits)


def _last_is_lost(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps[:-1], values[:-1]


def _absolute_values(weight, gap_bits):
    gaps, values = loop_with_a_count(weight, gap_bits)
    return gaps, values.abs()


def _minus_zero_is_stored(weight, gap_bits):
    stored = weight.detach().clone()
    stored[torch.signbit(stored) & (stored == 0)] = 1e-3
    return loop_with_a_count(stored, gap_bits)


WRONG_INDICES = {
    _lists: r"tensors, not lists.*expected: gaps \[.*\], values \[.*given: +\(\[",
    _arrays: r"tensors, not lists|raised RuntimeError.*numpy",
    _gaps_alone: r"return a pair, \(gaps, values\).*given: +tensor",
    _three: "return a pair",
    _none: "return a pair.*given: +None",
    _float_gaps: "gaps are whole numbers.*given: +gaps of torch.float32",
    _float_gaps_when_empty: r"whole numbers.*torch.tensor\(\[\]\).*called: .*0\.\]\), 2\)",
    _float32_values: "of the weight's dtype.*expected: torch.float64.*given: +torch.float32",
    _columns: r"one axis.*given: +shapes \(4, 1\) and \(4, 1\)",
    _swapped: "gaps are whole numbers.*torch.float32",
    _column_by_column: "read back, place",
    _as_it_lies_in_memory: "read back, place",
    _one_dimension_only: "your code raised RuntimeError",
    _zeros_before_fillers: "a filler has the greatest gap, here",
    _needless_filler: r"4 entries are enough, and you store 5",
    _all_zeros_stored: "4 entries are enough, and you store",
    _changes_the_weight: "changed its input",
    _last_is_lost: "read back, place",
    _absolute_values: r"read back, place \d+ .*in the weight -",
    _minus_zero_is_stored: "read back, place",
}


@pytest.mark.parametrize(("function", "message"), WRONG_INDICES.items())
def test_other_wrong_indices_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(prune.relative_indices, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text


# --- sensitivity ---------------------------------------------------------------------------


def _list_of_lists(weights, evaluate, sparsities):
    return list(pruning.sensitivity(weights, evaluate, sparsities).values())


def _no_return(weights, evaluate, sparsities):
    pruning.sensitivity(weights, evaluate, sparsities)


def _layer_missing(weights, evaluate, sparsities):
    return dict(list(pruning.sensitivity(weights, evaluate, sparsities).items())[1:])


def _pairs(weights, evaluate, sparsities):
    found = pruning.sensitivity(weights, evaluate, sparsities)
    return {n: list(zip(sparsities, numbers, strict=True)) for n, numbers in found.items()}


def _percent(weights, evaluate, sparsities):
    found = pruning.sensitivity(weights, evaluate, sparsities)
    return {n: [100 * number for number in numbers] for n, numbers in found.items()}


def _prunes_in_place(weights, evaluate, sparsities):
    found = {}
    for name, weight in weights.items():
        found[name] = []
        for sparsity in sparsities:
            weight.data *= pruning.magnitude_mask(weight, sparsity)
            found[name].append(evaluate(weights))
    return found


def _shallow_copy(weights, evaluate, sparsities):
    found = {}
    for name in weights:
        found[name] = []
        for sparsity in sparsities:
            copies = dict(weights)
            copies[name].data *= pruning.magnitude_mask(copies[name], sparsity)
            found[name].append(evaluate(copies))
    return found


def _leaves_it_in_the_dict(weights, evaluate, sparsities):
    found = {}
    for name, weight in list(weights.items()):
        found[name] = []
        for sparsity in sparsities:
            weights[name] = weight.detach() * pruning.magnitude_mask(weight, sparsity)
            found[name].append(evaluate(weights))
    return found


def _sorts_the_input(weights, evaluate, sparsities):
    sparsities.sort()
    return pruning.sensitivity(weights, evaluate, sparsities)


def _a_baseline_first(weights, evaluate, sparsities):
    found = pruning.sensitivity(weights, evaluate, [0, *sparsities])
    return found


def _no_parameters(weights, evaluate, sparsities):
    return pruning.sensitivity({n: w.numpy() for n, w in weights.items()}, evaluate, sparsities)


def _evaluates_a_list(weights, evaluate, sparsities):
    return {n: [evaluate(list(weights.values())) for _ in sparsities] for n in weights}


def _evaluates_flat(weights, evaluate, sparsities):
    return {n: [evaluate({**weights, n: w.flatten()})] for n, w in weights.items()}


def _out_of_place(weights, evaluate, sparsities):
    """The right weights stay, in the wrong places."""
    moved = {n: w.detach().flatten().sort().values.view(w.shape) for n, w in weights.items()}
    return {
        n: [evaluate({**weights, n: w * pruning.magnitude_mask(w, s)}) for s in sparsities]
        for n, w in moved.items()
    }


def _function_for_number(weights, evaluate, sparsities):
    return {n: [evaluate for _ in sparsities] for n in weights}


def _nan(weights, evaluate, sparsities):
    return {n: [float("nan") for _ in sparsities] for n in weights}


KEYS = "return a dict with the names of the weights"
WRONG_SWEEPS = {
    _list_of_lists: KEYS + r".*expected: \{fc1: \[.*given: +\[\[",
    _no_return: KEYS + ".*given: +None",
    _layer_missing: KEYS,
    _pairs: "fc1 needs a list of 3 numbers",
    _percent: r"fc1 alone pruned, at sparsity 0.25: evaluate gives 0\.\d+",
    _prunes_in_place: "changed its input",
    _shallow_copy: "changed its input",
    _leaves_it_in_the_dict: "changed its input",
    _sorts_the_input: "changed its input",
    _a_baseline_first: "fc1 needs a list of 3 numbers, one for each sparsity",
    _no_parameters: "your code raised (TypeError|RuntimeError)",
    _evaluates_a_list: "ValueError: evaluate needs a dict of fc1, fc2, fc3; given: .*list",
    _evaluates_flat: r"ValueError: evaluate needs fc1 as a tensor of shape \(2, 4\)",
    _out_of_place: "fc1 alone pruned, at sparsity 0.25: evaluate gives",
    _function_for_number: "fc1 needs a list of 3 numbers",
    _nan: "fc1 alone pruned, at sparsity 0.25: evaluate gives",
}


@pytest.mark.parametrize(("function", "message"), WRONG_SWEEPS.items())
def test_other_wrong_sweeps_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(prune.sensitivity, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text
        assert ", evaluate, [" in text
