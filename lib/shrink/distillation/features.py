"""What a student learns from inside a teacher: features, where they are strong, how they relate.

Each loss compares activations that the caller has at hand; `captured` gets them out of a network.
No gradient goes to the teacher's. Features in 16 bits are compared in 32.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.modes import seeded


@contextmanager
def captured(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Inside, each call of the model leaves the outputs of the named modules in a dict.

    A loss of them reaches the weights: they are the tensors themselves, no copies. So what changes
    one in place later, as `nn.ReLU(inplace=True)` does, changes it here. Of a module that runs
    twice the last output is kept. After the block, also one that failed, the hooks are gone.

    Args:
        model: any network.
        names: as in `model.named_modules()`.

    Yields:
        name → what that module returned last; empty before the first call.

    Raises:
        ValueError: no module has that name; nothing is hooked then.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with captured(model, ["0"]) as found:
    ...     answers = model(torch.zeros(5, 3))
    >>> found["0"].shape, found["0"].requires_grad
    (torch.Size([5, 2]), True)
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    names = list(names)
    if missing := [name for name in names if name not in modules]:
        there = ", ".join(name for name in modules if name)
        raise ValueError(f"no module named {', '.join(map(repr, missing))}; there are {there}")
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            found[name] = output

        return hook

    hooks = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def build_regressor(
    student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int = 0
) -> nn.Module:
    """The layer that makes features of the teacher's shape out of the student's, to be trained too.

    For vectors it is linear. For maps it is a convolution without padding, whose kernel is so large
    that the sizes fit: 1 x 1 where they are equal.

    Args:
        student_shape, teacher_shape: of one image's features: (features,), or (channels, height,
            width) with the student's maps at least as large.
        seed: of the initial weights. The CPU's own random state is left as it was.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", section 2.2.

    Raises:
        ValueError: the shapes are of different kinds, or the student's maps are the smaller.

    >>> build_regressor((16, 8, 8), (64, 6, 6))
    Conv2d(16, 64, kernel_size=(3, 3), stride=(1, 1))
    """
    (ours, *ours_size), (theirs, *theirs_size) = student_shape, teacher_shape
    kernel = [a - b + 1 for a, b in zip(ours_size, theirs_size, strict=False)]
    axes = {len(ours_size), len(theirs_size)}
    if axes not in ({0}, {2}) or any(side < 1 for side in kernel):
        raise ValueError(
            "features must be vectors or maps, the student's maps at least as large as the "
            f"teacher's, not {tuple(student_shape)} and {tuple(teacher_shape)}"
        )
    with seeded(seed):
        return nn.Conv2d(ours, theirs, kernel) if kernel else nn.Linear(ours, theirs)


def hint_loss(
    student_features: Tensor, teacher_features: Tensor, regressor: Callable[[Tensor], Tensor]
) -> Tensor:
    """Half the mean squared difference of the student's features, after a regressor, and the hint.

    Args:
        student_features: float (n, ...).
        teacher_features: float (n, ...), the hint.
        regressor: makes the teacher's shape of the student's features, as of `build_regressor`;
            its parameters are trained with the student's. `nn.Identity()` where shapes agree.

    Returns:
        The loss, without axes.

    Source: Romero et al. 2015, equation 3.
    Differs: the paper sums over an image's features; here it is the mean over them and the batch,
        so that one weight for this loss serves layers of any size.

    Raises:
        ValueError: the regressor's result has not the shape of the teacher's features.

    >>> student, hint = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    >>> hint_loss(student, hint, nn.Identity())  # 1/2 · (0² + 2²) / 2
    tensor(1.)
    """
    guided = regressor(student_features)
    if guided.shape != teacher_features.shape:
        raise ValueError(
            f"the regressor makes {tuple(guided.shape)} of {tuple(student_features.shape)}, "
            f"and the teacher's features are {tuple(teacher_features.shape)}"
        )
    return F.mse_loss(_wide(guided), _wide(teacher_features.detach())) / 2


def attention_map(maps: Tensor, p: float = 2) -> Tensor:
    """Where a layer is active: the sum over channels of the magnitudes to the power p, normalised.

    Args:
        maps: float (n, channels, ...), the axes of space last.
        p: at least 1; the larger, the more the strongest place counts.

    Returns:
        (n, places), float32 or float64, each row of Euclidean length 1, or 0 where all is 0.

    Source: Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", section 3.1.

    Raises:
        ValueError: p is less than 1, or there are no axes of space.

    >>> two_channels = torch.tensor([[[1.0, 2.0], [-2.0**0.5, 0.0]]])
    >>> attention_map(two_channels)  # (1 + 2, 4 + 0) / 5
    tensor([[0.6000, 0.8000]])
    """
    if not p >= 1:
        raise ValueError(f"p must be at least 1, not {p!r}")
    if maps.dim() < 3:
        raise ValueError(f"maps must be (n, channels, ...), with axes of space, not {_shape(maps)}")
    magnitudes = _wide(maps).flatten(2).abs()
    largest = magnitudes.detach().amax((1, 2), keepdim=True)  # 1 then: no power overflows
    powers = (magnitudes / largest.where(largest > 0, 1)).pow(p)
    return F.normalize(powers.sum(1), dim=1)


def attention_transfer_loss(student_maps: Tensor, teacher_maps: Tensor, p: float = 2) -> Tensor:
    """The mean squared difference of the two attention maps, over places and batch.

    Args:
        student_maps, teacher_maps: float (n, channels, ...), the axes of space last. The numbers of
            channels may differ.
        p: the power, at least 1.

    Returns:
        The loss, without axes.

    Source: Zagoruyko and Komodakis 2017, equation 2.
    Differs: the paper has half the length of the difference, not squared; its authors' code squares
        and takes the mean, as here. Maps of different size are refused, for there are several ways
        to make them equal: `F.adaptive_avg_pool2d` of the larger is one.

    Raises:
        ValueError: n or the axes of space differ, or as `attention_map`.

    >>> student, teacher = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [0.0, 9.0]]])
    >>> attention_transfer_loss(student, teacher)  # of (1, 0) and (0, 1)
    tensor(1.)
    """
    ours, theirs = student_maps.shape, teacher_maps.shape
    if ours[:1] + ours[2:] != theirs[:1] + theirs[2:]:
        raise ValueError(
            "maps must be of the same images and size, whatever their channels, "
            f"not {tuple(ours)} and {tuple(theirs)}"
        )
    return F.mse_loss(attention_map(student_maps, p), attention_map(teacher_maps.detach(), p))


def distance_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """How much the distances between the images differ, each network's divided by their mean.

    The mean of Huber's loss over all pairs: half the square up to 1, linear beyond. Where two
    images of the student coincide, their distance has no gradient, and it is taken as 0.

    Args:
        student_features, teacher_features: float (n, ...), n at least 2; an image's features may be
            of any shape, and of different ones.

    Returns:
        The loss, without axes.

    Source: Park et al. 2019, "Relational Knowledge Distillation", section 3.2.
    Differs: the paper sums over the pairs. Where all images coincide, all distances are 0.

    Raises:
        ValueError: the numbers of images differ, or there are fewer than two.

    >>> student = torch.tensor([[0.0], [1.0], [2.0]])  # distances 1, 1, 2: 3/4, 3/4, 6/4
    >>> teacher = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 0.0]])  # 5, 5, 0: 6/4, 6/4, 0
    >>> distance_loss(student, teacher)  # (1/2 · 9/16 + 1/2 · 9/16 + 3/2 - 1/2) / 3
    tensor(0.5208)
    """
    _check_images(student_features, teacher_features, 2)
    ours, theirs = _distances(student_features), _distances(teacher_features.detach())
    return F.huber_loss(ours, theirs)


def angle_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """How much the angles differ that each three images make, at each of the three.

    The mean of Huber's loss of the cosines, over all triples. Where two images of one network
    coincide there is no angle; its cosine is 0, and has no gradient. The work grows with n³ · d for
    n images of d features: part of a large batch will do.

    Args:
        student_features, teacher_features: float (n, ...), n at least 3; an image's features may be
            of any shape, and of different ones.

    Returns:
        The loss, without axes.

    Source: Park et al. 2019, section 3.2.
    Differs: the paper sums over the triples.

    Raises:
        ValueError: the numbers of images differ, or there are fewer than three.

    >>> right = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # 90, 45 and 45 degrees
    >>> flat = torch.tensor([[0.0], [1.0], [-1.0]])  # 180, 0 and 0
    >>> angle_loss(right, flat)  # (1/2 + (1 - 0.7071)²) / 3
    tensor(0.1953)
    """
    _check_images(student_features, teacher_features, 3)
    ours, theirs = _cosines(student_features), _cosines(teacher_features.detach())
    n = len(ours)
    return F.huber_loss(ours, theirs, reduction="sum") / (n * (n - 1) * (n - 2))


def _distances(features: Tensor) -> Tensor:
    """Of each pair of rows once, divided by their mean: (n · (n - 1) / 2,)."""
    distances = F.pdist(_vectors(features))  # its gradient is 0 where two coincide
    mean = distances.mean()
    return distances / mean.where(mean > 0, 1)


def _cosines(features: Tensor) -> Tensor:
    """At each image j, of the directions to i and to k: (n, n, n) at [j, i, k].

    The direction to itself is 0, as to an image that coincides with it, and so is each cosine with
    it. Where i is k there is no angle: 0, too.
    """
    x = _vectors(features)
    away = x - x.unsqueeze(1)  # at [j, i] from j to i
    squares = away.square().sum(2, keepdim=True)
    directions = away * squares.where(squares > 0, torch.inf).rsqrt()
    return (directions @ directions.mT) * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))


def _vectors(features: Tensor) -> Tensor:
    """(n, d), the largest magnitude 1, so that no square overflows: the losses know no scale."""
    x = _wide(features).flatten(1)
    largest = x.detach().abs().max()
    return x / largest.where(largest > 0, 1)


def _check_images(student: Tensor, teacher: Tensor, least: int) -> None:
    if len(student) != len(teacher) or len(student) < least:
        raise ValueError(
            f"features must be of the same images, at least {least}, "
            f"not {_shape(student)} and {_shape(teacher)}"
        )


def _wide(numbers: Tensor) -> Tensor:
    """In float32 at least."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _shape(numbers: Tensor) -> tuple[int, ...]:
    return tuple(numbers.shape)
