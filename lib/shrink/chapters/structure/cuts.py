"""What a setting of chapter 07's explorer takes out of the network, and how."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.modes import in_use
from shrink.pruning import Group, Member

PATTERNS = ("weight", "vector", "kernel", "group")
GRANULARITIES = (*PATTERNS, "filter", "2:4")
REMOVALS = ("linked", "each its own", "zeros only")  # of filters
SCORES = {"L1": "l1", "L2": "l2", "gamma": "gamma", "random": "random"}
MASKED = ("conv1", "conv2", "down", "conv3", "conv4")  # whose weights a pattern masks
# Each convolution with its norm and the layer that takes in what it has made.
PARTS = {
    "stem": ("stem", "norm0", "conv1"),
    "conv1": ("conv1", "norm1", "conv2"),
    "conv2": ("conv2", "norm2", "down"),
    "down": ("down", "norm3", "conv3"),
    "conv3": ("conv3", "norm4", "conv4"),
    "conv4": ("conv4", "norm5", "fc"),
}
SEED = 0  # of random scores

Chooser = Callable[[Group, int], Tensor]  # a group and a number → the units that stay


@dataclass(frozen=True)
class Setting:
    """What goes and how; for a mask of weights only the granularity counts."""

    granularity: str
    removal: str = REMOVALS[0]
    score: str = "L1"

    @property
    def removes_filters(self) -> bool:
        return self.granularity == "filter"

    @property
    def removes_channels(self) -> bool:
        """Whether the network gets smaller."""
        return self.removes_filters and self.removal != "zeros only"


@dataclass(frozen=True)
class Cut:
    """A network with part of its weights, and what of it is left.

    `masks` has a bool for each weight of each layer, True where it stays; `outputs` and `inputs`
    one for each channel that a layer makes or takes in. `masked` is the whole network with all that
    is removed set to zero, norms too; None where only weights are masked.
    """

    net: nn.Module
    masked: nn.Module | None
    masks: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]


def settings() -> Iterator[Setting]:
    """Every setting, each once."""
    for granularity in GRANULARITIES:
        if granularity != "filter":
            yield Setting(granularity)
    yield from (Setting("filter", removal, score) for removal in REMOVALS for score in SCORES)


def each_its_own(groups: Mapping[str, Group]) -> dict[str, Group]:
    """Groups taken apart: each convolution alone, as if no sum tied it to another."""
    found = {}
    for name, layers in PARTS.items():
        whole = next(group for group in groups.values() if name in group.layers("makes"))
        members = tuple(member for member in whole.members if member.layer in layers)
        found[name] = replace(whole, name=name, members=members)
    return found


def cut(
    net: nn.Module,
    groups: Mapping[str, Group],
    setting: Setting,
    share: float,
    choose: Chooser | None = None,
) -> Cut:
    """The network of which this share is kept.

    Args:
        net, groups: a ResidualNet and its dependency groups; not changed.
        share: kept of each group's units, or of each layer's weights; 2:4 keeps half.
        choose: which units stay; without it those of the largest score.
    """
    if not setting.removes_filters:
        return _masked(net, setting.granularity, share)
    if setting.removal == "each its own":
        groups = each_its_own(groups)
    choose = choose or _strongest(net, setting.score)
    kept = {
        name: choose(group, pruning.keep_count(group.units, share))
        for name, group in groups.items()
    }
    masked = pruning.mask_units(net, groups, kept)
    zeros = setting.removal == "zeros only"
    smaller = (pruning.mask_filters if zeros else pruning.remove_units)(net, groups, kept)
    roles = ("makes",) if zeros else ("makes", "reads")
    members = [(m, kept[g.name]) for g in groups.values() for m in g.members if m.role in roles]
    masks, outputs, inputs = _left(net, members)
    if zeros:  # norm and ReLU follow, and the channels are still there
        outputs = {name: torch.ones_like(made) for name, made in outputs.items()}
    return Cut(smaller, masked, masks, outputs, inputs)


def _strongest(net: nn.Module, score: str) -> Chooser:
    def choose(group: Group, count: int) -> Tensor:
        scores = pruning.group_scores(net, group, SCORES[score], seed=SEED)
        return pruning.keep_strongest(scores, count)

    return choose


def _masked(net: nn.Module, granularity: str, share: float) -> Cut:
    """The network with weights masked in all convolutions but the stem, which has one channel."""
    smaller = copy.deepcopy(net)
    masks = {}
    for name in MASKED:
        weight = smaller.get_submodule(name).weight
        if granularity == "2:4":
            mask = pruning.n_of_m_mask(weight.detach(), 2, 4, axis=1)
        else:
            mask = pruning.pattern_mask(weight.detach(), 1 - share, granularity)
        weight.data *= mask
        masks[name] = mask
    left, outputs, inputs = _left(net, [])
    return Cut(smaller, None, left | masks, outputs, inputs)


def _left(net: nn.Module, members: list[tuple[Member, Tensor]]) -> tuple[dict, dict, dict]:
    """By layer: which weights stay, which outputs and which inputs, when these members lose theirs.

    `members` come with the units that stay.
    """
    layers = {name: net.get_submodule(name) for name in (*PARTS, "fc")}
    outputs = {name: torch.ones(len(layer.weight), dtype=bool) for name, layer in layers.items()}
    inputs = {n: torch.ones(layer.weight.shape[1], dtype=bool) for n, layer in layers.items()}
    for member, kept in members:
        side = outputs if member.role == "makes" else inputs
        side[member.layer] = (member.units == -1) | torch.isin(member.units, kept.cpu())
    masks = {}
    for name, layer in layers.items():
        whole = torch.ones(layer.weight.shape, dtype=bool)
        rows = outputs[name].view(-1, *[1] * (whole.dim() - 1))
        masks[name] = whole & rows & inputs[name].view(1, -1, *[1] * (whole.dim() - 2))
    return masks, outputs, inputs


def recompute(net: nn.Module, images: Tensor) -> None:
    """The statistics of the network's norms anew, from these images."""
    pruning.recompute_norms(net, images.split(128))


@torch.no_grad()
def largest_difference(one: nn.Module, other: nn.Module, images: Tensor) -> float:
    """The largest difference between any two outputs of theirs."""
    with in_use(one), in_use(other):
        return (one(images) - other(images)).abs().max().item()
