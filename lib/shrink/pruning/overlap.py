"""How many weights two masks both keep, beside what chance would have."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from shrink.pruning.arguments import check_mask
from shrink.tensors import check_mapping


@dataclass(frozen=True)
class Overlap:
    """How many weights of a layer two masks both keep, and how many they would by chance.

    Of n weights one mask keeps a, the other b. Were the b places drawn at random, the number of
    those that the first keeps too would be hypergeometric.

    Attributes:
        shared: how many both keep.
        expected: the mean of that distribution, a·b/n.
        deviation: its standard deviation, √(a·b·(n - a)·(n - b) / (n²·(n - 1))).
    """

    shared: int
    expected: float
    deviation: float


def mask_overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Overlap]:
    """How many weights of each layer two masks both keep, beside what chance would have.

    Both keep two of four weights. By chance they share 0, 1 or 2 of them, with the probabilities
    1/6, 4/6 and 1/6:

    >>> import torch
    >>> first = {"w": torch.tensor([True, True, False, False])}
    >>> second = {"w": torch.tensor([True, False, True, False])}
    >>> mask_overlap(first, second)["w"].shared, mask_overlap(first, second)["w"].expected
    (1, 1.0)
    >>> round(mask_overlap(first, second)["w"].deviation ** 2, 6)
    0.333333

    Args:
        first, second: name → bool tensor, True = keep, of the same names, shapes and devices. They
            are not changed.

    Returns:
        name → `Overlap`, in the order of `first`; for tied weights one under each of their names.

    Raises:
        TypeError: one of them is no mapping of bool tensors.
        ValueError: only one has a mask of a name, or the two of a name differ in shape or device,
            or are empty.
    """
    for which, masks in (("first", first), ("second", second)):
        check_mapping(which, masks)
        for name, mask in masks.items():
            check_mask(f"{name} in {which}", mask)
    if differ := sorted(map(str, first.keys() ^ second.keys())):
        raise ValueError(f"only one of the two has a mask of {', '.join(differ)}")
    for name, mask in first.items():
        other = second[name]
        if mask.shape != other.shape or mask.device != other.device:
            raise ValueError(
                f"the masks of {name} are {tuple(mask.shape)} on {mask.device} and "
                f"{tuple(other.shape)} on {other.device}"
            )
        if mask.numel() == 0:
            raise ValueError(f"the masks of {name} are empty: their shape is {tuple(mask.shape)}")
    return {name: _overlap(first[name], second[name]) for name in first}


def _overlap(a: Tensor, b: Tensor) -> Overlap:
    n, kept_a, kept_b = a.numel(), int(a.sum()), int(b.sum())
    variance = kept_a * kept_b * (n - kept_a) * (n - kept_b) / (n * n * max(n - 1, 1))
    return Overlap(int((a & b).sum()), kept_a * kept_b / n, variance**0.5)
