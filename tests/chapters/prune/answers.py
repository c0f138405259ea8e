"""Answers to the exercises of chapter 02, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from shrink import pruning
from shrink.chapters import prune
from shrink.chapters.prune import masks
from shrink.coding import sparse
from tests.chapters.wrong import CHANGED, changed, given_as, in_each

# --- right: masks --------------------------------------------------------------------------


def _number(weight, sparsity):
    return round(sparsity * weight.numel())


def last_ties_go_first(weight, sparsity):
    backwards = weight.detach().abs().flatten().flip(0)
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[backwards.argsort(stable=True)[: _number(weight, sparsity)]] = False
    return mask.flip(0).reshape(weight.shape)


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


# --- right: what follows a mask ------------------------------------------------------------


def step_then_write_zeros(weights, masks, optimizer):
    optimizer.step()
    for name in weights:
        if name in masks:
            weights[name].data[~masks[name]] = 0
    return weights


def forgets_the_pruned_too(weights, masks, optimizer):
    for name, mask in masks.items():
        weights[name].grad[~mask] = 0
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].copy_(torch.where(mask, weights[name], 0))
            for memory in optimizer.state[weights[name]].values():
                if isinstance(memory, Tensor) and memory.shape == mask.shape:
                    memory[~mask] = 0


def by_the_library(weights, masks, optimizer):
    with pruning.hold_masks(weights, masks, optimizer):
        optimizer.step()


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
            weights[name] = weight.detach() * pruning.magnitude_mask(weight, sparsity)
            numbers.append(torch.tensor(evaluate(weights)))
        weights[name] = weight
        found[name] = tuple(numbers)
    return found


MASKS = [last_ties_go_first, by_numpy, by_kthvalue]
W = torch.tensor


def _pair(*given):
    return lambda: given


RIGHT = {
    "magnitude_mask": MASKS,
    "global_masks": [masks._over_all(function) for function in MASKS],
    "masked_step": [
        step_then_write_zeros,
        forgets_the_pruned_too,
        by_the_library,
    ],
    "relative_indices": [from_positions_in_numpy],
    "sensitivity": [clones_and_topk, in_the_dict_and_back],
    "break_the_masks": [
        _pair(W([[-3.0, 1.0], [-1.0, 2.0]]), 0.25),
        _pair(W([-9.0, 0.0, 0.0, 0.0]), 0.5),
        _pair(W([-3.0, 1.0, 1.0, 2.0], dtype=torch.float64), 0.25),
        _pair(Parameter(W([-3.0, 1.0, 1.0, 2.0])), 0.25),
    ],
}

# --- known mistakes ------------------------------------------------------------------------

RAISING = {
    ("masked_step", "a mask for each"): "KeyError",
    ("masked_step", "records"): "RuntimeError",
    ("sensitivity", "layer alone"): "ValueError",
}


def _in_a_list(dtype):
    """A change of gaps and values: gaps of this type, in a list."""
    return lambda pair: [pair[0].to(dtype), pair[1]]


DISGUISED = [
    *(
        given_as(_in_a_list(dtype), prune.relative_indices, "filler takes too little")
        for dtype in (torch.uint8, torch.int16, torch.int32)
    ),
    *(
        given_as(in_each(kind), prune.sensitivity, "cumulative")
        for kind in (tuple, torch.tensor, np.array)
    ),
]

# --- wrong ---------------------------------------------------------------------------------


def _prunes_the_input(weight, sparsity):
    mask = pruning.magnitude_mask(weight, sparsity)
    weight.data[~mask] = 0
    return mask


def _no_parameters(weight, sparsity):
    return pruning.magnitude_mask(torch.from_numpy(weight.numpy()), sparsity)


def _random(weight, sparsity):
    scores = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0))
    return pruning.magnitude_mask(scores, sparsity)


def _empties_the_input(weights, sparsity):
    masks = pruning.global_masks(weights, sparsity)
    weights.clear()
    return masks


def _afterwards(change):
    """A right step, and then a change of the weights and masks."""

    def step(weights, masks, optimizer):
        by_the_library(weights, masks, optimizer)
        change(weights, masks)

    return step


def _fills_a_mask(weights, masks):
    masks["fc1.weight"].fill_(True)


def _in_double(weights, masks):
    weights["fc1.weight"].data = weights["fc1.weight"].data.double()


def _nearly_zero(weights, masks):
    weights["fc1.weight"].data[~masks["fc1.weight"]] = 1e-9


def _by_hand(weights, masks, optimizer):
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name] -= optimizer.param_groups[0]["lr"] * weights[name].grad
            weights[name].mul_(mask)


def _other_parameter(weights, masks, optimizer):
    optimizer.step()
    for name, mask in masks.items():
        weights[name] = Parameter(weights[name] * mask)


def _trains_what_has_a_mask(weights, masks, optimizer):
    for name, weight in weights.items():
        if name not in masks:
            weight.grad = None
    by_the_library(weights, masks, optimizer)


def _as_it_lies_in_memory(weight, gap_bits):
    contiguous = weight.T if weight.dim() == 2 and not weight.is_contiguous() else weight
    return sparse.relative_indices(contiguous, gap_bits)


def _zeros_before_fillers(weight, gap_bits):
    """The rest of a run comes before its last filler instead of after it."""
    gaps, values = sparse.relative_indices(weight, gap_bits)
    for i in range(len(gaps) - 1):
        if values[i] == 0 and values[i + 1] != 0:
            gaps[[i, i + 1]] = gaps[[i + 1, i]]
    return gaps, values


def _needless_filler(pair):
    gaps, values = pair
    if len(gaps) and gaps[0] > 0:
        gaps = torch.cat([gaps.new_tensor([0]), gaps[:1] - 1, gaps[1:]])
        values = torch.cat([values.new_zeros(1), values])
    return gaps, values


def _minus_zero_is_stored(weight, gap_bits):
    stored = weight.detach().clone()
    stored[torch.signbit(stored) & (stored == 0)] = 1e-3
    return sparse.relative_indices(stored, gap_bits)


def _shallow_copy(weights, evaluate, sparsities):
    found = {}
    for name in weights:
        found[name] = []
        for sparsity in sparsities:
            copies = dict(weights)
            copies[name].data *= pruning.magnitude_mask(copies[name], sparsity)
            found[name].append(evaluate(copies))
    return found


LAST = "is no longer the parameter that the optimizer trains"
KIND = "no longer the kind of parameter.*"
ALONE = r"fc1 alone pruned, at sparsity 0.25: evaluate gives 0\.\d+"
THREE = "fc1 needs a list of 3 numbers, one for each sparsity"

WRONG = {
    "magnitude_mask": {
        changed(pruning.magnitude_mask, Tensor.float): "is a bool tensor.*given: +torch.float32",
        changed(pruning.magnitude_mask, Tensor.numpy): r"a mask is a tensor.*given: +array\(",
        changed(
            pruning.magnitude_mask, Tensor.flatten
        ): r"shape and device of its weight.*\(4, 4\).*\(16,\)",
        _prunes_the_input: CHANGED,
        _no_parameters: r"RuntimeError.*at line .*weight\.numpy\(\)",
        (
            lambda weight, sparsity: torch.ones_like(weight, dtype=torch.bool)
        ): r"of 16 weights at sparsity 0\.\d+ exactly \d go.*given: +'?0 False",
        _random: r"a weight of magnitude [\d.]+ went, and one of [\d.]+ stayed",
    },
    "global_masks": {
        changed(pruning.global_masks, lambda masks: None): "one mask a layer.*given: +None",
        changed(
            pruning.global_masks, lambda masks: dict(list(masks.items())[1:])
        ): r"one mask a layer.*fc1\.weight.*given",
        _empties_the_input: CHANGED,
    },
    "masked_step": {
        _afterwards(_fills_a_mask): "changed the masks",
        _by_hand: "a kept weight of fc1.weight does not have the value.*called: .*, "
        r"SGD\(lr=0\.\d+, momentum=0\.9, weight_decay=0\.1\)\).*expected: tensor.*given: +tensor",
        _other_parameter: LAST + ".*hint: +`weights",
        _afterwards(
            lambda weights, masks: weights["fc1.weight"].requires_grad_(False)
        ): f"{KIND}requires_grad=True.*requires_grad=False",
        _afterwards(_in_double): f"{KIND}torch.float32.*torch.float64",
        _afterwards(_nearly_zero): r"the step \d of \d pruned weights of fc1.weight are not zero",
        _trains_what_has_a_mask: "fc1.weight, which has no mask, does not have the value",
    },
    "relative_indices": {
        changed(
            sparse.relative_indices, lambda pair: tuple(t.tolist() for t in pair)
        ): r"tensors, not lists.*expected: gaps \[.*\], values \[.*given: +\(\[",
        (lambda weight, gap_bits: None): r"return a pair, \(gaps, values\).*given: +None",
        changed(
            sparse.relative_indices, lambda pair: (pair[0].float(), pair[1])
        ): "gaps are whole numbers.*given: +gaps of torch.float32",
        changed(
            sparse.relative_indices, lambda pair: (torch.tensor(pair[0].tolist()), pair[1])
        ): r"whole numbers.*torch.tensor\(\[\]\).*called: .*0\.\]\), 2\)",
        changed(
            sparse.relative_indices, lambda pair: (pair[0], pair[1].float())
        ): "of the weight's dtype.*expected: torch.float64.*given: +torch.float32",
        changed(
            sparse.relative_indices, lambda pair: tuple(t[:, None] for t in pair)
        ): r"one axis.*given: +shapes \(4, 1\) and \(4, 1\)",
        changed(
            sparse.relative_indices, lambda pair: (pair[0][:-1], pair[1])
        ): "3 gaps, 4 values: each entry has both",
        _as_it_lies_in_memory: "read back, place",
        _zeros_before_fillers: "a filler has the greatest gap, here",
        changed(sparse.relative_indices, _needless_filler): "4 entries are enough, and you store 5",
        changed(
            sparse.relative_indices, lambda pair: (pair[0], pair[1].abs())
        ): r"read back, place \d+ .*in the weight -",
        _minus_zero_is_stored: "read back, place",
    },
    "sensitivity": {
        changed(
            pruning.sensitivity, lambda found: list(found.values())
        ): r"a dict with the names of the weights.*expected: \{fc1: \[.*given: +\[\[",
        changed(pruning.sensitivity, in_each(lambda numbers: [*numbers[1:], "1"])): THREE,
        changed(pruning.sensitivity, in_each(lambda numbers: [math.nan] * len(numbers))): ALONE,
        _shallow_copy: CHANGED,
        (
            lambda weights, evaluate, _: evaluate(list(weights.values()))
        ): "ValueError: evaluate needs a dict of fc1, fc2, fc3; given: .*list",
        (
            lambda weights, evaluate, _: evaluate(in_each(Tensor.flatten)(weights))
        ): r"ValueError: evaluate needs fc1 as a tensor of shape \(2, 4\)",
    },
    "break_the_masks": {
        _pair(
            W([-4.0, 1.0, 2.0, 3.0]), 0.5
        ): "threshold, strict threshold: on.*wrong there.*: k off by one, signed",
        _pair(W([3.0, 1.0, 1.0, 2.0]), 0.25): "signed: on your input the mask comes out right",
        _pair(W([-3.0, 1.0, 1.0, 2.0]), 0): "signed: on your.*wrong there, as it should be",
        _pair(torch.randn(13), 0.5): "twelve weights are plenty",
        _pair([-3.0, 1.0, 1.0, 2.0], 0.25): "must be a tensor, not a list",
        _pair(W([-3.0, 1.0, 1.0, 2.0]), 1.5): "between 0 and 1, not 1.5",
        (lambda: None): "return a pair.*given: +None",
    },
}
