"""SNIP and GraSP: scores of weights before training, from the gradient on a few images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def snip_scores(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """|g·w| of each weight: how fast the loss changes as a mask in front of it leaves 1."""
    weights = {name: p for name, p in model.named_parameters() if p.dim() >= 2}
    loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    named = zip(weights.items(), gradients, strict=True)
    return {name: (g * w.detach()).abs() for (name, w), g in named}


def grasp_scores(
    model: nn.Module, images: Tensor, labels: Tensor, temperature: float = 200.0
) -> dict[str, Tensor]:
    """w·(Hg) of each weight: what its deletion takes from the gradient's norm, to first order."""
    weights = {name: p for name, p in model.named_parameters() if p.dim() >= 2}
    loss = F.cross_entropy(model(images) / temperature, labels)
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    flow = sum(g.square().sum() for g in gradients) / 2
    curved = torch.autograd.grad(flow, list(weights.values()))
    named = zip(weights.items(), curved, strict=True)
    return {name: h * w.detach() for (name, w), h in named}
