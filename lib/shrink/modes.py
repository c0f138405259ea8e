"""A model as it is in use: what counting, timing and predicting share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_use(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in `eval` mode and no gradients are kept; after, each part is as it was.

    The modes are the model's own: two threads that use one model at once get in each other's way.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)).train()
    >>> _ = model[1].eval()  # frozen, as in fine-tuning
    >>> with in_use(model):
    ...     model.training, torch.is_grad_enabled()
    (False, False)
    >>> [part.training for part in model]
    [True, False]
    """
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
