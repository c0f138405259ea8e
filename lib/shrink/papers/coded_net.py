"""A network that answers with integers times steps: what it trains, and what its file holds."""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrink.classroom import models
from shrink.coding import codec
from shrink.pruning import units
from shrink.quantization.code_length import LARGEST, Costs, code_length, costs_of

FIRST_STEP = 0.7  # of a tensor's standard deviation


class CodedNet(nn.Module):
    """A network of floats, `net`, and what rounds it: a step for each tensor, by its logarithm.

    Without steps (before `begin`) it answers as `net` does.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
        self.sizes = [p.numel() for p in net.parameters()]
        self.weights = list(models.weights(net))
        self.log_steps = nn.Parameter(torch.full((len(self.sizes),), math.nan))

    @property
    def rounds(self) -> bool:
        return not bool(self.log_steps.detach().isnan().any())

    @torch.no_grad()
    def begin(self) -> None:
        """Steps for the weights as they are; where there are some, they stay."""
        if not self.rounds:
            spread = [p.std(correction=0) for p in self.net.parameters()]
            self.log_steps.copy_((FIRST_STEP * torch.stack(spread) + 1e-3).log())

    def forward(self, images: Tensor) -> Tensor:
        """What it answers with rounded parameters; latent ones and steps get gradients as in LSQ.

        That is `fake_quantize_lsq`, without its factor, of all tensors at once.
        """
        if not self.rounds:
            return self.net(images)
        steps = self._steps()
        place = self._place(steps)
        rounded = (place + (place.round() - place).detach()) * steps
        return functional_call(self.net, self._tensors(rounded), (images,))

    def bits(self, costs: Mapping[str, Costs]) -> Tensor:
        """What the integers cost, with gradients for latent parameters and steps."""
        columns = self._columns(self._place(self._steps()))
        return torch.stack([code_length(t, costs[name]) for name, t in columns.items()]).sum()

    @torch.no_grad()
    def costs(self) -> tuple[dict[str, Costs], float]:
        """The costs of the integers as they are now, and the bits of all."""
        columns = self._columns(self._place(self._steps()).round())
        costs = {name: costs_of(q) for name, q in columns.items()}
        return costs, sum(float(code_length(q, costs[name])) for name, q in columns.items())

    @torch.no_grad()
    def parts(self) -> dict[str, codec.ArithmeticCoded]:
        """What its file holds: the integers, and steps in half precision.

        Units come in an order that codes well, and without those that change nothing.
        """
        tensors = self._tensors(self._place(self._steps()).round().to(torch.int8).cpu())
        layers = [name.removesuffix(".weight") for name in self.weights]
        tensors = units.keep_units(tensors, layers, _useful_units(tensors, layers))
        steps = self.log_steps.exp().half().float().cpu().unbind()
        return {
            name: codec.ArithmeticCoded(tensors[name], step)
            for name, step in zip(self.shapes, steps, strict=True)
        }

    def _steps(self) -> Tensor:
        """Each number's own."""
        steps = self.log_steps.exp().unbind()
        return torch.cat([s.expand(n) for s, n in zip(steps, self.sizes, strict=True)])

    def _place(self, steps: Tensor) -> Tensor:
        """All numbers in steps, one after the other; a kernel's channels last."""
        ordered = (p.permute(0, 2, 3, 1) if p.dim() == 4 else p for p in self.net.parameters())
        flat = torch.cat([p.reshape(-1) for p in ordered])
        return (flat / steps).clamp(-LARGEST, LARGEST)

    def _tensors(self, flat: Tensor) -> dict[str, Tensor]:
        found = {}
        for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes), strict=True):
            if len(shape) == 4:
                out, channels, height, width = shape
                found[name] = part.view(out, height, width, channels).permute(0, 3, 1, 2)
            else:
                found[name] = part.view(shape)
        return found

    def _columns(self, flat: Tensor) -> dict[str, Tensor]:
        """The weights, and all biases as one column."""
        tensors = self._tensors(flat)
        biases = [t.flatten() for name, t in tensors.items() if name not in self.weights]
        return {name: tensors[name] for name in self.weights} | {"biases": torch.cat(biases)}


def _useful_units(tensors: Mapping[str, Tensor], layers: list[str]) -> list[Tensor]:
    """Of each hidden layer the units that are used, those with most weights first.

    A unit whose weights and bias are all 0, or whose answer no unit behind it takes, changes
    nothing: linear layers, ReLU and the maximum of a pool give 0 for 0.
    """
    kept = []
    for layer, following in itertools.pairwise(layers):
        weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
        taken = tensors[f"{following}.weight"].unflatten(1, (len(weight), -1))
        count = (weight != 0).flatten(1).sum(1)
        useful = ((count > 0) | (bias != 0)) & (taken != 0).movedim(1, 0).flatten(1).any(1)
        useful[0] |= not bool(useful.any())  # a layer keeps one
        order = count.argsort(descending=True, stable=True)
        kept.append(order[useful[order]])
    return kept
