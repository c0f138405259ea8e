"""What a student learns from inside a teacher: features, and where they are strong.

Each loss compares activations that the caller has at hand; `captured` gets them out of a network.
No gradient goes to the teacher's. Features in 16 bits are compared in 32.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import check_real, whole_number
from shrink.modes import seeded
from shrink.tensors import check_floating, check_one_device, wide


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
        TypeError: `names` is one name, and not several, or `model` no network.
        ValueError: no module has that name; nothing is hooked then.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with captured(model, ["0"]) as found:
    ...     answers = model(torch.zeros(5, 3))
    >>> found["0"].shape, found["0"].requires_grad
    (torch.Size([5, 2]), True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a network of torch.nn, not a {type(model).__name__}")
    if isinstance(names, str):
        raise TypeError(f"names must be a list of names, not {names!r}: [{names!r}]")
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
        TypeError: a size is no whole number.
        ValueError: the shapes are of different kinds, a size is below 1, or the student's maps are
            the smaller.

    >>> build_regressor((16, 8, 8), (64, 6, 6))
    Conv2d(16, 64, kernel_size=(3, 3), stride=(1, 1))
    """
    student_shape, teacher_shape = (
        tuple(whole_number("a size", size, 1) for size in sizes)
        for sizes in (student_shape, teacher_shape)
    )
    (ours, *ours_size), (theirs, *theirs_size) = student_shape, teacher_shape
    kernel = [a - b + 1 for a, b in zip(ours_size, theirs_size, strict=False)]
    axes = {len(ours_size), len(theirs_size)}
    if axes not in ({0}, {2}) or any(side < 1 for side in kernel):
        raise ValueError(
            "features must be vectors or maps, the student's maps at least as large as the "
            f"teacher's, not {student_shape} and {teacher_shape}"
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
        TypeError: features are not floating point.
        ValueError: the regressor's result has not the shape or device of the teacher's features, or
            there is nothing in them.

    >>> import torch
    >>> student, hint = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    >>> hint_loss(student, hint, nn.Identity())  # 1/2 · (0² + 2²) / 2
    tensor(1.)
    """
    for features in (student_features, teacher_features):
        check_floating(features, "features")
    guided = regressor(student_features)
    check_floating(guided, "what the regressor makes")
    check_one_device(guided, teacher_features)
    if guided.shape != teacher_features.shape:
        raise ValueError(
            f"the regressor makes {tuple(guided.shape)} of {tuple(student_features.shape)}, "
            f"and the teacher's features are {tuple(teacher_features.shape)}"
        )
    if guided.numel() == 0:
        raise ValueError(f"features of shape {shape(guided)} have nothing to compare")
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
        TypeError: the maps are not floating point, or p is no number.
        ValueError: p is less than 1, or there are no axes of space, no channels or no places.

    >>> import torch
    >>> two_channels = torch.tensor([[[1.0, 2.0], [-2.0**0.5, 0.0]]])
    >>> attention_map(two_channels)  # (1 + 2, 4 + 0) / 5
    tensor([[0.6000, 0.8000]])
    """
    check_real("p", p)
    check_floating(maps, "features")
    if not p >= 1:
        raise ValueError(f"p must be at least 1, not {p!r}")
    if maps.dim() < 3 or 0 in maps.shape[1:]:
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
        TypeError, ValueError: n or the axes of space differ, n is 0, or as `attention_map`.

    >>> import torch
    >>> student, teacher = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [0.0, 9.0]]])
    >>> attention_transfer_loss(student, teacher)  # of (1, 0) and (0, 1)
    tensor(1.)
    """
    for maps in (student_maps, teacher_maps):
        check_floating(maps, "features")
    check_one_device(student_maps, teacher_maps)
    ours, theirs = student_maps.shape, teacher_maps.shape
    if ours[:1] + ours[2:] != theirs[:1] + theirs[2:] or not ours[0]:
        raise ValueError(
            "maps must be of the same images, at least one, and size, whatever their channels, "
            f"not {tuple(ours)} and {tuple(theirs)}"
        )
    return F.mse_loss(attention_map(student_maps, p), attention_map(teacher_maps.detach(), p))


def shape(numbers: Tensor) -> tuple[int, ...]:
    """As a message names it."""
    return tuple(numbers.shape)
