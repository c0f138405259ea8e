"""What a student learns from inside a teacher: features, and where they are strong.

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
    return F.mse_loss(wide(guided), wide(teacher_features.detach())) / 2


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
        raise ValueError(f"maps must be (n, channels, ...), with axes of space, not {shape(maps)}")
    magnitudes = wide(maps).flatten(2).abs()
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


def wide(numbers: Tensor) -> Tensor:
    """In float32 at least."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def shape(numbers: Tensor) -> tuple[int, ...]:
    """As a message names it."""
    return tuple(numbers.shape)
