"""What an answer may set for all of torch and numpy while it runs, and no longer."""

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

_Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
_SETTINGS: tuple[_Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (partial(torch.is_autocast_enabled, "cpu"), partial(torch.set_autocast_enabled, "cpu")),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    (np.geterr, lambda kept: np.seterr(**kept)),
    (np.get_printoptions, lambda kept: np.set_printoptions(**kept)),
    (random.getstate, random.setstate),
)


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """After it, types, gradients, errors and the shared random generators are as before it."""
    kept = [read() for read, _ in _SETTINGS]
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()
    try:
        yield
    finally:
        for before, (read, write) in zip(kept, _SETTINGS, strict=True):
            if read() != before:
                write(before)
        torch.set_default_device(None)
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)
