"""The explorer of chapter 05: gap bits, sparsity and the number of values, byte by byte."""

import copy
import hashlib
import threading
from collections.abc import Callable, Hashable
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning, sharing
from shrink.chapters.code.figure import TUNED_AT, Codes, View, draw, summarise, update
from shrink.chapters.code.parts import PARTS, bytes_of_parts
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
    symbols_of,
)
from shrink.classroom import measure, models
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.cache import cache_dir, cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.progress import new_bar
from shrink.classroom.training import predict
from shrink.coding import codec, huffman

NAME = "lenet-300-100"
STOPS = tuple(range(50, 99, 3))  # the slider's: %
NUMBERS = (2, 4, 16, 64)  # besides the zero
VERSION = 1  # of the sweep: a change to pruning, sharing or ANS that moves it must raise it
REMEMBERED = 200  # results


class CodingLab:
    """The networks behind the explorer, and what each of their files takes.

    Up to `TUNED_AT` % the dense network is pruned, by one ranking for all weights and without
    training on; from there on the network that was fine-tuned at `TUNED_AT` %. The sweep over
    sparsity and values is computed once, with a progress bar, and cached.
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
        key = self._key()
        self._sweep: dict[int, dict[str, Tensor]] = {}
        with new_bar("sweeping over sparsity and values", total=len(STOPS)) as bar:
            for stop in STOPS:
                at = key.copy()
                at.update(f"{stop}".encode())
                path = cache_dir() / "sweeps" / f"{at.hexdigest()[:32]}.safetensors"
                self._sweep[stop] = cached_tensors(path, lambda stop=stop: self._measure(stop))
                bar.update()
        right = np.stack([self._sweep[stop]["right"].numpy() for stop in STOPS])
        self.accuracies = {  # by number of values, (2, stops): dense and pruned; fine-tuned
            k: right[:, :, at].T for at, k in enumerate((*NUMBERS, None))
        }
        self.dense_accuracy = float(self._sweep[STOPS[0]]["dense"])

    def _key(self) -> Any:
        """The hash of all that the sweep depends on; a form of the file that changes moves it."""
        key = hashlib.sha256(repr((VERSION, NUMBERS, TUNED_AT, GAP_BITS)).encode())
        for net in (self.dense, self.tuned):
            for tensor in net.state_dict().values():
                key.update(tensor.cpu().numpy().tobytes())
        for tensor in (self.validation.images, self.validation.labels):
            key.update(tensor.cpu().numpy().tobytes())
        last = {"w": sharing.share(list(models.weights(self.tuned).values())[-1], 4)}
        for code in codec.CODES:
            key.update(codec.encode(last, code=code, gap_bits=3))
        return key

    def _bytes_beside_weights(self) -> np.ndarray:
        """Of a real file, the parts that are the same in all: (PARTS,), those of weights 0."""
        content = codec.encode(self.parts(TUNED_AT, NUMBERS[0]), code="fixed", gap_bits=4)
        total = bytes_of_parts(codec.regions(content))
        total[[GAPS, VALUES, TABLES, CODEBOOKS]] = 0
        return total

    # --- the sweep -------------------------------------------------------------------------

    def _measure(self, stop: int) -> dict[str, Tensor]:
        """Of one sparsity: accuracies, symbols of each layer and number of values, other bytes."""
        right = torch.full((2, len(NUMBERS) + 1), torch.nan, dtype=torch.float64)
        for i, net in enumerate((self.dense, self.tuned)):
            if net is self.tuned and stop < TUNED_AT:
                continue
            weights = self._pruned(net, stop)
            shared = {k: [sharing.share(w, k) for w in weights.values()] for k in NUMBERS}
            for at, parts in enumerate(shared.values()):
                of_values = dict(zip(weights, (part.weight for part in parts), strict=True))
                right[i, at] = self._accuracy(net, of_values)
            right[i, -1] = self._accuracy(net, weights)
        found = {"right": right, "dense": torch.tensor(self._accuracy(self.dense, {}))}
        for k, layers in symbols_of(shared).items():
            for name, layer in zip(self.layers, layers, strict=True):
                found[f"{k}.{name}.codebook"] = layer.codebook
                found[f"{k}.{name}.zero"] = torch.tensor(-1 if layer.zero is None else layer.zero)
                found[f"{k}.{name}.values"] = layer.values
                found[f"{k}.{name}.ans"] = torch.from_numpy(layer.ans)
                if k == NUMBERS[0]:  # the gaps are the same for all
                    gaps = zip(GAP_BITS, layer.gaps, strict=False)
                    found |= {f"{name}.gaps.{bits}": counts for bits, counts in gaps}
        return found

    def _pruned(self, net: nn.Module, stop: int) -> dict[str, Tensor]:
        weights = {name: w.detach() for name, w in models.weights(net).items()}
        return pruning.apply_masks(weights, pruning.global_masks(weights, stop / 100))

    def _accuracy(self, net: nn.Module, weights: dict[str, Tensor]) -> float:
        changed = copy.deepcopy(net)
        changed.load_state_dict(weights, strict=False)
        answers = predict(changed, self.validation.images)
        return (answers == self.validation.labels).double().mean().item()

    def parts(self, stop: int, k: int) -> dict[str, codec.Part]:
        """What `codec.encode` is given for a setting."""
        net = self.dense if stop < TUNED_AT else self.tuned
        shared = {n: sharing.share(w, k) for n, w in self._pruned(net, stop).items()}
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
