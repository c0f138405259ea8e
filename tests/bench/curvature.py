"""Second derivatives: LeCun's recursion beside the whole Hessian of `torch.func`."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, hessian

from shrink import pruning
from shrink.classroom import models
from tests.bench.rows import Row, faster, in_turns

IMAGES = 1000
FASTER, COSINE = 1000, 0.95


def diagonals() -> Iterator[Row]:
    """On the small tanh network, trained a little: time, and the cosine with the exact diagonal."""
    images, labels = _digits(IMAGES)
    net = _trained(models.build("tiny-tanh", seed=0), images, labels)
    whole, theirs = _timed(lambda: _by_torch(net, images, labels))
    ours, again = _timed(lambda: pruning.full_hessian(net, images, labels))
    off = float((ours - whole).abs().max() / whole.abs().max())
    n = len(whole)
    yield Row(
        f"the Hessian of {n:,} parameters, {IMAGES:,} images, in float64",
        f"{again:.1f} s",
        f"torch.func.hessian {theirs:.1f} s",
        f"{faster(again, theirs)}; {'same' if off < 1e-9 else 'ANOTHER HESSIAN'}",
    )
    for by in pruning.DIAGONALS[1:]:
        taken = _milliseconds(lambda by=by: pruning.hessian_diagonal(net, images, labels, by))
        found = pruning.hessian_diagonal(net, images, labels, by)
        found = torch.cat([h.flatten() for h in found.values()]).double()
        cosine = F.cosine_similarity(found, whole.diagonal(), dim=0).item()
        said = f"{1000 * theirs / taken:,.0f}x as fast; cosine with the exact diagonal {cosine:.3f}"
        if by == "backpropagated":
            fast = "met" if 1000 * theirs / taken >= FASTER else "not met"
            near = "met" if cosine >= COSINE else "not met"
            said += f"; goals {FASTER}x: {fast}, {COSINE}: {near}"
        yield Row(f"its diagonal, {by}", f"{taken:.1f} ms", f"the Hessian {theirs:.1f} s", said)


def large_diagonals() -> Iterator[Row]:
    """On LeNet-300-100, where there is no Hessian to stand beside."""
    images, labels = _digits(IMAGES)
    net = models.build("lenet-300-100", seed=0)
    for by in pruning.DIAGONALS[1:]:
        taken, gradient = in_turns(
            lambda by=by: pruning.hessian_diagonal(net, images, labels, by),
            lambda: _gradient(net, images, labels),
        )
        yield Row(
            f"LeNet-300-100's diagonal, {by}, {IMAGES:,} images",
            f"{taken:.0f} ms",
            f"a gradient {gradient:.0f} ms",
            f"as long as {taken / gradient:.1f} gradients",
        )


def _digits(n: int) -> tuple[Tensor, Tensor]:
    """Ten blurred pictures under noise: enough for a network to have something to learn."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 10
    pictures = F.interpolate(torch.rand(10, 1, 7, 7, generator=draw), 28, mode="bilinear")
    return pictures[labels] + 0.3 * torch.randn(n, 1, 28, 28, generator=draw), labels


def _trained(net: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        adam.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        adam.step()
    return net


def _by_torch(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    parameters = {name: p.detach().double() for name, p in net.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        given = {name: part.view(p.shape) for (name, p), part in parts}
        return F.cross_entropy(functional_call(net, given, (images.double(),)), labels)

    return hessian(loss)(torch.cat([p.flatten() for p in parameters.values()]))


def _gradient(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    torch.autograd.grad(F.cross_entropy(net(images), labels), [*net.parameters()])


def _timed(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it gives, and the seconds that one call took."""
    began = time.perf_counter()
    found = function()
    return found, time.perf_counter() - began


def _milliseconds(function: Callable[[], object], runs: int = 20, warm_up: int = 2) -> float:
    """Their median."""
    times = []
    for _ in range(warm_up + runs):
        began = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[warm_up:])
