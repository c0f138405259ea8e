"""The residual block of chapter 07's exercises: which tensors its group of channels is in.

Its state maps names to tensors as `state_dict` does. The oracle runs the block as large as it was,
with zeros in all that makes and scales the channels that go.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.chapters.structure import layers

State = Mapping[str, Tensor]

PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")  # of a batch norm
STEM = ("stem.weight", *(f"norm0.{name}" for name in PER_CHANNEL))
BRANCH = ("conv2.weight", *(f"norm2.{name}" for name in PER_CHANNEL))
MAKERS = ("stem.weight", "conv2.weight")
READERS = ("conv1.weight", "down.weight")
AXES = dict.fromkeys((*STEM, *BRANCH), 0) | dict.fromkeys(READERS, 1)  # of the group's channels


def l1(weight: Tensor) -> Tensor:
    """The sum of the magnitudes of each filter, (filters,) float64."""
    return weight.detach().double().abs().flatten(1).sum(1)


def strongest(scores: Tensor, count: int) -> Tensor:
    """The numbers of the largest scores, int64 ascending; the first of those that tie."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def scores(state: State) -> Tensor:
    """Of each channel, the magnitudes of both filters that make it."""
    return sum(l1(state[name]) for name in MAKERS)


def cut(state: State, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the channels `kept` of each named tensor; the others whole."""
    return {
        name: layers.taken(tensor, AXES[name], kept[name]) if name in kept else tensor
        for name, tensor in state.items()
    }


def right_choices(state: State, count: int) -> list[Tensor]:
    """The channels that may be kept, int64 ascending: several where the last of them tie."""
    both = scores(state)
    last = both.sort(descending=True).values[count - 1]
    sure, tied = ((both > last).nonzero()[:, 0], (both == last).nonzero()[:, 0].tolist())
    return [
        torch.cat([sure, sure.new_tensor(some)]).sort().values
        for some in combinations(tied, count - len(sure))
    ]


def outputs(state: State, x: Tensor) -> Tensor:
    """What the block makes of images, by PyTorch's layers."""

    def of(name: str) -> layers.Layer:
        parts = {key.rpartition(".") for key in state}
        return {part: state[f"{layer}.{part}"] for layer, _, part in parts if layer == name}

    h = F.relu(layers.normed(layers.convolved(x, of("stem")), of("norm0")))
    inner = F.relu(layers.normed(layers.convolved(h, of("conv1")), of("norm1")))
    h = F.relu(h + layers.normed(layers.convolved(inner, of("conv2")), of("norm2")))
    return layers.convolved(h, of("down"))


def masked(state: State, kept: Tensor) -> State:
    """The block as large as it was, with zeros in all that makes and scales what goes."""
    zeroed = [name for name in AXES if name.endswith(("weight", "bias")) and name not in READERS]
    return {**state, **{name: layers.masked(state[name], 0, kept) for name in zeroed}}
