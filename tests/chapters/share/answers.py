"""Answers to the exercises of chapter 04, right ones and wrong ones."""

import math

import numpy as np
import torch

from shrink.chapters import share
from shrink.chapters.share import cut
from tests.chapters.wrong import CHANGED, changed

right_numbers = share.assign.reference
right_codebook = share.update.reference
right_gradient = share.codebook_gradient.reference
right_bytes = share.shared_bytes.reference

# --- right answers -------------------------------------------------------------------------


def by_squares(weights, codebook):
    flat = weights.detach().reshape(-1, 1)
    return ((flat - codebook) ** 2).argmin(1).reshape(weights.shape).to(torch.int32)


def by_midpoints_the_upper_at_a_tie(weights, codebook):
    return torch.bucketize(weights.detach(), (codebook[1:] + codebook[:-1]) / 2, right=True)


def by_bincount(weights, assignments, codebook):
    numbers, k = assignments.flatten(), len(codebook)
    counts = torch.bincount(numbers, minlength=k)
    sums = torch.bincount(numbers, weights.detach().flatten(), minlength=k)
    return torch.where(counts > 0, sums / counts, codebook)


def update_by_numpy(weights, assignments, codebook):
    w, a = weights.detach().cpu().numpy().ravel(), assignments.cpu().numpy().ravel()
    new = codebook.cpu().numpy().astype(np.float64)
    for j in np.unique(a):
        new[j] = w[a == j].mean(dtype=np.float64)
    return torch.from_numpy(new).to(codebook.device)


def by_counting(gradient, assignments, k, zero):
    found = torch.bincount(assignments.flatten(), gradient.double().flatten(), minlength=k)
    if zero in range(k):
        found[zero] = 0
    return found


def bytes_in_whole_numbers(count, k):
    return np.int64((count * (k - 1).bit_length() + 7) // 8 + 4 * k)


def bytes_as_a_float(count, k):
    bits = next(b for b in range(99) if 2**b >= k)
    return float(-(-count * bits // 8) + 4 * k)


def largest_by_halving(count):
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        pays = bytes_in_whole_numbers(count, middle) < 4 * count
        low, high = (middle, high) if pays else (low, middle)
    return torch.tensor(low)


def the_last_of_the_best(x):
    costs = cut.costs_of_cuts(x)
    return max(i for i, cost in enumerate(costs, 1) if cost <= min(costs) + 1e-9)


def cut_in_float32(x):
    x = x - x.mean()
    sums, squares, n = x.cumsum(0), (x * x).cumsum(0), torch.arange(1, len(x) + 1)
    left = (squares - sums**2 / n)[:-1]
    right = (squares[-1] - squares - (sums[-1] - sums) ** 2 / (len(x) - n).clamp(min=1))[:-1]
    return (left + right).argmin().item() + 1


def another_break():
    return [
        torch.nn.Parameter(torch.tensor([-5.0, -4.9, -3.0, 4.0, 4.6, 0.1])),
        torch.tensor([-4.0, -1.0, 5.0, 100.0], dtype=torch.float64),
    ]


RIGHT = {
    "assign": [by_squares, by_midpoints_the_upper_at_a_tie],
    "update": [by_bincount, update_by_numpy],
    "codebook_gradient": [by_counting],
    "shared_bytes": [bytes_in_whole_numbers, bytes_as_a_float],
    "largest_k": [largest_by_halving],
    "best_cut": [the_last_of_the_best, cut_in_float32],
    "break_k_means": [another_break],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _mean_of_nothing(weights, assignments, codebook):
    return torch.stack([weights[assignments == j].mean() for j in range(len(codebook))])


def _guarded_division(weights, assignments, codebook):
    numbers = assignments.flatten()
    sums = torch.zeros_like(codebook).index_add_(0, numbers, weights.detach().flatten())
    return sums / torch.bincount(numbers, minlength=len(codebook)).clamp(min=1)


def _adds_in_place(gradient, assignments, k, zero):
    found = torch.zeros(k)
    for at in np.ndindex(*gradient.shape):  # what an indexed += does, in the same order
        found[assignments[at]] = gradient[at]
    if zero is not None:
        found[zero] = 0
    return found


def _if_zero(gradient, assignments, k, zero):
    found = torch.bincount(assignments.flatten(), gradient.flatten(), minlength=k)
    if zero:
        found[zero] = 0
    return found


DISGUISED = [
    ("update", "empty becomes NaN", _mean_of_nothing),
    ("update", "empty becomes 0", _guarded_division),
    ("codebook_gradient", "the last one", _adds_in_place),
    ("codebook_gradient", "zero is false", _if_zero),
]


# --- wrong otherwise -----------------------------------------------------------------------


def _second_nearest(weights, codebook):
    order = (weights[..., None] - codebook).abs().argsort(-1)
    return order[..., min(1, len(codebook) - 1)]


def _moves_in_place(weights, assignments, codebook):
    codebook[:] = right_codebook(weights, assignments, codebook)
    return codebook


def _none_below_three(count):
    return largest_by_halving(count) if count > 2 else 2


def _pair(weights, codebook):
    return lambda: (torch.tensor(weights), torch.tensor(codebook))


HIDES = ": on your input the new codebook comes out right, so the mistake hides"

WRONG = {
    "assign": {
        changed(right_numbers, torch.Tensor.tolist): r"the numbers are a tensor.*given: +\[",
        changed(right_numbers, lambda numbers: numbers > 0): "the numbers are integers",
        changed(right_numbers, torch.Tensor.float): "the numbers are integers",
        changed(right_numbers, lambda numbers: numbers + 1): (
            r"has \d values, numbered 0 to \d, and none is number \d"
        ),
        _second_nearest: r"[-\d.]+ is [\d.]+ from .*, number \d+, and .*which you chose",
    },
    "update": {
        changed(right_codebook, torch.Tensor.long): "the codebook is a float tensor",
        changed(right_codebook, lambda codebook: codebook[None]): (
            r"as many values as the old one, \d+, on one axis"
        ),
        changed(right_codebook, lambda codebook: 1.001 * codebook): (
            r"the \d+ weights of value \d+ have the mean [-\d.]+; yours is"
        ),
        _moves_in_place: CHANGED,
    },
    "codebook_gradient": {
        (lambda *args: None): "the gradient is a float tensor",
        changed(right_gradient, lambda gradient: 2 * gradient): (
            r"value \d+ has \d+ weights, and their gradients sum to"
        ),
    },
    "shared_bytes": {
        (lambda *args: True): "return a whole number of bytes",
        changed(right_bytes, lambda count: count + 1): (
            r"assignments of \d+ bits are \d+ bits or \d+ bytes"
        ),
    },
    "largest_k": {
        (lambda *args: None): "return a whole number",
        _none_below_three: "1 weights take 4 bytes: none pays, and 1 values take 4",
    },
    "best_cut": {
        (lambda x: 0): r"return a whole number from 1 to \d+",
        # a known mistake may cut at the same place, and then its hint is shown
        len: r"return a whole number from 1 to \d+.*(hint:)?",
        (lambda x: 1): r"cut before x\[1\], the squared error is [\d.]+; cut before x\[.*(hint:)?",
    },
    "break_k_means": {
        _pair([1.0, 2.0], [1.0, 2.0]): "break_k_means: the one below, magnitudes, median, "
        rf"empty becomes 0{HIDES} \(wrong there, as it should be: signed distance\)",
        _pair([0.1, 0.2, 0.45, 0.7, 2.6], [0.0, 1.0, 3.0, 9.0]): f": magnitudes{HIDES}",
        _pair([-3.0, 0.0, 0.9], [-9.0, 0.0, 1.0, 3.0]): f": median{HIDES}",
        (lambda: (1, 2, 3)): "return two tensors",
        _pair([1, 2], [0.0, 1.0]): "float tensors with one axis",
        _pair([1.0] * 7, [0.0, 1.0]): "at most 6 finite weights and 4 finite values",
        _pair([math.nan], [0.0, 1.0]): "at most 6 finite weights",
        _pair([1.0], [1.0, 0.0]): "the codebook rises",
        _pair([0.5, 0.9], [0.0, 1.0]): "exactly between two values",
    },
}
