"""The statistics of batch norm, computed anew for a model whose activations have changed."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrink.modes import in_use
from shrink.plain import check_module
from shrink.tensors import check_plain


def recompute_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of every batch norm to their means over these batches.

    Changes the model in place, and nothing of it but those statistics: no weight is trained, no
    dropout is drawn, and modes and momentum are afterwards what they were. A unit that was removed
    fed the layers behind it, so that the means they remember are no longer those that they get.

    Args:
        model: one without batch norm stays as it is, and so does a norm that the model in use does
            not call, as one of a classifier that only training has.
        batches: training images, (n, …) each, on the model's device; several hundred images do.
            Large batches: the variance is the mean of each batch's own, as in training.

    Raises:
        TypeError: the model is no module, or a batch no tensor.
        ValueError: there is no batch, or one of a single image, or one that gives a statistic that
            is not finite; the statistics are then what they were.

    Source: the statistics are those of Ioffe and Szegedy 2015, "Batch Normalization", algorithm 2,
        lines 8 to 11; Liu et al. 2019, "MetaPruning", section 3.2, computes them anew so.

    >>> import torch
    >>> model = nn.Sequential(nn.BatchNorm1d(1))
    >>> recompute_norms(model, [torch.tensor([[1.0], [3.0]]), torch.tensor([[4.0], [8.0]])])
    >>> model[0].running_mean, model[0].running_var  # of 2 and 6; of 2 and 8
    (tensor([4.]), tensor([5.]))
    """
    check_module(model)
    named = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
    norms = [*named.values()]
    before = [{name: t.clone() for name, t in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    try:
        with in_use(model):
            for norm in norms:
                norm.train()
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over all batches
            _run(model, batches)
        _check_finite(named)
        for norm, buffers in zip(norms, before, strict=True):
            if not norm.num_batches_tracked:  # it was not called
                _restore(norm, buffers)
    except BaseException:
        for norm, buffers in zip(norms, before, strict=True):
            _restore(norm, buffers)
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _run(model: nn.Module, batches: Iterable[Tensor]) -> None:
    ran = 0
    for batch in batches:
        check_plain("a batch", batch)
        if len(batch) < 2:
            raise ValueError(f"a batch of {len(batch)} has no variance: give at least two images")
        model(batch)
        ran += 1
    if not ran:
        raise ValueError("there is no batch to compute the statistics of")


def _restore(norm: _BatchNorm, buffers: Mapping[str, Tensor]) -> None:
    for name, tensor in buffers.items():
        getattr(norm, name).copy_(tensor)


def _check_finite(norms: Mapping[str, _BatchNorm]) -> None:
    for name, norm in norms.items():
        if not (norm.running_var.isfinite().all() and norm.running_mean.isfinite().all()):
            raise ValueError(f"the statistics of {name} are not finite on these batches")
