"""The library's own figures, beside what people use today."""

import copy
import io
import itertools
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost, pruning
from shrink.classroom import models
from shrink.classroom.explorers import png as encoder
from shrink.classroom.explorers.canvas import Canvas
from shrink.coding import sparse
from tests import ROOT
from tests.bench.rows import Row, faster, goal, in_turns


def counts() -> Iterator[Row]:
    """Multiply-accumulates of LeNet-5, beside PyTorch's counter."""
    net, image = models.build("lenet-5", seed=0), torch.zeros(1, 1, 28, 28)

    def torchs() -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(image)
        return counter.get_total_flops() // 2

    same = "same count" if cost.macs(net, image) == torchs() else "COUNTS DIFFER"
    ours, theirs = in_turns(lambda: cost.macs(net, image), torchs)
    yield Row(
        "counting the multiply-accumulates of LeNet-5",
        f"{ours:.2f} ms",
        f"torch's FlopCounterMode {theirs:.2f} ms",
        f"{faster(ours, theirs)}, {same}",
    )


def masks() -> Iterator[Row]:
    """Exact-k global pruning of LeNet-300-100, masks applied, beside torch's own."""

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
    yield Row(
        "global masks of 266,200 weights",
        f"{mine:.1f} ms",
        f"torch.nn.utils.prune {theirs:.1f} ms",
        f"{faster(mine, theirs)}, {'same weights kept' if same else 'OTHER WEIGHTS KEPT'}",
    )
    scores = torch.cat([w.detach().abs().flatten() for w in models.weights(net).values()])
    k = round(0.9 * len(scores))
    by_numpy, by_torch = in_turns(
        lambda: pruning._kth_smallest(scores, k), lambda: scores.kthvalue(k)
    )
    yield Row(
        "the k-th smallest of them alone",
        f"{by_numpy:.1f} ms",
        f"torch.kthvalue {by_torch:.1f} ms",
        faster(by_numpy, by_torch),
    )


def blocks() -> Iterator[Row]:
    """Two of each four weights kept, beside a search of the six patterns, as NVIDIA's apex does."""
    weight = models.build("lenet-300-100", seed=0).fc1.weight.detach()
    places = itertools.combinations(range(4), 2)
    patterns = torch.tensor([[float(i in kept) for i in range(4)] for kept in places])

    def search() -> torch.Tensor:
        best = (weight.abs().view(-1, 4) @ patterns.T).argmax(1)
        return patterns[best].view(weight.shape).bool()

    same = "same mask" if pruning.n_of_m_mask(weight, 2, 4).equal(search()) else "MASKS DIFFER"
    ours, theirs = in_turns(lambda: pruning.n_of_m_mask(weight, 2, 4), search)
    yield Row(
        "2:4 mask of 300 by 784 weights",
        f"{ours:.2f} ms",
        f"six patterns tried {theirs:.2f} ms",
        f"{faster(ours, theirs)}, {same}; {', '.join(goal(ours / theirs, 0.5, 'of the time'))}",
    )


def sparse_products() -> Iterator[Row]:
    """One product with LeNet's first layer, pruned: dense, `csr_matmul` and torch's CSR.

    And the encoding of its relative indices against a loop over the weights.
    """
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
    net = models.build("lenet-300-100", seed=0)
    for sparsity, batch in itertools.product((0.9, 0.99), (1, 100)):
        yield _sparse_product(net.fc1.weight.detach(), sparsity, torch.rand(batch, 784))

    flat = torch.cat([w.detach().flatten() for w in models.weights(net).values()])
    flat = flat * pruning.magnitude_mask(flat, 0.9)
    same = [t.tolist() for t in sparse.relative_indices(flat)] == list(_relative_loop(flat))
    ours, loop = in_turns(
        lambda: sparse.relative_indices(flat), lambda: _relative_loop(flat), runs=10
    )
    yield Row(
        f"relative indices of {len(flat):,} weights",
        f"{ours:.1f} ms",
        f"a loop {loop:.0f} ms",
        f"{faster(ours, loop)}, {'same' if same else 'NOT THE SAME'}",
    )


def _sparse_product(weight: torch.Tensor, sparsity: float, x: torch.Tensor) -> Row:
    weight = weight * pruning.magnitude_mask(weight, sparsity)
    arrays, torchs = sparse.encode_csr(weight), weight.to_sparse_csr()
    torch.testing.assert_close(sparse.csr_matmul(arrays, x), x @ weight.T)
    dense, ours = in_turns(lambda: x @ weight.T, lambda: sparse.csr_matmul(arrays, x))
    again, theirs = in_turns(lambda: x @ weight.T, lambda: (torchs @ x.T).T)
    return Row(
        f"csr_matmul, 300 by 784, {sparsity:.0%} zeros, batch {len(x)}",
        f"{ours:.3f} ms",
        f"dense {dense:.3f} ms",
        f"{faster(ours, dense)}; torch's CSR {faster(theirs, again)}",
    )


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


def png() -> Iterator[Row]:
    """A figure's pixels to a PNG: the explorer's encoder against Pillow at its fastest level."""
    figure = Image.open(ROOT / "course" / "figures" / "explorer.png").convert("RGBA")
    pixels = np.asarray(figure)

    def pillow() -> bytes:
        into = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").save(into, "png", compress_level=1)
        return into.getvalue()

    mine, theirs = in_turns(lambda: encoder.encode(pixels), pillow)
    yield Row(
        f"PNG of {pixels.shape[1]} by {pixels.shape[0]} pixels",
        f"{mine:.1f} ms, {len(encoder.encode(pixels)) / 1000:.0f} KB",
        f"Pillow, full colour, {theirs:.1f} ms, {len(pillow()) / 1000:.0f} KB",
        faster(mine, theirs),
    )


def text() -> Iterator[Row]:
    """Lines of text of which some numbers change: the explorer's canvas against Agg's own."""
    lines, numbers = 24, itertools.count()

    def figure_on(kind: type[FigureCanvasAgg]) -> Callable[[], None]:
        figure = Figure(figsize=(9.6, 5), dpi=100)
        figure.set_canvas(kind(figure))
        texts = [figure.text(0.05, (i + 0.5) / lines, "") for i in range(lines)]
        figure.canvas.draw()

        def redraw() -> None:
            for i, shown in enumerate(texts):
                number = next(numbers) if i % 3 == 0 else i
                shown.set_text(f"layer {i}: {number:,} of the weights are kept")
                figure.draw_artist(shown)

        return redraw

    mine, aggs = in_turns(figure_on(Canvas), figure_on(FigureCanvasAgg))
    yield Row(
        f"{lines} lines of text drawn again, a number in each third of them another",
        f"{mine:.1f} ms",
        f"Agg's own canvas {aggs:.1f} ms",
        faster(mine, aggs),
    )
