"""Optimal Brain Surgeon on one layer: delete a weight, and let the others make up for it."""

import torch
from torch import Tensor

from shrink.arguments import real_number, whole_number
from shrink.pruning.arguments import check_weight, number_pruned
from shrink.tensors import check_one_device

NUMBERS = 2**20  # of inverse Hessians that are held at once: 8 MB of float64
TIE = 1e-9  # costs that are nearer than this part of them are equal, and the first goes


def brain_surgeon(weight: Tensor, hessian: Tensor, pruned: int) -> tuple[Tensor, Tensor, Tensor]:
    """One unit's weights after deletions, each of which the weights that stay make up for.

    The loss is taken for the parabola ½·(v - w)ᵀH (v - w) around the given weights w. Deleting
    weight q at its best for the others costs L_q = w_q² / (2·[H⁻¹]_qq), and moves all weights by
    -w_q / [H⁻¹]_qq · H⁻¹e_q. The least L_q goes, the first where they tie; H⁻¹ loses row and column
    q by one step of elimination, and the next is chosen. This is greedy: each deletion is the best
    next one, and all together need not be the best of that number.

    Two inputs that are nearly one: the weight that stays takes over what the other did.

    >>> H = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> brain_surgeon(torch.tensor([1.0, 2.0]), H, pruned=1)
    (tensor([0.0000, 2.5000]), tensor([False,  True]), tensor([0.3750]))

    Args:
        weight: (n,) floating point; not changed.
        hessian: (n, n) of the loss by these weights, symmetric and positive definite.
        pruned: how many go, 0 to n.

    Returns:
        the weights (n,), 0 where they are gone; the mask, bool (n,), True = kept; and the
        predicted rise of the loss with each deletion, (pruned,), in their order; in the weight's
        dtype, computed in float64.

    Raises:
        TypeError: weight or Hessian are not dense and floating point, or `pruned` is not whole.
        ValueError: the shapes are others, a number is NaN, `pruned` is no number from 0 to n, or
            the Hessian is not symmetric, or has no inverse: then add damping to its diagonal.

    Source: Hassibi, Stork 1993, "Second Order Derivatives for Network Pruning: Optimal Brain
        Surgeon", section 2, equation 5.
    Differs: the paper recomputes H⁻¹ after training on; here it is the same parabola throughout.
    """
    check_weight("weight", weight)
    if weight.dim() != 1:
        raise ValueError(f"weight must be one unit's, (n,), not {tuple(weight.shape)}")
    pruned = whole_number("pruned", pruned, 0, len(weight))
    inverse = _inverse(hessian, len(weight))
    check_one_device(weight, hessian)
    w, mask, _, rises = _delete(weight.detach().double()[None], inverse, pruned)
    return w[0].to(weight.dtype), mask[0], rises[0].to(weight.dtype)


def surgeon_layer(
    weight: Tensor, inputs: Tensor, sparsity: float, damping: float = 0.01
) -> tuple[Tensor, Tensor]:
    """A linear layer's weights after surgery, which keeps its outputs as near as it can.

    For each output unit the loss is half the mean squared change of its output, whose Hessian is
    H = XᵀX / n + λ·1, the same for all units; λ is `damping` times the mean of XᵀX / n's diagonal.
    Every unit's weights are deleted one by one as in `brain_surgeon`, and of all the layer's
    deletions the cheapest go, so that units may keep different numbers. Then the weights that stay
    are put where the sum of squares is least: in exact numbers that is where the surgeon's moves
    have brought them. It is greedy within each unit and from unit to unit, and its time grows with
    out·in³.

    The second input is twice the first, so one weight does for both:

    >>> X = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    >>> surgeon_layer(torch.tensor([[1.0, 1.0]]), X, sparsity=0.5, damping=1e-6)
    (tensor([[0.0000, 1.5000]]), tensor([[False,  True]]))

    Args:
        weight: (out, in) floating point; not changed. The bias stays as it is.
        inputs: X, (n, in), what comes into the layer, one row for each example.
        sparsity: the fraction of zeros wanted; exactly round(sparsity · out · in) go.
        damping: a number above 0; 0 will do where there is an inverse without.

    Returns:
        the weights (out, in) in the weight's dtype, and the mask, bool (out, in), True = kept.

    Raises:
        TypeError: weight or inputs are not dense and floating point, or a number is none.
        ValueError: the shapes do not fit, a number is NaN, `sparsity` lies outside 0 to 1, or
            `damping` is negative or too small for there to be an inverse.

    Source: Hassibi, Stork 1993, section 2; one layer's outputs as the aim, and the order over its
        units: Frantar, Alistarh 2022, "Optimal Brain Compression", section 4.
    """
    check_weight("weight", weight)
    check_weight("inputs", inputs)
    check_one_device(weight, inputs)
    if weight.dim() != 2 or inputs.dim() != 2 or inputs.shape[1] != weight.shape[1]:
        raise ValueError(
            "there must be weights (out, in) and inputs (n, in), "
            f"not {tuple(weight.shape)} and {tuple(inputs.shape)}"
        )
    pruned = number_pruned(sparsity, weight.numel())
    if not 0 <= real_number("damping", damping) < torch.inf:
        raise ValueError(f"damping must be at least 0, not {damping!r}")
    x, w = inputs.detach().double(), weight.detach().double()
    hessian = x.T @ x / len(x)
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    mask = _cheapest(w, _inverse(hessian, w.shape[1]), pruned)
    return _best(w, hessian, mask).to(weight.dtype), mask


def _inverse(hessian: Tensor, n: int) -> Tensor:
    """Of a symmetric, positive definite Hessian (n, n), in float64; raises for any other."""
    check_weight("the Hessian", hessian)
    hessian = hessian.detach().double()
    if hessian.shape != (n, n):
        raise ValueError(f"the Hessian must be ({n}, {n}), not {tuple(hessian.shape)}")
    if not hessian.allclose(hessian.T, rtol=1e-4, atol=1e-6 * float(hessian.abs().max())):
        raise ValueError("the Hessian is not symmetric")
    root, failed = torch.linalg.cholesky_ex(hessian)
    narrow = root.diagonal().min() ** 2 <= 1e-12 * hessian.diagonal().max()
    if failed or narrow:
        raise ValueError(
            "the Hessian has no inverse to rely on, as where an input repeats others: add damping "
            "to its diagonal"
        )
    return torch.cholesky_inverse(root)


def _delete(w: Tensor, inverse: Tensor, times: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From each row of w (rows, n) that many weights: what is left, the masks, order and rises."""
    w, inverse = w.clone(), inverse.expand(len(w), -1, -1).clone()
    mask, rows = torch.ones_like(w, dtype=torch.bool), torch.arange(len(w), device=w.device)
    order, rises = [], []
    for _ in range(times):
        cost = w.square() / (2 * inverse.diagonal(dim1=1, dim2=2))
        cost = torch.where(mask, cost, torch.inf)
        q = (cost <= cost.amin(1, keepdim=True) * (1 + TIE)).byte().argmax(1)  # the first of these
        column = inverse[rows, :, q]
        pivot = column[rows, q]
        w -= (w[rows, q] / pivot)[:, None] * column
        inverse.baddbmm_(column[:, :, None], (column / pivot[:, None])[:, None], alpha=-1)
        mask[rows, q] = False
        w[~mask] = 0
        order.append(q)
        rises.append(cost[rows, q])
    if not order:
        return w, mask, mask.new_zeros(len(w), 0, dtype=torch.int64), w.new_zeros(len(w), 0)
    return w, mask, torch.stack(order, 1), torch.stack(rises, 1)


def _cheapest(w: Tensor, inverse: Tensor, pruned: int) -> Tensor:
    """The mask without the deletions that cost least, of the next ones of all rows at each time."""
    chunk = max(1, NUMBERS // inverse.numel())
    parts = [_delete(rows, inverse, min(pruned, w.shape[1])) for rows in w.split(chunk)]
    order, rises = torch.cat([p[2] for p in parts]), torch.cat([p[3] for p in parts])
    # A deletion waits for those before it in its row: it comes when the dearest of them does.
    dearest = rises.cummax(1).values
    first = dearest.flatten().sort(stable=True).indices[:pruned]
    goes = torch.zeros_like(order, dtype=torch.bool).flatten()
    goes[first] = True
    mask = torch.ones_like(w, dtype=torch.bool)
    rows = torch.arange(len(w), device=w.device)[:, None].expand_as(order)
    mask[rows[goes.view_as(order)], order[goes.view_as(order)]] = False
    return mask


def _best(w: Tensor, hessian: Tensor, mask: Tensor) -> Tensor:
    """Of each row the weights that the mask keeps, where ½·(v - w)ᵀH (v - w) is least."""
    best = torch.zeros_like(w)
    for row, (wanted, kept) in enumerate(zip(w @ hessian, mask, strict=True)):
        best[row, kept] = torch.linalg.solve(hessian[kept][:, kept], wanted[kept])
    return best
