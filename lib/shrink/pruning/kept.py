"""Which units stay: how many, of one group or over all, and which by their scores."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrink.arguments import check_real, whole_number
from shrink.pruning.arguments import check_weight
from shrink.tensors import check_mapping


def keep_count(units: int, share: float, multiple_of: int = 1) -> int:
    """How many of the units stay: round(share · units), taken to the nearest multiple.

    At least one multiple stays, however small the share, and never more than there are. With 20
    units, the multiples of 8 are 8 and 16, so that even a share of 1 keeps 16.

    >>> keep_count(16, 0.3), keep_count(16, 0.0), keep_count(64, 0.3, multiple_of=8)
    (5, 1, 16)

    Args:
        units: how many there are, at least 1.
        share: the fraction that stays, 0 to 1.
        multiple_of: what the number must be a multiple of, as 8 or 16 where a processor works on as
            many channels at once; 1 to `units`. Both `round`s are Python's (half to even).

    Raises:
        TypeError: `units` or `multiple_of` is not whole, or `share` is no number.
        ValueError: `units` is less than 1, `share` lies outside 0 to 1, or no multiple of
            `multiple_of` lies between 1 and `units`.
    """
    units = whole_number("units", units, 1)
    return _to_multiple(_part(units, share), units, _multiple(multiple_of, units))


def keep_strongest(scores: Tensor, count: int) -> Tensor:
    """The units with the largest scores, exactly `count` of them.

    >>> keep_strongest(torch.tensor([0.5, 3.0, 0.1, 2.0]), count=2)
    tensor([1, 3])

    Where scores tie, those that come first go first, as in `magnitude_mask`:

    >>> keep_strongest(torch.tensor([1.0, 1.0, 1.0, 2.0]), count=2)
    tensor([2, 3])

    Args:
        scores: one for each unit, floating point, (units,).
        count: how many stay, 1 to the number of units.

    Returns:
        Their numbers in ascending order, int64 (count,), on the scores' device.

    Raises:
        TypeError: the scores are not floating point, or `count` is not whole.
        ValueError: the scores have not one axis, are empty or hold NaN, or `count` is not 1 to the
            number of units.
    """
    _check_scores("scores", scores)
    count = whole_number("count", count, 1, len(scores))
    return _strongest(scores, count)


def keep_per_group(
    scores: Mapping[str, Tensor], share: float, multiple_of: int = 1
) -> dict[str, Tensor]:
    """Of each group the strongest units, the same share of each: `keep_count` says how many.

    Scores are compared within their group only, so that the groups' scales do not matter.

    >>> keep_per_group({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([9.0, 8.0])}, share=0.5)
    {'a': tensor([1]), 'b': tensor([0])}

    Args:
        scores: name of the group → one score for each unit, as for `keep_strongest`.
        share: the fraction of each group that stays, 0 to 1.
        multiple_of: as for `keep_count`, for each group.

    Returns:
        name → the numbers of the units that stay, as `keep_strongest` gives them.

    Raises:
        TypeError, ValueError: as `keep_count` and `keep_strongest`, with the group's name; or there
            is no group.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1 (ranks the filters
        of each layer by themselves).
    """
    _check_groups(scores)
    counts = {
        name: _to_multiple(_part(len(s), share), len(s), _multiple(multiple_of, len(s), name))
        for name, s in scores.items()
    }
    return {name: _strongest(s, counts[name]) for name, s in scores.items()}


def keep_across_groups(
    scores: Mapping[str, Tensor], share: float, multiple_of: int = 1
) -> dict[str, Tensor]:
    """The strongest units of all groups together, from one ranking, and of no group none.

    The strongest unit of each group stays, whatever its score. The other places go to the largest
    scores, wherever they are. So of n units exactly round(share · n) stay, or one of each group
    where that is more. With `multiple_of`, the number of each group is then taken to the nearest
    multiple, as by `keep_count`, and their sum may be another.

    >>> scores = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([7.0, 9.0, 8.0, 1.0])}
    >>> keep_across_groups(scores, share=0.5)
    {'a': tensor([1]), 'b': tensor([1, 2])}

    Args:
        scores: name of the group → one score for each unit, as for `keep_strongest`, all on one
            device. **Nothing is normalised.** Scores of different groups must mean the same: a sum
            over weights is larger where a unit has more inputs or is made by more layers, so sums
            of groups of different shape do not compare. Divide them by what they are sums over, or
            use `keep_per_group`.
        share: the fraction of all units that stays, 0 to 1.
        multiple_of: what the number of units of each group must be a multiple of.

    Returns:
        name → the numbers of the units that stay, as `keep_strongest` gives them. Where scores tie,
        the units of the groups that come first go first.

    Raises:
        TypeError, ValueError: as `keep_per_group`; or the scores lie on different devices.

    Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming",
        section 3 (one threshold over all layers' gammas).
    Differs: there a layer may lose all; here it keeps one unit or, with `multiple_of`, one
        multiple.
    """
    _check_groups(scores)
    multiples = {name: _multiple(multiple_of, len(s), name) for name, s in scores.items()}
    everything = torch.cat([s.detach() for s in scores.values()])
    count = _part(len(everything), share)
    best = torch.cat([_is_kept(s, 1) for s in scores.values()])
    order = everything.argsort(stable=True)
    order = order[best[order].argsort(stable=True)]  # each group's best come last, and so stay
    kept = torch.zeros_like(best)
    kept[order[len(order) - count :]] = True
    found = {}
    for (name, s), part in zip(
        scores.items(), kept.split([*map(len, scores.values())]), strict=True
    ):
        found[name] = _strongest(s, _to_multiple(int(part.sum()), len(s), multiples[name]))
    return found


def _strongest(scores: Tensor, count: int) -> Tensor:
    order = scores.detach().argsort(stable=True)
    return order[len(order) - count :].sort().values


def _is_kept(scores: Tensor, count: int) -> Tensor:
    """A bool for each unit: whether it is among the `count` strongest."""
    kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    kept[_strongest(scores, count)] = True
    return kept


def _part(units: int, share: float) -> int:
    check_real("share", share)
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, not {share!r}")
    return round(float(share) * units)


def _multiple(multiple_of: int, units: int, group: str | None = None) -> int:
    multiple_of = whole_number("multiple_of", multiple_of, 1)
    if multiple_of > units:
        whose = "" if group is None else f" of {group}"
        raise ValueError(
            f"multiple_of must be at most the number of units{whose}, {units}, not {multiple_of}: "
            "no multiple of it can stay"
        )
    return multiple_of


def _to_multiple(count: int, units: int, multiple_of: int) -> int:
    most = units // multiple_of
    return multiple_of * min(max(round(count / multiple_of), 1), most)


def _check_scores(name: str, scores: Tensor) -> None:
    check_weight(name, scores)
    if scores.dim() != 1:
        raise ValueError(f"{name} must have one axis, (units,), not {tuple(scores.shape)}")


def _check_groups(scores: Mapping[str, Tensor]) -> None:
    check_mapping("scores", scores)
    if not scores:
        raise ValueError("scores is empty: there is no group to keep units of")
    for name, own in scores.items():
        _check_scores(f"the scores of {name}", own)
    devices = {own.device for own in scores.values()}
    if len(devices) > 1:
        raise ValueError(f"scores lie on different devices: {', '.join(map(str, devices))}")
