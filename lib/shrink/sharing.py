"""Weight sharing: each weight becomes one of a few values, and is stored as that value's number.

The values, a *codebook*, are found by k-means. In one dimension a cluster is a stretch of the
sorted numbers, so a step is a binary search for each boundary and two differences of prefix sums.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

INITS = ("linear", "density", "histogram", "random")
BINS = 1000  # of the histogram, at least
MOST = 2**16  # values in a codebook
STEPS = 10_000  # of k-means at most; it ends by itself long before


@dataclass(frozen=True, eq=False)
class Shared:
    """A weight as numbers into a codebook.

    `codebook` is float32 (values,); `assignments` has the weight's shape, uint8 for at most 256
    values and int32 for more. The value number `zero`, if there is one, is 0 and stays 0.
    """

    codebook: Tensor
    assignments: Tensor
    zero: int | None = None

    @property
    def weight(self) -> Tensor:
        """The weight that they stand for: float32 of the assignments' shape."""
        return rebuild(self.assignments, self.codebook)


def share(
    weight: Tensor, k: int, init: str = "linear", *, keep_zeros: bool = True, seed: int = 0
) -> Shared:
    """The weight with k different values, found by k-means, and its zeros as they are.

    Zeros, which pruning left, are not clustered: 0 is one more value in the codebook, if there are
    any. There are fewer than k values where the weight has fewer.

    Args:
        weight: float, any shape.
        k: 1 to 65 535 values besides the 0.
        init: one of `INITS`; see `initial_codebook`.
        keep_zeros: False clusters the zeros with the rest.
        seed: for the initialisation "random" alone.

    Source: Han, Mao, Dally 2016, "Deep Compression", section 3.

    Raises:
        ValueError: NaN or infinities in the weight, k out of range, or an unknown init.

    >>> shared = share(torch.tensor([0.0, 1.0, 1.2, 0.0, -3.0]), k=2)
    >>> shared.codebook, shared.assignments
    (tensor([-3.0000,  0.0000,  1.1000]), tensor([1, 2, 2, 1, 0], dtype=torch.uint8))
    """
    flat = weight.detach().flatten()
    kept = flat[flat != 0] if keep_zeros else flat
    _check_k(k, MOST - 1)
    codebook = fit_codebook(kept, k, init, seed) if len(kept) else kept.float()
    if len(kept) == len(flat) > 0:
        return Shared(codebook, assign(weight, codebook))
    zero = int((codebook < 0).sum())
    numbers = _numbers(flat, codebook) if len(codebook) else flat.long()
    numbers += numbers >= zero
    numbers[flat == 0] = zero
    codebook = torch.cat([codebook[:zero], codebook.new_zeros(1), codebook[zero:]])
    return Shared(codebook, _narrow(numbers, len(codebook)).view(weight.shape), zero)


def initial_codebook(values: Tensor, k: int, init: str = "linear", seed: int = 0) -> Tensor:
    """Where k-means begins: float64 (k,), rising; some may be equal.

    Args:
        values: float, any shape, at least one number.
        k: 1 to 65 536.
        init: "linear": at equal distances, from the least number to the largest. "density": so that
            as many numbers lie between each two. "histogram": where bins of equal width hold the
            most numbers. "random": k of the numbers.
        seed: for "random" alone.

    Source: Han, Mao, Dally 2016, section 3.2, which calls "random" Forgy.

    Raises:
        ValueError: no numbers, NaN or infinities among them, k out of range, or an unknown init.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 9.0, 10.0])
    >>> initial_codebook(x, 3).tolist()
    [0.0, 5.0, 10.0]
    >>> initial_codebook(x, 2, "density").tolist()  # a quarter and three quarters of the way up
    [1.0, 9.0]
    """
    return torch.from_numpy(_initial(_in_order(values), _check_k(k), init, seed))


def _initial(x: np.ndarray, k: int, init: str, seed: int) -> np.ndarray:
    if init == "linear":
        return np.linspace(x[0], x[-1], k) if k > 1 else (x[:1] + x[-1]) / 2
    if init == "density":
        return np.quantile(x, (np.arange(k) + 0.5) / k)
    if init == "histogram":
        counts, edges = np.histogram(x, max(BINS, k))
        fullest = np.sort(np.argsort(-counts, kind="stable")[:k])
        return (edges[fullest] + edges[fullest + 1]) / 2
    if init == "random":
        generator = torch.Generator().manual_seed(seed)
        return np.sort(x[torch.randint(len(x), (k,), generator=generator).numpy()])
    raise ValueError(f"no initialisation {init!r}; there are {', '.join(INITS)}")


def fit_codebook(values: Tensor, k: int, init: str = "linear", seed: int = 0) -> Tensor:
    """The values that k-means arrives at: float32 (k,), rising, on the values' device.

    Each step gives every number to the nearest value, and moves each value to the mean of its
    numbers, until nothing changes. A value that no number is nearest to takes half of the cluster
    with the greatest squared error. Of fewer different numbers than k, all are the codebook.

    The arguments and errors are those of `initial_codebook`.

    Source: Lloyd 1982, "Least squares quantization in PCM", method I.

    >>> fit_codebook(torch.tensor([0.0, 1.0, 2.0, 9.0, 10.0]), 2)
    tensor([1.0000, 9.5000])
    """
    x = _in_order(values)
    start = _initial(x, _check_k(k), init, seed)
    different = x[np.diff(x, prepend=np.nan) != 0]
    codebook = _lloyd(x, start) if len(different) > k else different
    return torch.from_numpy(codebook).float().to(values.device)


def _lloyd(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """K-means on sorted numbers of which more than k differ, from these values on."""
    sums, squares = (np.concatenate([[0.0], (x**power).cumsum()]) for power in (1, 2))
    before = None
    for _ in range(STEPS):
        ends = _ends(x, values)
        while (empty := np.flatnonzero(ends[1:] == ends[:-1])).size:
            ends = _split(x, sums, squares, np.delete(ends, empty[0]))
        if before is not None and np.array_equal(ends, before):
            break
        before = ends
        values = np.diff(sums[ends]) / np.diff(ends)
    return values


def _ends(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the clusters of the values begin and end: cluster i is x[ends[i]:ends[i + 1]]."""
    return np.concatenate([[0], x.searchsorted((values[1:] + values[:-1]) / 2, "right"), [len(x)]])


def _split(x: np.ndarray, sums: np.ndarray, squares: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The ends with one more cluster: that of the greatest squared error is cut at its mean."""
    start, end = ends[:-1], ends[1:]
    sizes = np.maximum(end - start, 1)
    means = (sums[end] - sums[start]) / sizes
    errors = squares[end] - squares[start] - sizes * means**2
    differ = (end > start) & (x[np.minimum(start, len(x) - 1)] < x[end - 1])
    worst = np.where(differ, errors, -np.inf).argmax()
    cut = x.searchsorted(means[worst], "right")
    return np.insert(ends, worst + 1, np.clip(cut, start[worst] + 1, end[worst] - 1))


def optimal_codebook(values: Tensor, k: int) -> Tensor:
    """The k values of the least squared error there are: float32 (k,), rising.

    The best way to cut the first i numbers into j clusters is the best way to cut the first
    t into j - 1, for some t, and a cluster of the rest. The best t rises with i and with j, so
    that few are tried: O(k n log n) time, and 4 k n bytes.

    Args:
        values: float, any shape, at least one number; n of them differ.
        k: 1 to 65 536.

    Source: Wang and Song 2011, "Ckmeans.1d.dp"; Grønlund et al. 2017, arXiv 1701.07204, section 3.

    Raises:
        ValueError: no numbers, NaN or infinities among them, or k out of range.

    >>> x = torch.tensor([0.0, 0.0, 4.0, 10.0])
    >>> optimal_codebook(x, 2)  # 0 0 4 | 10 costs 10.7, and 0 0 | 4 10 costs 18
    tensor([ 1.3333, 10.0000])
    """
    return optimal_codebooks(values, k)[-1]


def optimal_codebooks(values: Tensor, most: int) -> list[Tensor]:
    """The best codebooks of 1, 2, … `most` values, in little more time than the last alone.

    The arguments and errors are those of `optimal_codebook`.

    >>> optimal_codebooks(torch.tensor([0.0, 0.0, 4.0]), 2)
    [tensor([1.3333]), tensor([0., 4.])]
    """
    x, counts = np.unique(_in_order(values), return_counts=True)
    n, most = len(x), _check_k(most)
    centre = x[n // 2]  # near which sums stay small
    moments = [
        np.concatenate([[0.0], (counts * (x - centre) ** power).cumsum()]) for power in range(3)
    ]
    cuts = _best_cuts(moments, n, min(most, n - 1)) if n > 1 else []
    codebooks = []
    for k in range(1, most + 1):
        codebook = x
        if k < n:
            ends = [n]
            for cut in reversed(cuts[:k]):
                ends.append(int(cut[ends[-1]]))
            ends.reverse()
            weight, first, _ = (np.diff(moment[ends]) for moment in moments)
            codebook = first / weight + centre
        codebooks.append(torch.from_numpy(codebook).float().to(values.device))
    return codebooks


def _best_cuts(moments: list[np.ndarray], n: int, k: int) -> list[np.ndarray]:
    """For each number of clusters: where the last of them begins, of the first i numbers."""
    weight, first, second = moments

    def cost(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Of clusters from start to end: the squared distances to their means."""
        mass, sums = weight[end] - weight[start], first[end] - first[start]
        return second[end] - second[start] - sums * sums / mass

    ends = np.arange(1, n + 1)
    least = np.concatenate([[0.0], cost(np.zeros_like(ends), ends)])
    cuts = [np.zeros(n + 1, np.int32)]
    for j in range(2, k + 1):
        cut = np.full(n + 1, n, np.int32)  # beyond what is known yet
        found = np.full(n + 1, np.inf)
        step = 1 << n.bit_length() - 1
        cut[:j] = 0
        while step:  # the odd multiples of the step, each between two that are known
            i = np.arange(step, n + 1, 2 * step)
            i = i[i >= j]
            low = np.maximum(np.maximum(cuts[-1][i], cut[i - step]), j - 1)
            high = np.minimum(cut[np.minimum(i + step, n)], i - 1)
            high = np.maximum(high, low)
            tried, which = _stretches(low, high)
            costs = least[tried] + cost(tried, i[which])
            found[i] = np.minimum.reduceat(costs, _starts(low, high)) if len(i) else 0
            best = np.flatnonzero(costs == found[i][which])[::-1]
            cut[i[which[best]]] = tried[best]  # of equal ones the first, which is written last
            step //= 2
        least, cuts = found, [*cuts, cut]
    return cuts


def _starts(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where each of the stretches low..high begins when they are laid end to end."""
    lengths = high - low + 1
    return lengths.cumsum() - lengths


def _stretches(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers of all stretches low..high, laid end to end, and whose each one is."""
    lengths = high - low + 1
    which = np.arange(len(low)).repeat(lengths)
    return np.arange(len(which)) + (low - _starts(low, high))[which], which


def assign(values: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest value in the codebook, for each of the values; at a tie the lower.

    Args:
        values: float, any shape.
        codebook: float, rising, of one axis, 1 to 65 536 values.

    Returns:
        uint8 of the shape of `values` for a codebook of at most 256 values, else int32.

    Raises:
        ValueError: NaN or infinities, or a codebook that is empty, too long or not rising.

    >>> assign(torch.tensor([0.4, 0.5, 0.6, 9.0]), torch.tensor([0.0, 1.0]))
    tensor([0, 0, 1, 1], dtype=torch.uint8)
    """
    _check_k(codebook.numel())
    if codebook.dim() != 1 or not (codebook[1:] >= codebook[:-1]).all():
        raise ValueError(f"a codebook has one axis and rises, this one is {codebook}")
    _refuse_nonfinite(values)
    return _narrow(_numbers(values, codebook), len(codebook))


def _numbers(values: Tensor, codebook: Tensor) -> Tensor:
    codebook = codebook.double()
    return torch.bucketize(values.detach().double(), (codebook[1:] + codebook[:-1]) / 2)


def _narrow(numbers: Tensor, k: int) -> Tensor:
    return numbers.to(torch.uint8 if k <= 256 else torch.int32)


def rebuild(assignments: Tensor, codebook: Tensor) -> Tensor:
    """The values that the numbers stand for: of the codebook's type and the assignments' shape.

    >>> rebuild(torch.tensor([[1, 0], [0, 0]]), torch.tensor([0.5, 2.0]))
    tensor([[2.0000, 0.5000],
            [0.5000, 0.5000]])
    """
    return codebook[assignments.long()]


def distortion(values: Tensor, codebook: Tensor) -> float:
    """The mean squared distance of the values to the nearest in the codebook.

    >>> distortion(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([1.0, 4.0]))  # (1 + 0 + 0) / 3
    0.3333333333333333
    """
    left = rebuild(assign(values, codebook), codebook.double())
    return float((values.detach().double() - left).square().mean())


def num_bytes(count: int, k: int) -> int:
    """Of `count` shared weights: numbers of ⌈log2 k⌉ bits, packed, and k values of 4 bytes.

    >>> num_bytes(1000, 16)  # 500 and 64
    564
    """
    return -(-count * (_check_k(k) - 1).bit_length() // 8) + 4 * k


def centroid_gradient(
    gradient: Tensor, assignments: Tensor, k: int, reduction: str = "sum"
) -> Tensor:
    """The gradient of each value in the codebook: the sum of its weights' gradients, (k,).

    Args:
        gradient: float, of the weight's shape: that of the loss with respect to each weight.
        assignments: integers of that shape, each below k.
        reduction: "sum" is what the chain rule says. "mean" divides by the number of weights, so
            values with many weights do not move faster, but it is no gradient of the loss.

    Source: Han, Mao, Dally 2016, equation 3.

    Raises:
        ValueError: another reduction, or shapes that differ.

    >>> centroid_gradient(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1]), k=2)
    tensor([3., 5.])
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"the reduction is sum or mean, not {reduction!r}")
    if gradient.shape != assignments.shape:
        shapes = f"{tuple(gradient.shape)}, assignments {tuple(assignments.shape)}"
        raise ValueError(f"gradient and assignments have one shape, not {shapes}")
    numbers = assignments.flatten().long()
    sums = torch.zeros(k, dtype=gradient.dtype, device=gradient.device)
    sums.index_add_(0, numbers, gradient.flatten())
    if reduction == "mean":
        sums /= torch.bincount(numbers, minlength=k).clamp(min=1)
    return sums


@contextmanager
def hold_shared(
    weights: dict[str, Tensor],
    shared: dict[str, Shared],
    optimizer: Optimizer,
    reduction: str = "sum",
) -> Iterator[None]:
    """Change the weights in place to their shared values, and train the codebooks in their place.

    Inside the `with` block each weight gets the gradient of its value in the codebook, so those
    that share one move together; a 0 that is kept does not move. After each step of `optimizer`,
    `shared` holds the codebooks as they are then, and the assignments as they were.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 3.0, 0.0]))
    >>> shared = {"w": share(w, k=1)}
    >>> sgd = torch.optim.SGD([w], lr=0.1)
    >>> with hold_shared({"w": w}, shared, sgd):
    ...     w.sum().backward()
    ...     sgd.step()
    >>> w.data, shared["w"].codebook  # 2 - 0.1 · (1 + 1)
    (tensor([1.8000, 1.8000, 0.0000]), tensor([0.0000, 1.8000]))

    Args:
        weights: name → leaf tensor that `optimizer` trains.
        shared: name → what `share` made of the weight of that name.
        optimizer: any `torch.optim.Optimizer`.
        reduction: as in `centroid_gradient`.

    Raises:
        ValueError: something shared has no weight of its name, or another shape, or its weight is
            no leaf that requires a gradient. Nothing is changed then.

    Source: Han, Mao, Dally 2016, section 3.3.
    """
    for name, parts in shared.items():
        weight = weights.get(name)
        if weight is None or weight.shape != parts.assignments.shape:
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(f"{name} is shared as {tuple(parts.assignments.shape)}, not {shape}")
        if not (weight.is_leaf and weight.requires_grad):
            raise ValueError(f"{name} is not a parameter to train: a leaf that requires a gradient")
    held = {name: _Held(weights[name], parts) for name, parts in shared.items()}

    def tied_gradient(name: str) -> Callable[[Tensor], Tensor]:
        return lambda gradient: held[name].gradient(gradient, reduction)

    def tie(*_: object) -> None:
        for name, one in held.items():
            shared[name] = one.tied()

    hooks = [optimizer.register_step_post_hook(tie)]
    try:
        hooks += [weights[name].register_hook(tied_gradient(name)) for name in held]
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Held:
    """A weight whose values are those of a codebook, and stay so."""

    def __init__(self, weight: Tensor, parts: Shared) -> None:
        self.weight, self.parts = weight, parts
        self.numbers = parts.assignments.long()
        flat = self.numbers.flatten()
        self.used, first = torch.unique(flat, return_inverse=True)
        places = torch.arange(len(flat), device=flat.device)
        self.one_each = places.new_zeros(len(self.used)).scatter_(0, first, places)
        self._write(parts.codebook)

    @torch.no_grad()
    def _write(self, codebook: Tensor) -> None:
        self.weight.copy_(codebook[self.numbers])

    def gradient(self, gradient: Tensor, reduction: str) -> Tensor:
        of_values = centroid_gradient(
            gradient, self.numbers, len(self.parts.codebook), reduction=reduction
        )
        if self.parts.zero is not None:
            of_values[self.parts.zero] = 0
        return of_values[self.numbers]

    @torch.no_grad()
    def tied(self) -> Shared:
        """With the codebook that the step left; one weight of each value tells it."""
        codebook = self.parts.codebook.clone()
        codebook[self.used] = self.weight.flatten()[self.one_each].to(codebook.dtype)
        if self.parts.zero is not None:
            codebook[self.parts.zero] = 0
        self._write(codebook)
        self.parts = replace(self.parts, codebook=codebook)
        return self.parts


def _in_order(values: Tensor) -> np.ndarray:
    """The numbers in rising order, float64."""
    _refuse_nonfinite(values)
    if values.numel() == 0:
        raise ValueError("a codebook is found for at least one number, got none")
    return np.sort(values.detach().cpu().float().numpy(), axis=None).astype(np.float64)


def _refuse_nonfinite(values: Tensor) -> None:
    bad = int((~values.isfinite()).sum())
    if bad:
        raise ValueError(f"{bad} of {values.numel()} values are NaN or infinite")


def _check_k(k: int, most: int = MOST) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= most:
        raise ValueError(f"a codebook has 1 to {most} values, not {k!r}")
    return k
