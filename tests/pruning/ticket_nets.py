"""What tests of tickets share: layers with ties, a network with a norm, the bytes of tensors."""

import numpy as np
import torch
from torch import nn


def numbers(*shape, seed=0, dtype=torch.float32):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(dtype)


def layers(seed=0, dtype=torch.float32):
    """Three layers, one of them not contiguous, with many ties."""
    named = {"a": numbers(6, 7, seed=seed), "b": numbers(5, 4, seed=seed + 1).t()}
    named["c"] = numbers(2, 3, 4, 4, seed=seed + 2).to(memory_format=torch.channels_last)
    return {name: (4 * w).round().to(dtype) for name, w in named.items()}


def some_masks(weights, seed=0, share=0.7):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=draw) < share for name, w in weights.items()}


def all_true(weights):
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def bits(tensor):
    """The bytes of a tensor, so that -0.0 differs from 0.0, and each NaN from the others."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def oracle(weight, mask, rate):
    """Survivors' magnitudes, sorted stably in numpy: the first round(rate · left) of them go."""
    left = np.flatnonzero(mask.numpy().ravel())
    size = np.abs(weight.double().contiguous().numpy().ravel()[left])
    keep = mask.numpy().ravel().copy()
    keep[left[np.argsort(size, kind="stable")[: round(rate * len(left))]]] = False
    return keep.reshape(mask.shape).tolist()


class Normed(nn.Module):
    """A convolution and a batch norm, a frozen layer, and a buffer that no state dict holds."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
            self.fc, self.frozen = nn.Linear(4, 5), nn.Linear(5, 3)
        self.conv.to(memory_format=torch.channels_last)
        self.frozen.requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x):
        self.steps += 1
        return self.frozen(self.fc(self.norm(self.conv(x)).mean((2, 3))))


def train_a_little(model, steps=3, seed=0):
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=0.1)
    x = numbers(6, 1, 5, 5, seed=seed, dtype=trained[0].dtype)
    for _ in range(steps):
        adam.zero_grad()
        model(x).square().mean().backward()
        adam.step()


def everything(model):
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return dict(named)


def masks_of(model):
    return some_masks({name: everything(model)[name] for name in ("conv.weight", "fc.weight")})
