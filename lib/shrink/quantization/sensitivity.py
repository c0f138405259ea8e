"""How much a network's answers suffer when one layer alone is rounded."""

from collections.abc import Hashable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrink.modes import in_use, seeded

Variants = Mapping[str, Mapping[Hashable, Tensor]]


def kl_divergence(logits: Tensor, of: Tensor) -> Tensor:
    """KL(p ‖ q) of each image: p from the float network's logits `of`, q from `logits`: (n,)."""
    log_q, log_p = logits.log_softmax(1), of.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


@torch.no_grad()
def answer_sensitivity(
    model: nn.Module, images: Tensor, variants: Variants, batch_size: int = 500
) -> dict[str, dict[Hashable, float]]:
    """The mean KL divergence of the answers, for each form of each weight alone.

    Args:
        model: left as it was.
        images: validation images: those of training are known by heart, and test images are for the
            end.
        variants: the name of a weight → option → what stands in its place, as float.

    Returns:
        name → option → nats.
    """
    with in_use(model):
        clean = [model(x) for x in images.split(batch_size)]

        def cost(name: str, weight: Tensor) -> float:
            found = [
                kl_divergence(functional_call(model, {name: weight}, x), of)
                for x, of in zip(images.split(batch_size), clean, strict=True)
            ]
            return float(torch.cat(found).mean())

        return {
            name: {option: cost(name, weight) for option, weight in forms.items()}
            for name, forms in variants.items()
        }


def weight_sensitivity(
    model: nn.Module, variants: Variants, curvature: Mapping[str, float] | None = None
) -> dict[str, dict[Hashable, float]]:
    """The squared error of the weights, times half their mean curvature where that is given.

    Source: Dong et al. 2020, "HAWQ-V2", equation 11: mean eigenvalue of the Hessian, Tr(H)/n, times
        ‖Q(W) - W‖².
    """
    weights = dict(model.named_parameters())
    curvature = curvature or dict.fromkeys(variants, 1.0)
    return {
        name: {
            option: curvature[name] * float((w - weights[name].detach()).square().sum())
            for option, w in forms.items()
        }
        for name, forms in variants.items()
    }


def hessian_trace(
    model: nn.Module, images: Tensor, labels: Tensor, probes: int = 16, seed: int = 0
) -> dict[str, float]:
    """The trace of the loss's Hessian by each weight, estimated: the mean of vᵀHv.

    The entries of v are -1 or 1 by chance, so that of all Hᵢⱼ vᵢ vⱼ only the diagonal's stay.

    Source: Hutchinson 1990; Avron and Toledo 2011; Dong et al. 2020, section 3.2.
    """
    named = {name: p for name, p in model.named_parameters() if p.dim() >= 2}
    with in_use(model), seeded(seed), torch.enable_grad():
        weights = {name: p.detach().clone().requires_grad_() for name, p in named.items()}
        loss = F.cross_entropy(functional_call(model, weights, images), labels)
        gradients = torch.autograd.grad(loss, [*weights.values()], create_graph=True)
        found = dict.fromkeys(weights, 0.0)
        for _ in range(probes):
            probe = [torch.randint(0, 2, g.shape).to(g) * 2 - 1 for g in gradients]
            products = torch.autograd.grad(gradients, [*weights.values()], probe, retain_graph=True)
            # one layer's own block: v of the others adds terms of mean 0
            for name, v, product in zip(weights, probe, products, strict=True):
                found[name] += float((v * product).sum()) / probes
    return found
