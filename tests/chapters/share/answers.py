"""The exercises of chapter 04: right answers pass, and each wrong one is told why."""

import math
import re
import time
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from shrink import quantization, sharing
from shrink.chapters import share
from shrink.chapters.share import bytes_of_sharing as share_bytes
from shrink.chapters.share import cut as share_cut
from shrink.chapters.share import gradient as share_gradient
from shrink.chapters.share import updating as share_update
from shrink.classroom.exercises.exercise import Exercise
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
NAMES = (
    "assign",
    "update",
    "codebook_gradient",
    "shared_bytes",
    "largest_k",
    "best_cut",
    "break_k_means",
)
EXERCISES = {name: getattr(share, name) for name in NAMES}
WITH_MISTAKES = {name: e for name, e in EXERCISES.items() if e.mistakes}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


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


def by_numpy(weights, codebook):
    w, c = weights.detach().cpu().numpy(), codebook.cpu().numpy()
    return torch.from_numpy(np.asarray(np.abs(np.subtract.outer(w, c)).argmin(-1)))


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
    costs = share_cut.costs_of_cuts(x)
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
        by_numpy,
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


@pytest.mark.parametrize("name", [n for n in NAMES if EXERCISES[n].reference])
def test_the_reference_passes(name):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], EXERCISES[name].reference, seed)
        assert outcome.state == "done", outcome.message


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    judge(EXERCISES[name], RIGHT[name][0])
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1.5


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    found = [e.name for e in vars(share).values() if isinstance(e, Exercise)]
    assert found == list(NAMES)
    exercises = list(EXERCISES.values())
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 4
    assert [exercise.minutes for exercise in exercises] == [10, 15, 15, 8, 8, 15, 10]
    assert sum(exercise.minutes for exercise in exercises if exercise.core) <= 40
    for name in ("largest_k", "best_cut", "break_k_means"):
        assert EXERCISES[name].reference is None


# --- the oracles ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 5, 16])
def test_a_step_is_that_of_scikit_learn(k):
    g = torch.Generator().manual_seed(k)
    x = torch.randn(500, generator=g)
    start = sharing.initial_codebook(x, k, "density").float()
    theirs = KMeans(k, init=start[:, None].double().numpy(), n_init=1, max_iter=1, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x[:, None].double().numpy())
    numbers = share.assignment._nearest(x, start)
    ours = share_update.means(x, numbers, start)
    assert ours.numpy() == pytest.approx(theirs.cluster_centers_[:, 0], abs=1e-5)


def test_both_neighbours_of_a_tie_are_right_and_no_other():
    weights, codebook = torch.tensor([1.0, 1.2]), torch.tensor([0.0, 2.0, 3.0])
    for numbers, right in (([0, 1], True), ([1, 1], True), ([1, 0], False), ([2, 1], False)):
        wrong = share.assignment.wrong_numbers(torch.tensor(numbers), weights, codebook)
        assert (wrong is None) == right


def test_the_bytes_are_those_of_what_is_packed():
    for count, k in ((1000, 16), (999, 5), (7, 2), (50, 100)):
        numbers = torch.arange(count) % k
        packed = quantization.pack_bits(numbers, share_bytes._bits(k))
        assert share_bytes._right_bytes(count, k) == packed.nbytes + torch.zeros(k).nbytes
    assert [share_bytes._right_largest(n) for n in (1, 2, 3)] == [0, 1, 2]


def test_the_gradient_is_what_a_step_of_all_weights_does():
    """Of a loss that is no sum: it is moved by as much as a small step along the codebook says."""
    g = torch.Generator().manual_seed(0)
    numbers, codebook = torch.randint(0, 3, (20,), generator=g), torch.randn(3, generator=g)
    mix = torch.randn(20, 20, generator=g, dtype=torch.float64)

    def loss(values):
        w = values.double()[numbers]
        return torch.sin(w @ mix @ w)

    w = codebook.double()[numbers].requires_grad_()
    torch.sin(w @ mix @ w).backward()
    found = share_gradient.by_autograd(w.grad, numbers, 3, None)
    for j in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[j] = 1e-6
        slope = (loss(codebook.double() + step) - loss(codebook.double() - step)) / 2e-6
        assert found[j].item() == pytest.approx(slope.item(), rel=1e-4)


def test_no_cut_is_better_than_the_oracles():
    for seed in range(20):
        x = torch.randn(40, generator=torch.Generator().manual_seed(seed)).sort().values ** 3
        theirs = sharing.distortion(x, sharing.optimal_codebook(x, 2)) * 40
        assert min(share_cut.costs_of_cuts(x)) == pytest.approx(theirs, rel=1e-4)


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in WITH_MISTAKES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert "your code raised" not in message
        assert max(map(len, message.splitlines())) < 450


@pytest.mark.parametrize("exercise", WITH_MISTAKES.values(), ids=WITH_MISTAKES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len(mistakes) >= 5
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


def _argmin_of_differences(weights, codebook):
    return torch.argmin(weights.unsqueeze(-1) - codebook, dim=-1)


def _row_of_searchsorted(weights, codebook):
    return torch.searchsorted(codebook, weights.detach().contiguous())


def _floats_of_a_loop(weights, codebook):
    found = torch.zeros(weights.shape)
    for at in np.ndindex(*weights.shape):
        found[at] = (weights[at] - codebook).abs().argmin()
    return found


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


def _log2_alone(count, k):
    return math.ceil(count * math.log2(k) / 8) + 4 * k


def _gap(x):
    return 1 + int((x[1:] - x[:-1]).argmax())


AS_STUDENTS_WRITE_THEM = [
    ("assign", "signed distance", _argmin_of_differences),
    ("assign", "where it would be inserted", _row_of_searchsorted),
    ("assign", "kept float", _floats_of_a_loop),
    ("update", "empty becomes NaN", _mean_of_nothing),
    ("update", "empty becomes 0", _guarded_division),
    ("update", "empty dropped", _only_those_that_are_used),
    ("update", "median", _torchs_median),
    ("codebook_gradient", "the last one", _adds_in_place),
    ("codebook_gradient", "mean", _averages),
    ("codebook_gradient", "zero is false", _if_zero),
    ("shared_bytes", "bits not whole", _log2_alone),
    ("best_cut", "largest gap", _gap),
]


@pytest.mark.parametrize(("name", "mistake", "function"), AS_STUDENTS_WRITE_THEM)
def test_a_mistake_is_known_as_students_write_it(name, mistake, function):
    (found,) = (m for m in EXERCISES[name].mistakes if m.name == mistake)
    for seed in SEEDS:
        message = rejected(EXERCISES[name], function, seed)
        assert found.hint in message, message


# --- other wrong answers -------------------------------------------------------------------


def _nothing(*args):
    pass


def _raises(*args):
    raise ValueError("no idea")


def _text(*args):
    return "42"


def _listed(*args):
    return the_chapters_assign(*args).tolist()


def _changes_weights(weights, codebook):
    weights.data.sub_(1)
    return the_chapters_assign(weights, codebook)


def _sorts_in_place(weights, codebook):
    codebook += 1
    return the_chapters_assign(weights, codebook)


def _second_nearest(weights, codebook):
    order = (weights[..., None] - codebook).abs().argsort(-1)
    return order[..., min(1, len(codebook) - 1)]


def _bool(weights, codebook):
    return the_chapters_assign(weights, codebook) > 0


def _moves_in_place(weights, assignments, codebook):
    codebook[:] = the_chapters_update(weights, assignments, codebook)
    return codebook


def _whole_numbers(weights, assignments, codebook):
    return the_chapters_update(weights, assignments, codebook).long()


def _a_little_off(weights, assignments, codebook):
    return the_chapters_update(weights, assignments, codebook) * 1.001


def _of_another_shape(weights, assignments, codebook):
    return the_chapters_update(weights, assignments, codebook)[None]


def _twice(*args):
    return 2 * the_chapters_gradient(*args)


def _one_byte_more(*args):
    return the_chapters_bytes(*args) + 1


def _a_fraction(*args):
    return the_chapters_bytes(*args) + 0.5


def _true(*args):
    return True


def _none_below_three(count):
    return the_chapters_largest(count) if count > 2 else 2


def _zero(x):
    return 0


def _all(x):
    return len(x)


def _always_one(x):
    return 1


OTHERS = [
    ("assign", _nothing, "the numbers are a tensor.*given: +None"),
    ("assign", _raises, 'ValueError: no idea.*at line .*raise ValueError\\("no idea"\\)'),
    ("assign", _listed, r"the numbers are a tensor.*given: +\["),
    ("assign", _bool, "the numbers are integers"),
    ("assign", _changes_weights, "your function changed its input"),
    ("assign", _sorts_in_place, "your function changed its input"),
    ("assign", _second_nearest, r"[-\d.]+ is [\d.]+ from .*, number \d+, and .*which you chose"),
    ("update", _nothing, "the codebook is a float tensor.*given: +None"),
    ("update", _raises, "ValueError: no idea"),
    ("update", _moves_in_place, "your function changed its input"),
    ("update", _whole_numbers, "the codebook is a float tensor"),
    ("update", _a_little_off, r"the \d+ weights of value \d+ have the mean [-\d.]+; yours is"),
    ("update", _of_another_shape, r"as many values as the old one, \d+, on one axis"),
    ("codebook_gradient", _nothing, "the gradient is a float tensor"),
    ("codebook_gradient", _twice, r"value \d+ has \d+ weights, and their gradients sum to"),
    ("shared_bytes", _nothing, "return a whole number of bytes.*given: +None"),
    ("shared_bytes", _text, "return a whole number of bytes"),
    ("shared_bytes", _true, "return a whole number of bytes"),
    ("shared_bytes", _a_fraction, "return a whole number of bytes"),
    ("shared_bytes", _one_byte_more, r"numbers of \d+ bits are \d+ bits or \d+ bytes"),
    ("largest_k", _nothing, "return a whole number"),
    ("largest_k", _none_below_three, "1 weights take 4 bytes: none pays, and 1 values take 4"),
    ("best_cut", _nothing, r"return a whole number from 1 to \d+"),
    ("best_cut", _zero, r"return a whole number from 1 to \d+"),
    ("best_cut", _all, r"return a whole number from 1 to \d+"),
    ("best_cut", _always_one, r"cut before x\[1\], the squared error is [\d.]+; cut before x\["),
]


@pytest.mark.parametrize(("name", "function", "message"), OTHERS)
def test_other_wrong_answers_are_told_what_is_wrong(name, function, message):
    for seed in FEW_SEEDS:
        text = rejected(EXERCISES[name], function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text or name == "best_cut", text  # a mistake may give the same there


# --- break_k_means -------------------------------------------------------------------------


def test_each_mistake_to_break_is_wrong_on_the_chapters_input():
    weights, codebook = (t.double() for t in the_chapters_break())
    right = share.assignment._step()(weights, codebook)
    found = [m.function(weights, codebook) for m in share.assignment.BREAKABLE]
    assert not any(torch.allclose(one, right) for one in found)
    assert len(share.assignment.BREAKABLE) == 5


def pair(weights, codebook):
    return lambda: (torch.tensor(weights), torch.tensor(codebook))


HIDES = [
    (pair([1.0, 2.0], [1.0, 2.0]), "the one below|magnitudes|median|empty becomes 0"),
    (pair([0.1, 0.2, 0.45, 0.7, 2.6], [0.0, 1.0, 3.0, 9.0]), "magnitudes"),
    (pair([-3.0, 0.0, 0.9], [-9.0, 0.0, 1.0, 3.0]), "median"),
]


@pytest.mark.parametrize(("function", "names"), HIDES)
def test_what_hides_a_mistake_is_told_which(function, names):
    text = rejected(share.break_k_means, function)
    (said,) = re.findall(r"break_k_means: (.*): on your input", text)
    assert set(names.split("|")) == set(said.split(", ")), text


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_nothing, "return two tensors"),
        (lambda: (1, 2, 3), "return two tensors"),
        (pair([1, 2], [0.0, 1.0]), "float tensors with one axis"),
        (pair([[1.0, 2.0]], [0.0, 1.0]), "float tensors with one axis"),
        (pair([1.0] * 7, [0.0, 1.0]), "at most 6 finite weights and 4 finite values"),
        (pair([1.0], [0.0, 1.0, 2.0, 3.0, 4.0]), "at most 6 finite weights and 4 finite values"),
        (pair([math.nan], [0.0, 1.0]), "at most 6 finite weights"),
        (pair([1.0], [1.0, 0.0]), "the codebook rises"),
        (pair([0.5, 0.9], [0.0, 1.0]), "exactly between two values"),
    ],
)
def test_what_is_no_input_for_k_means_is_said(function, message):
    assert message in rejected(share.break_k_means, function)


def test_no_two_hints_of_the_chapter_are_the_same():
    hints = Counter(m.hint for exercise in WITH_MISTAKES.values() for m in exercise.mistakes)
    shared = {hint for hint, times in hints.items() if times > 1}
    assert all("minlength" in hint for hint in shared)
