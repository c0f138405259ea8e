"""Known mistakes of chapter 09's exercise on the two controls of a ticket."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom.exercises.attempt import known
from shrink.modes import seeded

APART = 1000  # from the seed of the network to that of its controls

Masks = dict[str, Tensor]
Controls = tuple[nn.Module, Masks]


def linear_layers(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The fully connected layers by name, in the order of the model."""
    return [(n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]


def drawn_anew(model: nn.Module, seed: int) -> nn.Module:
    """A copy of the model with new initial values."""
    with seeded(seed):
        net = copy.deepcopy(model)
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    return net


def _with_net(net: Callable[[nn.Module, Masks, int], nn.Module]) -> Callable[..., Controls]:
    """An answer whose masks are right."""
    return lambda model, masks, seed: (
        net(model, masks, seed),
        pruning.shuffle_masks(masks, seed + APART),
    )


def _with_masks(shuffled: Callable[[Masks, torch.Generator], Masks]) -> Callable[..., Controls]:
    """An answer whose network is right."""

    def answer(model: nn.Module, masks: Masks, seed: int) -> Controls:
        g = torch.Generator().manual_seed(seed + APART)
        on_cpu = {name: mask.cpu() for name, mask in masks.items()}
        found = shuffled(on_cpu, g)
        return drawn_anew(model, seed + APART), {n: m.to(masks[n].device) for n, m in found.items()}

    return answer


def _changed(net: nn.Module, change: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """The network with other parameters, in place."""
    for name, p in net.named_parameters():
        p.data.copy_(change(name, p.data))
    return net


_same_seed = known(
    "these are the model's own first values once more: it was made with this very seed. Draw from "
    "another one, such as seed + 1000",
    "the same seed",
)(_with_net(lambda model, masks, seed: drawn_anew(model, seed)))

_kept = known(
    "the values are those of the model that came in: copy.deepcopy copies them too. Call "
    "reset_parameters() of each layer of the copy",
    "values kept",
)(_with_net(lambda model, masks, seed: copy.deepcopy(model)))


@known(
    "the weights are new, the biases are the model's: they belong to the initial values too, and "
    "reset_parameters() draws both",
    "biases kept",
)
@_with_net
def _biases_kept(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    old = dict(model.named_parameters())
    drawn = drawn_anew(model, seed + APART)
    return _changed(drawn, lambda name, p: p if p.dim() > 1 else old[name].data)


@known(
    "the survivors have swapped their values and no value is new: if these are good values, only "
    "in the wrong order, this control has them too. Draw new ones",
    "survivors swapped",
)
@_with_net
def _swapped(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed + APART)

    def swap(name: str, p: Tensor) -> Tensor:
        if name not in masks:
            return drawn.get_parameter(name).data
        values = p[masks[name]]
        p = p.clone()
        p[masks[name]] = values[torch.randperm(len(values), generator=g).to(p.device)]
        return p

    drawn = drawn_anew(model, seed + APART)
    return _changed(copy.deepcopy(model), swap)


@known(
    "your values are normally distributed. nn.Linear draws uniformly between -1/√n and 1/√n, n "
    "being its number of inputs, and a control differs from the ticket in nothing but the draw",
    "normal",
)
@_with_net
def _normal(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed + APART)
    inputs = {name: layer.in_features for name, layer in linear_layers(model)}

    def draw(name: str, p: Tensor) -> Tensor:
        spread = 1 / math.sqrt(3 * inputs[name.rpartition(".")[0]])
        return spread * torch.randn(p.shape, generator=g)

    return _changed(copy.deepcopy(model), draw)


_not_shuffled = known(
    "the masks are those that came in. Does your loop only give a name a new value, as "
    "`mask = mask[order]` does? Put each shuffled mask into a dict, and return that",
    "not shuffled",
)(_with_masks(lambda masks, g: {name: mask.clone() for name, mask in masks.items()}))


@known(
    "you shuffled all layers together, so that weights moved from one layer to another: each layer "
    "must keep as many as before",
    "shuffled over all layers",
)
@_with_masks
def _over_all(masks: Masks, g: torch.Generator) -> Masks:
    joined = torch.cat([mask.flatten() for mask in masks.values()])
    parts = joined[torch.randperm(len(joined), generator=g)].split(
        [m.numel() for m in masks.values()]
    )
    return {n: part.view(masks[n].shape) for n, part in zip(masks, parts, strict=True)}


@known(
    "the number is off by chance: either each weight stays with a probability, or entries were "
    "written over others, as random.shuffle does to a tensor. Put the entries that you have in a "
    "random order, mask.flatten()[torch.randperm(n)]",
    "masks drawn anew",
)
@_with_masks
def _coins(masks: Masks, g: torch.Generator) -> Masks:
    return {n: torch.rand(m.shape, generator=g) < m.double().mean() for n, m in masks.items()}


@known(
    "whole rows have moved, and inside them nothing: permutation and indexing go along the first "
    "axis only. Flatten the mask, shuffle it, and give it its shape back",
    "rows shuffled",
)
@_with_masks
def _rows(masks: Masks, g: torch.Generator) -> Masks:
    return {name: mask[torch.randperm(len(mask), generator=g)] for name, mask in masks.items()}


MISTAKES = (
    _same_seed,
    _kept,
    _biases_kept,
    _swapped,
    _normal,
    _not_shuffled,
    _over_all,
    _coins,
    _rows,
)
