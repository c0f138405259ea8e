"""How many weights two masks both keep, beside what chance would have."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from shrink.pruning.arguments import check_mask
from shrink.tensors import check_mapping


@dataclass(frozen=True)
class Overlap:
    """How many weights of a layer two masks both keep, and how many they would by chance."""

    shared: int
    expected: float
    deviation: float


def mask_overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Overlap]:
    """Of each layer: what two masks have in common, beside what random masks would."""
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
    expected = kept_a * kept_b / n
    variance = expected * (1 - kept_a / n) * (n - kept_b) / max(n - 1, 1)
    return Overlap(int((a & b).sum()), expected, variance**0.5)
