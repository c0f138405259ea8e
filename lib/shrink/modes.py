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


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Inside, this thread's floats too small for full precision are 0; after, it is as it was.

    Adam divides by the root of a mean that decays by 0.999 a step. The means of a pixel that is
    seldom on decay below 1.2e-38, where float32 has denormals, and a processor takes many times as
    long over these: a step of LeNet-300-100 on MNIST took half as long again. The mode belongs to
    the thread and to those that it starts inside; where a processor has no such mode, nothing
    changes.

    >>> tiny = torch.tensor(1e-39)
    >>> with denormals_flushed():
    ...     inside = bool(tiny * 0.5 == 0)
    >>> bool(tiny * 0.5 == 0)
    False
    """
    before = _flushes()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _flushes() -> bool:
    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    return bool(smallest * 0.5 == 0)
