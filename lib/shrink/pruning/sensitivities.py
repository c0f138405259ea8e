"""SNIP and GraSP: scores of weights before training, from the gradient on a few images."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from shrink.arguments import real_number
from shrink.modes import in_use
from shrink.pruning.linearised import in_place_of, weights_of
from shrink.tensors import check_plain, check_whole


def snip_scores(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """|g · w| of each weight: how fast the loss changes as a mask in front of it leaves 1.

    g is the gradient of the mean cross entropy. A mask c scales the weight to c·w, and at c = 1
    the derivative of the loss by c is g·w. Its magnitude counts: large = keep.

    >>> model = nn.Linear(1, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[2.0], [2.0]]))
    >>> snip_scores(model, torch.tensor([[3.0]]), torch.tensor([0]))  # g = (p - y) x, p = 0.5
    {'weight': tensor([[3.],
            [3.]])}

    Args:
        model: images → logits (n, classes); on any device. It is left as it was, and so are its
            mode and statistics. It runs in eval mode: batch norm has its running statistics.
        images: (n, …), a batch of training images; the paper takes 100 for MNIST.
        labels: (n,), whole numbers.

    Returns:
        name → tensor of the shape, type and device of that weight, a parameter of two axes or more;
        zeros where a weight has no part in the loss.

    Raises:
        TypeError: the model is no module, or images and labels are no tensors of such kinds.
        ValueError: there are no images, or as many labels; the model has no weight; or a score is
            not finite.

    Source: Lee, Ajanthan, Torr 2019, "SNIP: Single-shot Network Pruning based on Connection
        Sensitivity", section 4.1 and algorithm 1.
    Differs: the paper divides by the sum of all scores, which ranks alike. Biases are not scored.
        The authors first draw the weights anew, by variance scaling; here they are the model's.
    """
    weights, loss = _loss(model, images, labels, by_batch=False)
    gradients = torch.autograd.grad(
        loss, list(weights.values()), allow_unused=True, materialize_grads=True
    )
    named = zip(weights.items(), gradients, strict=True)
    return _finite({name: (g * w.detach()).abs() for (name, w), g in named})


def grasp_scores(
    model: nn.Module, images: Tensor, labels: Tensor, temperature: float = 200.0
) -> dict[str, Tensor]:
    """w · (Hg) of each weight: what its deletion takes from the gradient's norm, to first order.

    g is the gradient by all weights of the mean cross entropy of logits over the temperature, and
    H its Hessian: |g|²/2 has the gradient Hg, so that without w it is w·(Hg) less. Signed, large =
    keep: the weights whose deletion leaves the largest gradient go.

    >>> model = nn.Linear(1, 2, bias=False).double()
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[2.0], [1.0]]))
    >>> x, y = torch.tensor([[1.0]]).double(), torch.tensor([0])
    >>> print(grasp_scores(model, x, y, temperature=1)["weight"].numpy().round(3))
    [[-0.212]
     [ 0.106]]

    Here p = 0.731, g = (p - 1)·(1, -1), H = p (1 - p)·[[1, -1], [-1, 1]].

    Args:
        model: images → logits (n, classes), twice differentiable; on any device. It is left as it
            was, and so are its mode and statistics. It runs in eval mode, and batch norm by the
            batch's own statistics, as in training.
        images, labels: as for `snip_scores`; the paper takes ten images of each class.
        temperature: what logits are divided by, above 0.

    Returns:
        As `snip_scores`, with signs.

    Raises:
        TypeError, ValueError: as `snip_scores`; or the temperature is no number above 0.

    Source: Wang, Zhang, Grosse 2020, "Picking Winning Tickets Before Training by Preserving
        Gradient Flow", section 4; the temperature is that of the authors' code.
    Differs: the paper's score is -w·(Hg), of which the largest go: the same order. The authors add
        up the gradients of two halves of the batch; we take the whole. Biases have no part in g.
    """
    if not 0 < real_number("temperature", temperature) < float("inf"):
        raise ValueError(f"temperature must be above 0 and finite, not {temperature!r}")
    weights, loss = _loss(model, images, labels, by_batch=True, temperature=temperature)
    inputs = list(weights.values())
    gradients = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
    half = sum(g.square().sum() for g in gradients) / 2
    curved = torch.autograd.grad(half, inputs, allow_unused=True, materialize_grads=True)
    named = zip(weights.items(), curved, strict=True)
    return _finite({name: h * w.detach() for (name, w), h in named})


def _loss(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    by_batch: bool,
    temperature: float = 1.0,
) -> tuple[dict[str, Tensor], Tensor]:
    """The weights, as leaves that stand for the model's own, and the mean loss that they give."""
    check_plain("images", images)
    check_whole(labels, "labels")
    if labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"there must be as many labels as images, at least one, not {tuple(labels.shape)} for "
            f"{tuple(images.shape)}"
        )
    names = weights_of(model)
    tensors = in_place_of(model, lambda _, p: p.detach().clone().requires_grad_(p.dim() > 1))
    buffers = in_place_of(model, lambda _, buffer: buffer.clone(), nn.Module.named_buffers)
    if images.is_floating_point():
        images = images.to(next(iter(names.values())).dtype)
    with _running(model, by_batch):
        logits = functional_call(model, {**tensors, **buffers}, (images,), tie_weights=False)
    loss = F.cross_entropy(logits / temperature, labels.long())
    return {name: tensors[name] for name in names}, loss


@contextmanager
def _running(model: nn.Module, by_batch: bool) -> Iterator[None]:
    """Inside, the model is in eval mode, its batch norms in training mode where that is asked."""
    with in_use(model), torch.enable_grad():
        for part in model.modules():
            if by_batch and isinstance(part, _BatchNorm):
                part.training = True
        yield


def _finite(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, score in scores.items():
        if bad := int((~score.isfinite()).sum()):
            raise ValueError(f"{bad} of {score.numel()} scores of {name} are not finite")
    return scores
