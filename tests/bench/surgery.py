"""Units removed: the time it takes, beside torch-pruning, and the time that it saves."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from shrink import cost, pruning
from shrink.classroom import models
from shrink.modes import in_use
from tests.bench.rows import NOT_HERE, Row, faster, in_turns


def residual(share: float) -> tuple[nn.Module, dict[str, pruning.Group], dict[str, Tensor]]:
    """The network, its groups, and of each that share of its units, at random."""
    net = models.build("residual", seed=0).eval()
    groups = pruning.dependency_groups(net, torch.zeros(1, 1, 28, 28))
    draw = torch.Generator().manual_seed(0)
    kept = {}
    for name, group in groups.items():
        drawn = torch.randperm(group.units, generator=draw)
        kept[name] = drawn[: round(share * group.units)].sort().values
    return net, groups, kept


def beside_torch_pruning() -> Iterator[Row]:
    """The same channels removed by both, with our groups known, and found at each call.

    Both leave the network as it was: theirs makes a copy, traces it, and cuts it in place.
    """
    what = "half of the channels of the residual network removed"
    try:
        import torch_pruning
    except ImportError:
        yield NOT_HERE._replace(what=what)
        return
    net, groups, kept = residual(0.5)
    image = torch.rand(1, 1, 28, 28)

    def copied() -> nn.Module:
        return copy.deepcopy(net)

    def trace(net: nn.Module) -> torch_pruning.DependencyGraph:
        return torch_pruning.DependencyGraph().build_dependency(net, example_inputs=image)

    def theirs() -> nn.Module:
        small = copied()
        graph = trace(small)
        for name, units in kept.items():
            gone = sorted({*range(groups[name].units)} - {*units.tolist()})
            layer, cut = small.get_submodule(name), torch_pruning.prune_conv_out_channels
            group = graph.get_pruning_group(layer, cut, idxs=gone)
            assert graph.check_pruning_group(group)
            group.prune()
        return small

    def ours() -> nn.Module:
        return pruning.remove_units(net, groups, kept)

    def with_trace() -> nn.Module:
        return pruning.remove_units(net, pruning.dependency_groups(net, image), kept)

    images, small, beside = torch.rand(64, 1, 28, 28), ours(), theirs()
    with in_use(small), in_use(beside):
        off = (small(images) - beside(images)).abs().max()
    same = "same outputs" if off < 1e-6 else f"OUTPUTS DIFFER by {off:.2g}"
    copying, tracing = in_turns(copied, lambda: trace(net))
    for how, function in (("groups known", ours), ("groups found at each call", with_trace)):
        mine, other = in_turns(function, theirs)
        met = f"goal 5x: {'met' if other / mine >= 5 else 'not met'}; " if function is ours else ""
        yield Row(
            f"{what}, {how}",
            f"{mine:.1f} ms",
            f"torch-pruning {other:.1f} ms, {copying:.1f} of it to copy the network and "
            f"{tracing:.1f} to trace it",
            f"{faster(mine, other)}; {met}{same}",
        )


def widths() -> Iterator[Row]:
    """What fewer channels save, in multiply-accumulates and in time."""
    for share, words in ((0.5, "half"), (0.25, "a quarter")):
        net, groups, kept = residual(share)
        small = pruning.remove_units(net, groups, kept)
        for batch in (1, 64):
            yield _saved(f"the residual network with {words} of its channels", net, small, batch)
    yield _steps((16, 17, 31, 32, 33, 48, 64))


def _saved(what: str, net: nn.Module, small: nn.Module, batch: int) -> Row:
    images = torch.rand(batch, 1, 28, 28)
    counts = [cost.macs(model, images[:1]) for model in (small, net)]
    with in_use(net), in_use(small):
        after, before = in_turns(lambda: small(images), lambda: net(images), runs=100, warm_up=10)
    return Row(
        f"{what}, batch {batch}",
        f"multiply-accumulates / {counts[1] / counts[0]:.1f}, time / {before / after:.1f}",
        f"{counts[0] / 1e6:.2f} of {counts[1] / 1e6:.2f} million; {after:.2f} of {before:.2f} ms",
        "",
    )


def _steps(outputs: tuple[int, ...]) -> Row:
    """One convolution at several widths: its time beside the straight line to the widest."""
    images = torch.rand(64, 64, 14, 14)
    layers = [nn.Conv2d(64, width, 3, padding=1, bias=False) for width in outputs]
    with torch.no_grad():
        times = _medians([lambda layer=layer: layer(images) for layer in layers])
    line = [times[-1] * width / outputs[-1] for width in outputs]
    return Row(
        f"a 3x3 convolution from 64 channels to {', '.join(map(str, outputs))}, 64 images of 14x14",
        f"{', '.join(f'{t:.1f}' for t in times)} ms",
        f"in proportion to the last {', '.join(f'{t:.1f}' for t in line)} ms",
        "",
    )


def _medians(
    functions: list[Callable[[], object]], runs: int = 40, warm_up: int = 3
) -> list[float]:
    """Median milliseconds of each, run in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(warm_up + runs):
        for function, found in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            found.append(1000 * (time.perf_counter() - began))
    return [statistics.median(found[warm_up:]) for found in times]
