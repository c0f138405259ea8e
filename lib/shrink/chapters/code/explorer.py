"""The explorer of chapter 05: gap bits, sparsity and the number of values, byte by byte."""

import threading
from collections.abc import Callable, Hashable
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from shrink import sharing
from shrink.chapters.code import prepared
from shrink.chapters.code.figure import TUNED_AT, Codes, View, draw, summarise, update
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
from shrink.classroom import measure, models
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
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
        self._memory: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        self.rest = self._bytes_beside_weights()
        self._sweep = prepared.sweep(self.dense, self.tuned, dataset.validation)
        right = np.stack([self._sweep[stop]["right"].numpy() for stop in STOPS])
        self.accuracies = {  # by number of values, (2, stops): dense and pruned; fine-tuned
            k: right[:, :, at].T for at, k in enumerate((*NUMBERS, None))
        }
        self.dense_accuracy = float(self._sweep[STOPS[0]]["dense"])

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

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, remembered for some time."""
        with self._lock:
            if key in self._memory:
                return self._memory[key]
        made = make()
        with self._lock:
            self._memory[key] = made
            while len(self._memory) > REMEMBERED:
                del self._memory[next(iter(self._memory))]
        return made

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
        """The codes of a layer's gaps and of its values, each from the most frequent symbol on."""
        gaps, values = layer.counts(at)
        found = []
        for what, counts in enumerate((gaps, values)):
            if counts is None:
                found.append(Codes.none())
                continue
            lengths = self._lengths(mine)(counts).long()
            order = counts.argsort(descending=True, stable=True)[: int(counts.count_nonzero())]
            total = max(int(counts.sum()), 1)
            found.append(
                Codes(
                    symbols=tuple(_named(layer, at, what, i) for i in order.tolist()),
                    codes=tuple(
                        f"{code:0{n}b}"
                        for code, n in zip(
                            huffman.canonical_codes(lengths)[order].tolist(),
                            lengths[order].tolist(),
                            strict=True,
                        )
                    ),
                    share=(counts[order] / total).numpy(),
                    lengths=lengths[order].numpy(),
                    fixed=(len(counts) - 1).bit_length(),
                    huffman=float((counts * lengths).sum()) / total,
                    ans=8 * int(layer.ans[at, what, 1]) / total,
                    entropy=huffman.entropy(counts),
                )
            )
        return tuple(found)

    def view(
        self, gap_bits: int, sparsity: int, k: int, code: str, layer: str, source: str = "reference"
    ) -> View:
        """Everything the figure shows; a sparsity between the stops is the nearest stop.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or no code has its
                lengths.
        """
        stop, mine, at = nearest(sparsity), source == "mine", GAP_BITS.index(gap_bits)
        whose = (self.exercise.student,) if mine else None
        layers = self._once((stop, k), lambda: self.symbols(stop, k))
        shown = layers[self.layers.index(layer)]
        codes = self._once((stop, k, layer, gap_bits, whose), lambda: self._codes(shown, at, mine))
        entries, fillers = self._once((stop, k, "entries"), lambda: count_entries(layers))
        of_parts, too_long = self._once(
            (stop, k, code, whose, mine and gap_bits),
            lambda: self._bytes(stop, k, code, gap_bits, mine),
        )
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
            least=self._once(
                (stop, k, "entropy"),
                lambda: self.rest.sum() + least_bytes(layers),
            ),
            entries=entries,
            fillers=fillers,
            codes=codes,
            stops=np.array(STOPS),
            accuracies=self.accuracies[k],
            unshared=float(self.accuracies[None][int(stop >= TUNED_AT), STOPS.index(stop)]),
            dense_accuracy=self.dense_accuracy,
            dense_bytes=self.dense_bytes,
            images=len(self.validation),
        )


def nearest(sparsity: float) -> int:
    """The stop of the slider that is nearest.

    >>> nearest(93), nearest(10)
    (92, 50)
    """
    return min(STOPS, key=lambda stop: abs(stop - sparsity))


def _named(layer: Symbols, at: int, what: int, symbol: int) -> str:
    """A gap by its zeros, the greatest as it may be a filler's; a value as a weight."""
    if what == 0:
        return f"{symbol}+" if symbol == 2 ** GAP_BITS[at] - 1 else str(symbol)
    return "filler" if symbol == layer.zero else f"{layer.codebook[symbol]:+.2g}"


def checked(lengths: object, counts: Tensor) -> Tensor:
    """What the student's `code_lengths` gave, integers, (symbols,).

    Raises:
        ExerciseError: they are something else, a symbol that occurs has none, one is far too long,
            or no prefix code has them.
    """
    if isinstance(lengths, list | tuple | np.ndarray):
        lengths = torch.as_tensor(lengths)
    if not isinstance(lengths, Tensor) or lengths.shape != counts.shape:
        found = f"{tuple(lengths.shape)}" if isinstance(lengths, Tensor) else type(lengths).__name__
        raise ExerciseError(
            f"code_lengths gives a length for each count, {tuple(counts.shape)}; yours gave {found}"
        )
    given = lengths.detach().cpu().double()
    if not given.equal(given.round()):  # NaN is not equal either
        raise ExerciseError(f"lengths are whole numbers; yours begin with {given[:8].tolist()}")
    whole = given.long()
    wrong = (counts > 0) & (whole < 1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ExerciseError(
            f"a symbol that occurs needs at least one bit: symbol {first} occurs "
            f"{int(counts[first])} times, and your code_lengths gives it {int(whole[first])}"
        )
    if whole.min() < 0 or whole.max() > huffman.LONGEST:
        found = f"{int(whole.min())} to {int(whole.max())}"
        raise ExerciseError(f"lengths are 0 to {huffman.LONGEST} bits here; yours are {found}")
    kraft = (
        sum(2.0 ** (huffman.LONGEST - n) for n in whole[whole > 0].tolist()) / 2**huffman.LONGEST
    )
    if kraft > 1:
        raise ExerciseError(
            f"no prefix code has your lengths: their Kraft sum, 2^-length over all symbols, is "
            f"{kraft:.4g}, above 1; of the counts {counts.tolist()[:12]}"
        )
    return whole


def explore_coding(
    dataset: Dataset, code_lengths: Exercise | None = None, *, seed: int = 0
) -> Explorer:
    """The explorer of chapter 05, on LeNet-300-100.

    Args:
        dataset: its validation images say the accuracy; the test set stays unread.
        code_lengths: the exercise, for the switch *mine / reference*.
        seed: of the network.
    """
    lab = CodingLab(dataset, code_lengths, seed)
    wide = {"layout": widgets.Layout(width="460px"), "style": {"description_width": "80px"}}
    controls = {
        "gap_bits": widgets.IntSlider(
            5, min=GAP_BITS[0], max=GAP_BITS[-1], description="gap bits", **wide
        ),
        "sparsity": widgets.IntSlider(
            TUNED_AT, min=STOPS[0], max=STOPS[-1], step=3, description="sparsity, %", **wide
        ),
        "k": toggle("values", list(NUMBERS), width=48),
        "code": toggle("code", [("fixed", "fixed"), ("Huffman", "huffman"), ("ANS", "ans")]),
        "layer": toggle("codes of", lab.layers, width=60),
        "source": toggle("by", ["reference", "mine"][: 2 if code_lengths else 1]),
    }
    controls["code"].value, controls["k"].value = "huffman", 16
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        size=(9.6, 5.7),
        alt="The Deep Compression file of LeNet-300-100: its bytes by part over the gap bits with "
        "the share of fillers, accuracy over sparsity, and how many bits each gap and each value "
        "of a layer takes, beside its entropy",
    )
