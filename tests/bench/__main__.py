"""`make bench`: the figures that the course quotes, as ratios within one run.

Machines are shared and noisy: each pair is timed in turns, A B A B, and medians are quoted. Names
as arguments choose figures: `make bench ARGS="masks browser"`.
"""

import argparse
import copy
import io
import itertools
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.utils import prune

from shrink import pruning, sparse
from shrink.classroom import explorer, mnist, models
from shrink.classroom.update import copy_missing
from tests.browser import jupyter
from tests.conftest import find_chromium

ROOT = Path(__file__).parents[2]


def in_turns(
    a: Callable, b: Callable, prepare: Callable = lambda: (), runs: int = 40
) -> tuple[float, float]:
    """Median milliseconds of each, after a warm-up, on what `prepare` returns, run A B A B."""
    times: dict[Callable, list[float]] = {a: [], b: []}
    for run in range(runs + 3):
        for function in (a, b):
            arguments = prepare()
            began = time.perf_counter()
            function(*arguments)
            if run >= 3:
                times[function].append(1000 * (time.perf_counter() - began))
    return statistics.median(times[a]), statistics.median(times[b])


def masks() -> None:
    """Exact-k global pruning of LeNet-300-100 against torch's own, masks applied by both."""

    def ours(net: torch.nn.Module) -> dict[str, torch.Tensor]:
        weights = models.weights(net)
        chosen = pruning.global_masks(weights, 0.9)
        pruning.apply_masks(weights, chosen)
        return chosen

    def torchs(net: torch.nn.Module) -> dict[str, torch.Tensor]:
        layers = [net.fc1, net.fc2, net.fc3]
        prune.global_unstructured(
            [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.9
        )
        return {f"fc{i + 1}.weight": layer.weight_mask.bool() for i, layer in enumerate(layers)}

    net = models.build("lenet-300-100", seed=0)
    same = all(map(torch.equal, ours(net).values(), torchs(copy.deepcopy(net)).values()))
    mine, theirs = in_turns(ours, torchs, lambda: (copy.deepcopy(net),))
    print(f"global masks, 266 200 weights: {mine:.1f} ms, torch {theirs:.1f} ms", end="; ")
    print(f"{theirs / mine:.1f}x as fast; same weights kept: {'yes' if same else 'NO'}")

    scores = torch.cat([w.detach().abs().flatten() for w in models.weights(net).values()])
    k = round(0.9 * len(scores))
    by_numpy, by_torch = in_turns(
        lambda: pruning._kth_smallest(scores, k), lambda: scores.kthvalue(k)
    )
    print(f"  its k-th smallest alone: {by_numpy:.1f} ms, kthvalue {by_torch:.1f} ms")


def sparse_products() -> None:
    """One product with LeNet's first layer, pruned: dense, `csr_matmul` and torch's CSR, in turns.

    And the encoding of its relative indices against a loop over the weights.
    """
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
    net = models.build("lenet-300-100", seed=0)
    for sparsity, batch in itertools.product((0.9, 0.99), (1, 100)):
        _sparse_product(net.fc1.weight.detach(), sparsity, torch.rand(batch, 784))

    flat = torch.cat([w.detach().flatten() for w in models.weights(net).values()])
    flat = flat * pruning.magnitude_mask(flat, 0.9)
    same = [t.tolist() for t in sparse.relative_indices(flat)] == list(_relative_loop(flat))
    ours, loop = in_turns(
        lambda: sparse.relative_indices(flat), lambda: _relative_loop(flat), runs=10
    )
    print(f"relative indices of {len(flat):,} weights: {ours:.1f} ms, a loop {loop:.0f} ms", end="")
    print(f"; {loop / ours:.0f}x as fast; same: {'yes' if same else 'NO'}")


def _sparse_product(weight: torch.Tensor, sparsity: float, x: torch.Tensor) -> None:
    weight = weight * pruning.magnitude_mask(weight, sparsity)
    arrays, torchs = sparse.encode_csr(weight), weight.to_sparse_csr()
    torch.testing.assert_close(sparse.csr_matmul(arrays, x), x @ weight.T)
    dense, ours = in_turns(lambda: x @ weight.T, lambda: sparse.csr_matmul(arrays, x))
    again, theirs = in_turns(lambda: x @ weight.T, lambda: (torchs @ x.T).T)
    checks, _ = in_turns(lambda: sparse._take_csr(arrays), lambda: None)
    print(f"300 x 784, {sparsity:.0%} zeros, batch {len(x)}: dense {dense:.3f} ms", end="; times ")
    print(f"that: csr_matmul {ours / dense:.2f} (its checks {checks / dense:.2f})", end=", ")
    print(f"torch's CSR {theirs / again:.2f}")


def _relative_loop(flat: torch.Tensor) -> tuple[list[int], list[float]]:
    gaps, values, zeros = [], [], 0
    for value in flat.tolist():
        if value == 0:
            zeros += 1
            continue
        fillers, gap = divmod(zeros, 32)
        gaps += [31] * fillers + [gap]
        values += [0.0] * fillers + [value]
        zeros = 0
    return gaps, values


def png() -> None:
    """A figure's pixels to a PNG: the explorer's encoder against Pillow at its fastest level."""
    figure = Image.open(ROOT / "course" / "figures" / "explorer.png").convert("RGB")
    pixels = np.asarray(figure)

    def pillow() -> None:
        Image.fromarray(pixels).save(io.BytesIO(), "png", compress_level=1)

    mine, theirs = in_turns(lambda: explorer._png(pixels), pillow)
    print(f"PNG of {pixels.shape[1]} by {pixels.shape[0]} pixels: {mine:.1f} ms, ", end="")
    print(f"Pillow {theirs:.1f} ms; {theirs / mine:.1f}x as fast")


def browser() -> None:
    """Chapter 02 in a real browser, once to fill the cache and once to be timed."""
    chromium = find_chromium()
    if chromium is None:
        print("browser: Chromium is not installed")
        return
    for name in ["glyphs", "mnist"] if mnist.at_hand() else ["glyphs"]:
        os.environ["SHRINK_DATASET"] = name
        _session(chromium)  # networks and sweeps into the cache
        first, times = _session(chromium)
        median, p95 = statistics.median(times), np.percentile(times, 95)
        print(f"chapter 02 on {name}, cache warm: top to the explorer's pixels {first:.1f} s")
        print(f"  key press to pixels: median {median:.0f} ms, p95 {p95:.0f} ms")


def _session(chromium: str) -> tuple[float, list[float]]:
    scratch = Path(tempfile.mkdtemp(prefix="shrink-bench-"))
    try:
        copy_missing(ROOT / "notebooks", scratch / "work")
        with (
            jupyter.server(scratch / "work", scratch / "lab") as url,
            jupyter.browser(chromium, scratch) as (page, _),
        ):
            jupyter.open_notebook(page, url, "02_prune.ipynb")
            first = jupyter.run_until_figure(page, "explore_pruning(data")
            jupyter.show_cell(page, "explore_pruning(data")
            return first, jupyter.key_to_pixels(page, presses=40)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


FIGURES = {"masks": masks, "sparse": sparse_products, "png": png, "browser": browser}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], default=[])
    chosen = parser.parse_args().figures or list(FIGURES)
    print(f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}")
    for name in chosen:
        FIGURES[name]()


if __name__ == "__main__":
    main()
