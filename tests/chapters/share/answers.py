"""Answers to the exercises of chapter 04, right ones and wrong ones."""

import math

import numpy as np
import torch

from shrink import sharing
from shrink.chapters.share import cut

# --- right answers -------------------------------------------------------------------------


def the_chapters_assign(weights, codebook):
    return (weights[..., None] - codebook).abs().argmin(-1)


def by_squares(weights, codebook):
    flat = weights.detach().reshape(-1, 1)
    return ((flat - codebook) ** 2).argmin(1).reshape(weights.shape).to(torch.int32)


def by_midpoints(weights, codebook):
    return torch.bucketize(weights.detach(), (codebook[1:] + codebook[:-1]) / 2)


def by_midpoints_the_upper_at_a_tie(weights, codebook):
    return torch.bucketize(weights.detach(), (codebook[1:] + codebook[:-1]) / 2, right=True)


def by_cdist(weights, codebook):
    distances = torch.cdist(weights.detach().reshape(-1, 1), codebook[:, None])
    return distances.argmin(1).view(weights.shape).short()


def one_weight_after_the_other(weights, codebook):
    values = codebook.tolist()
    numbers = [
        min(range(len(values)), key=lambda j: abs(w - values[j]))
        for w in weights.flatten().tolist()
    ]
    return torch.tensor(numbers, device=weights.device).long().view(weights.shape)


def the_chapters_update(weights, assignments, codebook):
    new = codebook.clone()
    for j in range(len(codebook)):
        own = weights[assignments == j]
        if len(own):
            new[j] = own.mean()
    return new


def by_bincount(weights, assignments, codebook):
    numbers, k = assignments.flatten(), len(codebook)
    counts = torch.bincount(numbers, minlength=k)
    sums = torch.bincount(numbers, weights.detach().flatten(), minlength=k)
    return torch.where(counts > 0, sums / counts, codebook)


def by_index_reduce(weights, assignments, codebook):
    new = codebook.index_reduce(
        0, assignments.flatten(), weights.detach().flatten(), "mean", include_self=False
    )
    return new


def update_by_numpy(weights, assignments, codebook):
    w, a = weights.detach().cpu().numpy().ravel(), assignments.cpu().numpy().ravel()
    new = codebook.cpu().numpy().astype(np.float64)
    for j in np.unique(a):
        new[j] = w[a == j].mean(dtype=np.float64)
    return torch.from_numpy(new).to(codebook.device)


def the_chapters_gradient(gradient, assignments, k, zero):
    found = gradient.new_zeros(k)
    found.index_add_(0, assignments.flatten(), gradient.flatten())
    if zero is not None:
        found[zero] = 0
    return found


def a_value_after_the_other(gradient, assignments, k, zero):
    return torch.stack(
        [
            gradient.new_zeros(()) if j == zero else gradient[assignments == j].sum()
            for j in range(k)
        ]
    )


def by_counting(gradient, assignments, k, zero):
    found = torch.bincount(assignments.flatten(), gradient.double().flatten(), minlength=k)
    if zero in range(k):
        found[zero] = 0
    return found


def gradient_by_one_hot(gradient, assignments, k, zero):
    table = torch.nn.functional.one_hot(assignments.flatten(), k).to(gradient.dtype)
    if zero is not None:
        table[:, zero] = 0
    return gradient.flatten() @ table


def the_chapters_bytes(count, k):
    return math.ceil(count * math.ceil(math.log2(k)) / 8) + 4 * k


def bytes_in_whole_numbers(count, k):
    return np.int64((count * (k - 1).bit_length() + 7) // 8 + 4 * k)


def bytes_as_a_float(count, k):
    bits = next(b for b in range(99) if 2**b >= k)
    return float(-(-count * bits // 8) + 4 * k)


def the_chapters_largest(count):
    k = 0
    while the_chapters_bytes(count, k + 1) < 4 * count:
        k += 1
    return k


def largest_by_halving(count):
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        pays = bytes_in_whole_numbers(count, middle) < 4 * count
        low, high = (middle, high) if pays else (low, middle)
    return torch.tensor(low)


def the_chapters_cut(x):
    n = torch.arange(1, len(x))
    sums, squares = x.double().cumsum(0), x.double().square().cumsum(0)
    left = squares[:-1] - sums[:-1] ** 2 / n
    right = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (len(x) - n)
    return int((left + right).argmin()) + 1


def the_last_of_the_best(x):
    costs = cut.costs_of_cuts(x)
    return max(i for i, cost in enumerate(costs, 1) if cost <= min(costs) + 1e-9)


def between_the_means(x):
    """The sum of squares between the parts is greatest where that within them is least."""
    x = x.double().numpy()
    n = len(x)
    between = [i * (n - i) * (x[:i].mean() - x[i:].mean()) ** 2 for i in range(1, n)]
    return 1 + np.argmax(between)


def cut_by_the_optimum(x):
    codebook = sharing.optimal_codebook(x, 2)
    below = (sharing.assign(x, codebook) == 0).sum()
    return torch.clamp(below, 1, len(x) - 1)


def cut_in_float32(x):
    x = x - x.mean()
    sums, squares, n = x.cumsum(0), (x * x).cumsum(0), torch.arange(1, len(x) + 1)
    left = (squares - sums**2 / n)[:-1]
    right = (squares[-1] - squares - (sums[-1] - sums) ** 2 / (len(x) - n).clamp(min=1))[:-1]
    return (left + right).argmin().item() + 1


def the_chapters_break():
    return torch.tensor([-3.0, 0.0, 0.2, 0.9]), torch.tensor([-9.0, 0.0, 1.0, 3.0])


def another_break():
    return [
        torch.nn.Parameter(torch.tensor([-5.0, -4.9, -3.0, 4.0, 4.6, 0.1])),
        torch.tensor([-4.0, -1.0, 5.0, 100.0], dtype=torch.float64),
    ]


RIGHT = {
    "assign": [
        the_chapters_assign,
        by_squares,
        by_midpoints,
        by_midpoints_the_upper_at_a_tie,
        by_cdist,
        one_weight_after_the_other,
    ],
    "update": [the_chapters_update, by_bincount, by_index_reduce, update_by_numpy],
    "codebook_gradient": [
        the_chapters_gradient,
        a_value_after_the_other,
        by_counting,
        gradient_by_one_hot,
    ],
    "shared_bytes": [the_chapters_bytes, bytes_in_whole_numbers, bytes_as_a_float],
    "largest_k": [the_chapters_largest, largest_by_halving],
    "best_cut": [
        the_chapters_cut,
        the_last_of_the_best,
        between_the_means,
        cut_by_the_optimum,
        cut_in_float32,
    ],
    "break_k_means": [the_chapters_break, another_break],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _argmin_of_differences(weights, codebook):
    return torch.argmin(weights.unsqueeze(-1) - codebook, dim=-1)


def _row_of_searchsorted(weights, codebook):
    return torch.searchsorted(codebook, weights.detach().contiguous())


def _mean_of_nothing(weights, assignments, codebook):
    return torch.stack([weights[assignments == j].mean() for j in range(len(codebook))])


def _guarded_division(weights, assignments, codebook):
    numbers = assignments.flatten()
    sums = torch.zeros_like(codebook).index_add_(0, numbers, weights.detach().flatten())
    return sums / torch.bincount(numbers, minlength=len(codebook)).clamp(min=1)


def _only_those_that_are_used(weights, assignments, codebook):
    return torch.tensor([weights[assignments == j].mean().item() for j in assignments.unique()])


def _torchs_median(weights, assignments, codebook):
    new = codebook.clone()
    for j in range(len(codebook)):
        if (assignments == j).any():
            new[j] = weights[assignments == j].double().quantile(0.5)
    return new


def _adds_in_place(gradient, assignments, k, zero):
    found = torch.zeros(k)
    for at in np.ndindex(*gradient.shape):  # what an indexed += does, in the same order
        found[assignments[at]] = gradient[at]
    if zero is not None:
        found[zero] = 0
    return found


def _averages(gradient, assignments, k, zero):
    found = [
        g.mean() if len(g := gradient[assignments == j]) else torch.tensor(0.0) for j in range(k)
    ]
    if zero is not None:
        found[zero] = torch.tensor(0.0)
    return torch.stack(found)


def _if_zero(gradient, assignments, k, zero):
    found = torch.bincount(assignments.flatten(), gradient.flatten(), minlength=k)
    if zero:
        found[zero] = 0
    return found


DISGUISED = [
    ("assign", "signed distance", _argmin_of_differences),
    ("assign", "where it would be inserted", _row_of_searchsorted),
    ("update", "empty becomes NaN", _mean_of_nothing),
    ("update", "empty becomes 0", _guarded_division),
    ("update", "empty dropped", _only_those_that_are_used),
    ("update", "median", _torchs_median),
    ("codebook_gradient", "the last one", _adds_in_place),
    ("codebook_gradient", "mean", _averages),
    ("codebook_gradient", "zero is false", _if_zero),
]


# --- wrong otherwise -----------------------------------------------------------------------


def _raises(*args):
    raise ValueError("no idea")


def _changes_weights(weights, codebook):
    weights.data.sub_(1)
    return the_chapters_assign(weights, codebook)


def _changes_values(weights, codebook):
    codebook += 1
    return the_chapters_assign(weights, codebook)


def _second_nearest(weights, codebook):
    order = (weights[..., None] - codebook).abs().argsort(-1)
    return order[..., min(1, len(codebook) - 1)]


def _moves_in_place(weights, assignments, codebook):
    codebook[:] = the_chapters_update(weights, assignments, codebook)
    return codebook


def _listed(*args):
    return the_chapters_assign(*args).tolist()


def _from_one(*args):
    return the_chapters_assign(*args) + 1


def _a_little_off(*args):
    return the_chapters_update(*args) * 1.001


def _of_another_shape(*args):
    return the_chapters_update(*args)[None]


def _twice(*args):
    return 2 * the_chapters_gradient(*args)


def _one_byte_more(*args):
    return the_chapters_bytes(*args) + 1


def _none_below_three(count):
    return the_chapters_largest(count) if count > 2 else 2


def _pair(weights, codebook):
    return lambda: (torch.tensor(weights), torch.tensor(codebook))


HIDES = ": on your input the new codebook comes out right, so the mistake hides"

WRONG = {
    "assign": {
        (lambda *args: None): "the numbers are a tensor.*given: +None",
        _raises: r'ValueError: no idea.*at line .*raise ValueError\("no idea"\)',
        _listed: r"the numbers are a tensor.*given: +\[",
        (lambda *args: the_chapters_assign(*args) > 0): "the numbers are integers",
        (lambda *args: the_chapters_assign(*args).float()): "the numbers are integers",
        _from_one: r"has \d values, numbered 0 to \d, and none is number \d",
        _changes_weights: "your function changed its input",
        _changes_values: "your function changed its input",
        _second_nearest: r"[-\d.]+ is [\d.]+ from .*, number \d+, and .*which you chose",
    },
    "update": {
        (lambda *args: None): "the codebook is a float tensor.*given: +None",
        _raises: "ValueError: no idea",
        _moves_in_place: "your function changed its input",
        (lambda *args: the_chapters_update(*args).long()): "the codebook is a float tensor",
        _a_little_off: r"the \d+ weights of value \d+ have the mean [-\d.]+; yours is",
        _of_another_shape: r"as many values as the old one, \d+, on one axis",
    },
    "codebook_gradient": {
        (lambda *args: None): "the gradient is a float tensor",
        _twice: r"value \d+ has \d+ weights, and their gradients sum to",
    },
    "shared_bytes": {
        (lambda *args: None): "return a whole number of bytes.*given: +None",
        (lambda *args: "42"): "return a whole number of bytes",
        (lambda *args: True): "return a whole number of bytes",
        (lambda *args: the_chapters_bytes(*args) + 0.5): "return a whole number of bytes",
        _one_byte_more: r"numbers of \d+ bits are \d+ bits or \d+ bytes",
    },
    "largest_k": {
        (lambda *args: None): "return a whole number",
        _none_below_three: "1 weights take 4 bytes: none pays, and 1 values take 4",
    },
    "best_cut": {
        (lambda *args: None): r"return a whole number from 1 to \d+",
        (lambda x: 0): r"return a whole number from 1 to \d+",
        len: r"return a whole number from 1 to \d+",
        # a known mistake may cut at the same place, and then its hint is shown
        (lambda x: 1): r"cut before x\[1\], the squared error is [\d.]+; cut before x\[.*(hint:)?",
    },
    "break_k_means": {
        _pair([1.0, 2.0], [1.0, 2.0]): "break_k_means: the one below, magnitudes, median, "
        rf"empty becomes 0{HIDES} \(wrong there, as it should be: signed distance\)",
        _pair([0.1, 0.2, 0.45, 0.7, 2.6], [0.0, 1.0, 3.0, 9.0]): f": magnitudes{HIDES}",
        _pair([-3.0, 0.0, 0.9], [-9.0, 0.0, 1.0, 3.0]): f": median{HIDES}",
        (lambda *args: None): "return two tensors",
        (lambda: (1, 2, 3)): "return two tensors",
        _pair([1, 2], [0.0, 1.0]): "float tensors with one axis",
        _pair([[1.0, 2.0]], [0.0, 1.0]): "float tensors with one axis",
        _pair([1.0] * 7, [0.0, 1.0]): "at most 6 finite weights and 4 finite values",
        _pair([1.0], [0.0, 1.0, 2.0, 3.0, 4.0]): "at most 6 finite weights and 4 finite values",
        _pair([math.nan], [0.0, 1.0]): "at most 6 finite weights",
        _pair([1.0], [1.0, 0.0]): "the codebook rises",
        _pair([0.5, 0.9], [0.0, 1.0]): "exactly between two values",
    },
}
