"""Optimal Brain Surgeon on one layer: delete a weight, and let the others make up for it."""

import torch
from torch import Tensor


def brain_surgeon(weight: Tensor, hessian: Tensor, pruned: int) -> tuple[Tensor, Tensor, Tensor]:
    """One unit's weights (n,) after `pruned` deletions, the mask, and each deletion's rise."""
    w, inverse = weight.detach().clone(), torch.linalg.inv(hessian)
    mask, rises = torch.ones_like(w, dtype=torch.bool), []
    for _ in range(pruned):
        saliency = torch.where(mask, w**2 / inverse.diagonal() / 2, torch.inf)
        q = saliency.argmin()
        rises.append(saliency[q])
        w -= w[q] / inverse[q, q] * inverse[:, q]
        inverse = inverse - torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        mask[q] = False
        w[~mask] = 0
        inverse[q, q] = 1  # not read again
    return w, mask, torch.stack(rises) if rises else w.new_zeros(0)
