"""What chapter 05's explorer of codes computes: gap bits, sparsity and values, byte by byte."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from torch import Tensor

from shrink import sharing
from shrink.chapters.code import prepared
from shrink.chapters.code.given_lengths import checked
from shrink.chapters.code.parts import PARTS, bytes_of_parts
from shrink.chapters.code.prepared import NAME, NUMBERS, STOPS
from shrink.chapters.code.sizes import (
    CODEBOOKS,
    GAP_BITS,
    GAPS,
    TABLES,
    VALUES,
    Lengths,
    Symbols,
    coded_parts,
    count_entries,
    least_bytes,
)
from shrink.chapters.code.view import TUNED_AT, Codes, View
from shrink.classroom import measure, models
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.training import accuracy
from shrink.coding import codec, huffman

REMEMBERED = 200  # results


class CodingLab:
    """The networks behind the explorer, and what each of their files takes.

    Up to `TUNED_AT` % the dense network is pruned, by one ranking for all weights and without
    training on; from there on the network that was fine-tuned at `TUNED_AT` %.
    """

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seed: int) -> None:
        self.exercise, self.validation = exercise, dataset.validation
        self.dense = baseline(NAME, dataset, seed=seed)
        self.tuned = pruned_baseline(NAME, dataset, seed=seed)
        self.layers = [name.removesuffix(".weight") for name in models.weights(self.dense)]
        self.dense_bytes = measure.size(self.dense.state_dict())
        self.memory = Memory(REMEMBERED)
        self.rest = self._bytes_beside_weights()
        self._sweep = prepared.sweep(self.dense, self.tuned, dataset.validation)
        self.dense_accuracy = accuracy(self.dense, dataset.validation)

    def _bytes_beside_weights(self) -> np.ndarray:
        """Of a real file, the parts that are the same in all: (PARTS,), those of weights 0."""
        content = codec.encode(self.parts(TUNED_AT, NUMBERS[0]), code="fixed", gap_bits=4)
        total = bytes_of_parts(codec.regions(content))
        total[[GAPS, VALUES, TABLES, CODEBOOKS]] = 0
        return total

    def parts(self, stop: int, k: int) -> dict[str, codec.Part]:
        """What `codec.encode` is given for a setting."""
        net = self.dense if stop < TUNED_AT else self.tuned
        shared = {n: sharing.share(w, k) for n, w in prepared.prune(net, stop).items()}
        return net.state_dict() | shared

    def symbols(self, stop: int, k: int) -> list[Symbols]:
        """How often each symbol occurs in the layers, out of the sweep."""
        sweep = self._sweep[stop]
        found = []
        for name in self.layers:
            zero = int(sweep[f"{k}.{name}.zero"])
            found.append(
                Symbols(
                    codebook=sweep[f"{k}.{name}.codebook"],
                    zero=None if zero < 0 else zero,
                    values=sweep[f"{k}.{name}.values"],
                    gaps=[] if zero < 0 else [sweep[f"{name}.gaps.{b}"] for b in GAP_BITS],
                    ans=sweep[f"{k}.{name}.ans"].numpy(),
                )
            )
        return found

    # --- what the figure shows -------------------------------------------------------------

    def _lengths(self, mine: bool) -> Lengths:
        """What gives the lengths of a Huffman code; the student's are looked at."""
        if not mine:
            return lambda counts: huffman.code_lengths(counts, codec.LONGEST)
        return lambda counts: checked(self.exercise.mine(counts.clone()), counts)

    def _bytes(
        self, stop: int, k: int, code: str, gap_bits: int, mine: bool
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The file's parts (gap bits, parts); NaN where the student's lengths are not possible.

        With them come the gap bits at which some of their lengths do not fit in the file's table,
        so that the library's stand in there.
        """
        rows, too_long = np.full((len(GAP_BITS), len(PARTS)), np.nan), set()
        lengths_of, layers = self._lengths(mine), self.symbols(stop, k)

        def fitting(counts: Tensor) -> Tensor:
            lengths = lengths_of(counts)
            if lengths.max() <= codec.LONGEST:
                return lengths
            too_long.add(bits)
            return huffman.code_lengths(counts, codec.LONGEST)

        for at, bits in enumerate(GAP_BITS):
            try:
                rows[at] = self.rest + coded_parts(layers, at, code, fitting)
            except (Exception, SystemExit):
                if bits == gap_bits:
                    raise
        return rows, tuple(too_long)

    def _codes(self, layer: Symbols, at: int, mine: bool) -> tuple[Codes, Codes]:
        """The codes of a layer's gaps and of its values."""
        lengths_of = self._lengths(mine)
        gaps, values = (
            Codes.none()
            if counts is None
            else _codes_of(layer, at, what, counts, lengths_of(counts).long())
            for what, counts in enumerate(layer.counts(at))
        )
        return gaps, values

    def view(
        self, gap_bits: int, sparsity: int, k: int, code: str, layer: str, source: str = "reference"
    ) -> View:
        """Everything the figure shows; a sparsity between the stops is the nearest stop.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or no code has its
                lengths.
        """
        stop, mine, at = nearest(sparsity), source == "mine", GAP_BITS.index(gap_bits)
        *shared, unshared = self._sweep[stop]["right"].tolist()
        once = self.memory.once
        ask = _each_time if mine else once
        layers = once((stop, k), lambda: self.symbols(stop, k))
        shown = layers[self.layers.index(layer)]
        codes = ask((stop, k, layer, gap_bits), lambda: self._codes(shown, at, mine))
        entries, fillers = once((stop, k, "entries"), lambda: count_entries(layers))
        of_parts, too_long = ask(
            (stop, k, code), lambda: self._bytes(stop, k, code, gap_bits, mine)
        )
        least = once((stop, k, "entropy"), lambda: self.rest.sum() + least_bytes(layers))
        return View(
            gap_bits=gap_bits,
            sparsity=stop,
            k=k,
            code=code,
            layer=layer,
            mine=mine,
            tuned=stop >= TUNED_AT,
            bytes=of_parts,
            too_long=gap_bits in too_long,
            least=least,
            entries=entries,
            fillers=fillers,
            codes=codes,
            accuracy=shared[NUMBERS.index(k)],
            unshared=unshared,
            dense_accuracy=self.dense_accuracy,
            dense_bytes=self.dense_bytes,
            images=len(self.validation),
        )


def _each_time(_key: Hashable, make: Callable[[], Any]) -> Any:
    """In place of `Memory.once`: what a student's function calls may have changed."""
    return make()


def nearest(sparsity: float) -> int:
    """The stop of the slider that is nearest.

    >>> nearest(93), nearest(10)
    (92, 50)
    """
    return min(STOPS, key=lambda stop: abs(stop - sparsity))


def _codes_of(layer: Symbols, at: int, what: int, counts: Tensor, lengths: Tensor) -> Codes:
    """The code of a layer's gaps (`what` is 0) or values (1), the most frequent symbol first."""
    order = counts.argsort(descending=True, stable=True)[: int(counts.count_nonzero())]
    total = max(int(counts.sum()), 1)
    codes = zip(huffman.canonical_codes(lengths)[order], lengths[order], strict=True)
    return Codes(
        symbols=tuple(_named(layer, at, what, i) for i in order.tolist()),
        codes=tuple(f"{int(code):0{length}b}" for code, length in codes),
        share=(counts[order] / total).numpy(),
        lengths=lengths[order].numpy(),
        fixed=(len(counts) - 1).bit_length(),
        huffman=float((counts * lengths).sum()) / total,
        ans=8 * int(layer.ans[at, what, 1]) / total,
        entropy=huffman.entropy(counts),
    )


def _named(layer: Symbols, at: int, what: int, symbol: int) -> str:
    """A gap by its zeros, the greatest as it may be a filler's; a value as a weight."""
    if what == 0:
        return f"{symbol}+" if symbol == 2 ** GAP_BITS[at] - 1 else str(symbol)
    return "filler" if symbol == layer.zero else f"{layer.codebook[symbol]:+.2g}"
