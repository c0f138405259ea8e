"""What holds for as long as a block runs: a model in use, random numbers from a seed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from shrink.arguments import whole_seed

_SEEDING = threading.Lock()  # PyTorch's generator on the CPU is one for all threads


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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, PyTorch's random numbers on the CPU are those of the seed; after, as they would be.

    Blocks of several threads come one after the other. What another thread draws outside of such a
    block, meanwhile, is not kept apart.

    >>> with seeded(1):
    ...     first = torch.rand(2)
    >>> with seeded(1):
    ...     torch.equal(torch.rand(2), first)
    True
    """
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(seed))
        yield
