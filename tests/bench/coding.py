"""Weight sharing and coding, beside what people use today for them."""

import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.cluster import KMeans

from shrink import pruning, sharing
from shrink.classroom import models
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.coding import ans, codec, huffman
from tests.bench.rows import NOT_HERE, Row, faster, goal, in_turns


def trained_weights() -> torch.Tensor:
    """The 266,200 weights of LeNet-300-100 as it ships for glyphs."""
    net = baseline("lenet-300-100", load("glyphs"), seed=0)
    return torch.cat([w.detach().flatten() for w in models.weights(net).values()])


def clustering() -> Iterator[Row]:
    """K-means from the same start as scikit-learn's, from the best start, and the optimum."""
    weights = trained_weights()
    for k in (16, 32, 64):
        yield from _beside_scikit_learn(weights, k)
    for k in (16, 64):
        yield _beside_kmeans1d(weights, k)


def _beside_scikit_learn(weights: torch.Tensor, k: int) -> Iterator[Row]:
    column = weights.double().numpy()[:, None]
    start = sharing.initial_codebook(weights, k, "density").numpy()[:, None]

    def theirs() -> KMeans:
        return KMeans(k, init=start, n_init=1, tol=0, max_iter=10_000).fit(column)

    ours, other = in_turns(
        lambda: sharing.fit_codebook(weights, k, "density"), theirs, runs=3, warm_up=1
    )
    near, _ = _timed(lambda: sharing.near_optimal_codebook(weights, k))
    best = sharing.distortion(weights, sharing.optimal_codebook(weights, k))
    fit = sharing.distortion(weights, sharing.fit_codebook(weights, k, "density"))
    near_fit = sharing.distortion(weights, sharing.near_optimal_codebook(weights, k))
    what = f"k-means of {len(weights):,} weights, {k} values"
    beside = f"scikit-learn's KMeans {other:.0f} ms"
    yield Row(
        f"{what}, from the same start",
        f"{ours:.0f} ms",
        beside,
        f"{_twentyfold(ours, other)}; distortion {fit * len(weights) / theirs().inertia_:.4f} of "
        f"theirs; {100 * (fit / best - 1):.1f} % above the optimum",
    )
    above = 100 * (near_fit / best - 1)
    yield Row(
        f"{what}, from the best start",
        f"{near:.0f} ms",
        beside,
        f"{_twentyfold(near, other)}; {above:.3f} % above the optimum; "
        f"{'{}: {}'.format(*goal(above, 1, '%'))}",
    )


def _twentyfold(ours: float, other: float) -> str:
    return f"{faster(ours, other)}; goal 20x: {'met' if other / ours >= 20 else 'not met'}"


def _beside_kmeans1d(weights: torch.Tensor, k: int) -> Row:
    what = f"the {k} best values of {len(weights):,} weights"
    try:
        import kmeans1d
    except ImportError:
        return NOT_HERE._replace(what=what)
    numbers = weights.tolist()
    ours, best = _timed(lambda: sharing.optimal_codebook(weights, k))
    theirs, (_, values) = _timed(lambda: kmeans1d.cluster(numbers, k))
    theirs_too = torch.tensor(values, dtype=torch.float32).sort().values
    errors = [sharing.distortion(weights, codebook) for codebook in (best, theirs_too)]
    return Row(
        what,
        f"{ours:.0f} ms",
        f"kmeans1d {theirs:.0f} ms",
        f"{faster(ours, theirs)}; {'{}: {}'.format(*goal(ours / theirs, 0.5, 'times the time'))}; "
        f"{'same distortion' if np.isclose(*errors, rtol=1e-6) else 'OTHER DISTORTION'}",
    )


def _timed(work: Callable) -> tuple[float, object]:
    """Milliseconds of the second run, and its result."""
    work()
    began = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - began), result


def coding() -> Iterator[Row]:
    """All weights of LeNet-300-100 as numbers of 32 values, coded and decoded."""
    weights = trained_weights()
    symbols = sharing.assign(weights, sharing.fit_codebook(weights, 32))
    counts = torch.bincount(symbols, minlength=32)
    bound = huffman.entropy(counts) * len(symbols) / 8
    yield from _huffman(symbols, counts, bound)
    yield _ans(symbols, counts, bound)


def _huffman(symbols: torch.Tensor, counts: torch.Tensor, bound: float) -> Iterator[Row]:
    what = f"Huffman of {len(symbols):,} symbols"
    try:
        from dahuffman import HuffmanCodec
    except ImportError:
        yield NOT_HERE._replace(what=what)
        return
    plain = symbols.tolist()
    theirs = HuffmanCodec.from_frequencies(dict(enumerate(counts.tolist())))
    lengths = huffman.code_lengths(counts)
    stream, theirs_too = huffman.encode(symbols, lengths), theirs.encode(plain)
    bits = int((lengths.long() * counts).sum())
    encoding = in_turns(
        lambda: huffman.encode(symbols, lengths), lambda: theirs.encode(plain), runs=5, warm_up=1
    )
    decoding = in_turns(
        lambda: huffman.decode(stream, lengths, len(symbols)),
        lambda: theirs.decode(theirs_too),
        runs=5,
        warm_up=1,
    )
    for doing, (ours, other) in (("encoded", encoding), ("decoded", decoding)):
        met = "met" if other / ours >= 10 else "not met"
        yield Row(
            f"{what}, {doing}",
            f"{ours:.1f} ms",
            f"dahuffman {other:.0f} ms",
            f"{faster(ours, other)}; goal 10x: {met}; {len(stream):,} bytes beside "
            f"{len(theirs_too):,}, {bits / 8 / bound:.3f} of the entropy",
        )


def _ans(symbols: torch.Tensor, counts: torch.Tensor, bound: float) -> Row:
    what = f"ANS of {len(symbols):,} symbols"
    try:
        import constriction
    except ImportError:
        return NOT_HERE._replace(what=what)
    frequencies = ans.quantize_counts(counts)
    probabilities = counts.double().numpy() / len(symbols)
    model = constriction.stream.model.Categorical(probabilities, perfect=False)
    row = symbols.int().numpy()

    def ours() -> torch.Tensor:
        stream = ans.encode(symbols, frequencies)
        ans.decode(stream, frequencies, len(symbols))
        return stream

    def theirs() -> np.ndarray:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(row, model)
        stream = coder.get_compressed()
        coder.decode(model, len(row))
        return stream

    mine, other = in_turns(ours, theirs, runs=5, warm_up=1)
    lengths = len(ours()), 4 * len(theirs())
    return Row(
        f"{what}, encoded and decoded",
        f"{mine:.0f} ms",
        f"constriction {other:.0f} ms",
        f"{faster(mine, other)}; {'{}: {}'.format(*goal(mine / other, 5, 'times the time'))}; "
        f"{lengths[0]:,} bytes beside {lengths[1]:,}, "
        f"{lengths[0] / bound:.4f} of the entropy",
    )


def files() -> Iterator[Row]:
    """LeNets pruned to 8 % and shared, as a file; beside general compressors on the same floats."""
    for name in ("lenet-300-100", "lenet-5"):
        net = baseline(name, load("glyphs"), seed=0)
        state = {key: tensor.detach() for key, tensor in net.state_dict().items()}
        masks = pruning.global_masks(models.weights(net), 0.92)
        parts = {
            key: sharing.share(tensor * masks[key], 32) if key in masks else tensor
            for key, tensor in state.items()
        }
        floats = b"".join(
            (part.weight if key in masks else part).numpy().tobytes() for key, part in parts.items()
        )
        writing, content = _timed(lambda parts=parts: codec.encode(parts))
        reading, _ = _timed(lambda content=content: codec.decode(content))
        beside = [f"zlib {len(zlib.compress(floats, 9)):,}"]
        try:
            import zstandard

            beside.append(f"zstd {len(zstandard.compress(floats, 22)):,}")
        except ImportError:
            beside.append("zstd not measured")
        yield Row(
            f"{name} at 8 %, 32 values a layer, as a file",
            f"{len(content):,} bytes",
            f"{' and '.join(beside)} on the same floats",
            f"written in {writing:.0f} ms, read in {reading:.0f} ms",
        )
