"""Answers to the exercises of chapter 02, right ones and wrong ones."""

import numpy as np
import torch

from shrink import pruning
from shrink.chapters import prune
from shrink.coding import sparse

# --- right: masks --------------------------------------------------------------------------


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


# --- right: what follows a mask ------------------------------------------------------------


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


MASKS = [
    by_argsort,
    last_ties_go_first,
    by_topk_of_the_smallest,
    by_topk_of_the_largest,
    by_numpy,
    by_kthvalue,
    by_rank,
    by_counting,
]


def the_chapters_break():
    return torch.tensor([-3.0, 1.0, 1.0, 2.0]), 0.25


def break_in_two_rows():
    return torch.tensor([[-3.0, 1.0], [-1.0, 2.0]]), 0.25


def break_at_a_half():
    return torch.tensor([-2.0, 1.0, 1.0, 0.5]), 0.5


def break_with_zeros():
    return torch.tensor([-9.0, 0.0, 0.0, 0.0]), 0.5


def break_in_double():
    return torch.tensor([-3.0, 1.0, 1.0, 2.0], dtype=torch.float64), 0.25


def break_with_a_parameter():
    return torch.nn.Parameter(torch.tensor([-3.0, 1.0, 1.0, 2.0])), 0.25


RIGHT = {
    "magnitude_mask": MASKS,
    "global_masks": [over_all(function) for function in MASKS],
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
    "break_the_masks": [
        the_chapters_break,
        break_in_two_rows,
        break_at_a_half,
        break_with_zeros,
        break_in_double,
        break_with_a_parameter,
    ],
}

# --- known mistakes ------------------------------------------------------------------------

RAISING = {
    ("masked_step", "a mask for each"): "KeyError",
    ("masked_step", "records"): "RuntimeError",
    ("sensitivity", "layer alone"): "ValueError",
}
MISTAKES = {(e.name, m.name): m for e in prune.EXERCISES for m in e.mistakes}


def _gaps_of(dtype):
    """Gaps of any integer type, in a list."""

    def narrow(weight, gap_bits):
        mistake = MISTAKES["relative_indices", "filler takes too little"]
        gaps, values = mistake(weight, gap_bits)
        return [gaps.to(dtype), values]

    return narrow


def _numbers_in_a(kind):
    def as_kind(*args):
        found = MISTAKES["sensitivity", "cumulative"](*args)
        return {name: kind(numbers) for name, numbers in found.items()}

    return as_kind


DISGUISED = [
    *(
        ("relative_indices", "filler takes too little", _gaps_of(dtype))
        for dtype in (torch.uint8, torch.int16, torch.int32)
    ),
    *(
        ("sensitivity", "cumulative", _numbers_in_a(kind))
        for kind in (tuple, torch.tensor, np.array)
    ),
]

# --- wrong: masks --------------------------------------------------------------------------


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


# --- wrong: masked_step --------------------------------------------------------------------


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


# --- wrong: relative_indices ---------------------------------------------------------------


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


# --- wrong: sensitivity --------------------------------------------------------------------


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


# --- wrong: break_the_masks ----------------------------------------------------------------

W = torch.tensor


def _raises_without_input():
    raise KeyError("where")


TOO_LITTLE = [
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
]

WRONG = {
    "magnitude_mask": WRONG_MASKS,
    "global_masks": WRONG_GLOBAL_MASKS,
    "masked_step": WRONG_STEPS,
    "relative_indices": WRONG_INDICES,
    "sensitivity": WRONG_SWEEPS,
    "break_the_masks": {
        **{(lambda given=given: given): told for given, told in TOO_LITTLE},
        _raises_without_input: "KeyError: 'where'",
    },
}
