"""A model and labelled images, as whoever derives the loss is given them."""

import torch
from torch import Tensor, nn

from shrink.modes import in_use
from shrink.plain import check_module, described, refuse_computed, refuse_packed
from shrink.pruning.arguments import check_weight
from shrink.tensors import check_floating, check_whole, wide


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Name → what a parameter holds, float32 at least; one under several names once, by the first.

    Raises:
        TypeError: the model is no module, or a parameter is sparse, lazy or not floating point.
        ValueError: it is scripted or parallel; or has no parameter, or one that torch computes at
            each call, that is packed, on the device meta, empty, or holds NaN.
    """
    check_module(model)
    refuse_packed(model)
    for name, module in model.named_modules():
        refuse_computed(module, described(name, module))
        for kind, what in ((torch.jit.ScriptModule, "scripted"), (nn.DataParallel, "parallel")):
            if isinstance(module, kind):
                raise ValueError(f"{name or 'the model'} is {what}: give the model it was made of")
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ValueError("the model has no parameter")
    for name, p in parameters.items():
        check_weight(name, p)
    return {name: wide(p.detach(), name) for name, p in parameters.items()}


def check_examples(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Raise unless the model, asked for the first image, has a logit for each label's class.

    Raises:
        TypeError: images are no dense floating point tensor, or labels no whole numbers.
        ValueError: there is no image, an image holds NaN or infinity, there is not one label for
            each image, one of them names no class, all are not on one device, or the model gives
            anything but logits (n, classes).
    """
    check_floating(images, "images")
    check_whole(labels, "labels")
    if images.dim() < 2 or not images.numel():
        raise ValueError(f"there must be images (n, …) to learn from, not {tuple(images.shape)}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"there must be one label for each of {len(images)} images, not {tuple(labels.shape)}"
        )
    devices = {str(t.device) for t in (images, labels, next(model.parameters()))}
    if len(devices) > 1:
        raise ValueError(f"model, images and labels lie on {' and '.join(sorted(devices))}")
    # their sum tells quickly that all are finite
    if not images.sum().isfinite() and (odd := int((~images.isfinite()).sum())):
        raise ValueError(f"images hold {odd} NaN or infinite values of {images.numel()}")
    with in_use(model):
        logits = model(images[:1].clone().to(next(model.parameters()).dtype))
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the model must give logits (n, classes), and of one image gives {got}")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= logits.shape[1]:
        wrong, last = least if least < 0 else most, logits.shape[1] - 1
        raise ValueError(f"labels hold {wrong}, and the model's classes are 0 to {last}")
