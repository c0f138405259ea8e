"""The explorer of chapter 04: how many values a layer has, where k-means begins, and training."""

import copy
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from shrink import sharing
from shrink.chapters.share.figure import (
    BAND,
    BINS,
    CAPTION,
    KS,
    SHOWN,
    Run,
    View,
    draw,
    summarise,
    update,
)
from shrink.classroom import formats, measure, models
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.cache import cache_dir, cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, train
from shrink.sharing import Shared

NAME = "lenet-300-100"
IMAGES = 2000  # validation images that are asked
VERSION = 1  # of the sweeps: a change to sharing that moves them must raise it
KINDS = {"dense": baseline, "pruned": pruned_baseline}
HOWS = (*sharing.INITS, "optimum", "ruler")
RATES = {"averaged": 1.0, "summed": 1e-4}  # learning rates: a sum is thousands of times as large
REDUCTIONS = {"averaged": "mean", "summed": "sum"}


@dataclass(frozen=True)
class Layer:
    """A weight, and what of it is shared: all that is not zero."""

    weight: Tensor
    kept: Tensor  # the places, bool, of the weight's shape
    values: Tensor  # (n,), in rising order


class Network:
    """LeNet-300-100 by its layers, and its answers with other weights."""

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        self.net, self.state = net, net.state_dict()
        self.names = list(models.weights(net))
        self.layers = [
            Layer(w, w != 0, w[w != 0].sort().values)
            for w in (w.detach() for w in models.weights(net).values())
        ]
        self.biases = [b.detach() for b in net.parameters() if b.dim() == 1]
        self.images = images.flatten(1)

    def answers(self, weights: list[Tensor]) -> np.ndarray:
        """The answers with these weights, uint8 (images,)."""
        x = self.images
        for i, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            x = F.linear(x.relu() if i else x, weight, bias)
        return x.argmax(1).to(torch.uint8).cpu().numpy()


def codebooks(values: Tensor, how: str, ks: np.ndarray) -> list[Tensor]:
    """The codebook of each number of values, of sorted numbers."""
    if how == "optimum":
        found = sharing.optimal_codebooks(values, int(ks.max()))
        return [found[k - 1] for k in ks]
    if how == "ruler":
        return [sharing.initial_codebook(values, int(k)).float().to(values.device) for k in ks]
    return [sharing.fit_codebook(values, int(k), how) for k in ks]


def rebuilt(layer: Layer, codebook: Tensor) -> Tensor:
    """The layer's weight with each number replaced by the nearest value; zeros stay."""
    left = sharing.rebuild(sharing.assign(layer.weight, codebook), codebook)
    return left.where(layer.kept, 0)


def squared_error(layer: Layer, left: Tensor) -> float:
    """As a part of the squared weights."""
    off = (layer.weight - left).square().sum(dtype=torch.float64)
    return float(off / layer.values.square().sum(dtype=torch.float64))


class SharingLab:
    """The networks behind the explorer, their sweeps over k, and the trained codebooks so far.

    Sweeps are computed once, with a progress bar, and cached.
    """

    def __init__(
        self, dataset: Dataset, exercises: Mapping[str, Exercise], seeds: tuple[int, ...]
    ) -> None:
        if len(seeds) < 2:
            raise ValueError(f"at least two seeds are compared, not {seeds!r}")
        if missing := {"assign", "update"} - set(exercises) if exercises else None:
            raise ValueError(f"the switch to mine also needs {', '.join(sorted(missing))}")
        self.data, self.exercises = dataset, exercises
        self.labels = dataset.validation.labels[:IMAGES].cpu().numpy()
        images = dataset.validation.images[:IMAGES]
        self.images = images[:, 0].cpu().numpy()
        self.nets: dict[str, list[Network]] = {
            kind: [Network(get(NAME, dataset, seed=s), images) for s in seeds]
            for kind, get in KINDS.items()
        }
        self.dense = {k: [self._plain(n) for n in nets] for k, nets in self.nets.items()}
        steps = len(KINDS) * (1 + len(HOWS) + (len(seeds) - 1) * len(sharing.INITS))
        with new_bar("sweeping over k", total=steps) as bar:
            self.sweeps = {
                (kind, how): [
                    self._sweep(net, how, KS if i == 0 else BAND, bar)
                    for i, net in enumerate(nets)
                    if i == 0 or how in sharing.INITS
                ]
                for kind, nets in self.nets.items()
                for how in HOWS
            }
            self.lengths = {kind: self._lengths(kind, bar) for kind in self.nets}
        self._float_bytes = measure.size(self.nets["dense"][0].state)
        self._histograms: dict[tuple[str, int], tuple[np.ndarray, float]] = {}
        self.runs: list[Run] = []

    def _plain(self, net: Network) -> np.ndarray:
        return net.answers([layer.weight for layer in net.layers])

    def _sweep(self, net: Network, how: str, ks: np.ndarray, bar: tqdm) -> dict[str, np.ndarray]:
        """For each k the "codebooks" (layers, 64), filled up with NaN, "errors" and "answers"."""
        key = hashlib.sha256(repr((VERSION, how, ks.tolist())).encode())
        for tensor in (*net.state.values(), net.images):
            key.update(tensor.cpu().numpy().tobytes())

        def make() -> dict[str, Tensor]:
            by_layer = [codebooks(layer.values, how, ks) for layer in net.layers]
            filled = torch.full((len(ks), len(net.layers), int(KS[-1])), torch.nan)
            errors, answers = torch.zeros(len(ks), len(net.layers), dtype=torch.float64), []
            for i in range(len(ks)):
                left = [
                    rebuilt(one, found[i]) for one, found in zip(net.layers, by_layer, strict=True)
                ]
                answers.append(torch.from_numpy(net.answers(left)))
                for j, (layer, found) in enumerate(zip(net.layers, by_layer, strict=True)):
                    filled[i, j, : len(found[i])] = found[i].cpu()
                    errors[i, j] = squared_error(layer, left[j])
            return {"codebooks": filled, "errors": errors, "answers": torch.stack(answers)}

        path = cache_dir() / "sweeps" / f"{key.hexdigest()[:32]}.safetensors"
        sweep = {name: t.numpy() for name, t in cached_tensors(path, make).items()}
        bar.update()
        return sweep

    def _lengths(self, kind: str, bar: tqdm) -> np.ndarray:
        """For each k the bytes of the file, and of that of numbers, codebooks and gaps: (k, 4).

        How k-means begins does not matter to them.
        """
        net = self.nets[kind][0]

        def packed(k: int) -> dict[str, Tensor]:
            parts = self.shared(kind, k, sharing.INITS[0], mine=False)
            return formats.pack_shared(net.state, dict(zip(net.names, parts, strict=True)))

        def make() -> dict[str, Tensor]:
            lengths = []
            for k in KS.tolist():
                arrays = packed(k)
                parts = (
                    sum(array.nbytes for name, array in arrays.items() if name.endswith(part))
                    for part in ("/numbers", "/codebook", "/gaps")
                )
                lengths.append([measure.size(arrays), *parts])
            return {"lengths": torch.tensor(lengths)}

        key = hashlib.sha256(repr((VERSION, KS.tolist())).encode())
        for name, array in packed(int(KS[0])).items():  # a format that changes is measured again
            key.update(name.encode() + array.numpy().tobytes())
        path = cache_dir() / "sweeps" / f"{key.hexdigest()[:32]}.safetensors"
        lengths = cached_tensors(path, make)["lengths"].numpy()
        bar.update()
        return lengths

    def accuracy(self, answers: np.ndarray) -> np.ndarray:
        """The fraction right, over the last axis."""
        return (answers == self.labels).mean(-1)

    # --- what is on show -------------------------------------------------------------------

    def shared(self, kind: str, k: int, init: str, mine: bool) -> list[Shared]:
        """Each layer as numbers into a codebook: the library's, or one step by the student."""
        net, found = self.nets[kind][0], self.sweeps[kind, init][0]["codebooks"][k - KS[0]]
        parts = []
        for layer, row in zip(net.layers, found, strict=True):
            codebook = torch.from_numpy(row[np.isfinite(row)]).to(layer.weight.device)
            kept = layer.weight[layer.kept]
            if mine:
                numbers, codebook = self._mine(kept, codebook)
            else:
                numbers = sharing.assign(kept, codebook).long()
            parts.append(_with_zeros(layer, numbers, codebook))
        return parts

    def _mine(self, weights: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
        """A step of k-means by the student's functions, from where the library's has ended."""
        assign, move = (self.exercises[name].mine for name in ("assign", "update"))
        numbers = assign(weights.clone(), codebook.clone())
        if not isinstance(numbers, Tensor) or numbers.shape != weights.shape:
            raise ExerciseError(
                f"assign gives a tensor of the weights' shape; yours {_kind(numbers)}"
            )
        numbers, k = numbers.detach().long(), len(codebook)
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < k:
            raise ExerciseError(
                f"assign gives numbers from 0 to {k - 1}; yours go from {int(numbers.min())} to "
                f"{int(numbers.max())}"
            )
        moved = move(weights.clone(), numbers.clone(), codebook.clone())
        if not isinstance(moved, Tensor) or moved.shape != codebook.shape:
            raise ExerciseError(f"update gives {k} values; yours {_kind(moved)}")
        if not moved.isfinite().all():
            raise ExerciseError("update gives finite values; some of yours are NaN or infinite")
        return numbers, moved.detach().to(codebook.dtype)

    def view(
        self,
        k: int,
        init: str,
        weights: str,
        layer: str,
        source: str = "reference",
        **of_training: Any,
    ) -> View:
        """Everything the figure shows; `of_training` matters to the job only.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none of that shape.
        """
        net, at, number = self.nets[weights][0], k - KS[0], int(layer[-1]) - 1
        hows = {"line": init, "optimum": "optimum", "ruler": "ruler"}
        sweeps = {name: self.sweeps[weights, how] for name, how in hows.items()}
        values = {
            name: sweeps[curve][0]["codebooks"][at, number]
            for name, curve in (("on show", "line"), ("optimum", "optimum"), ("ruler", "ruler"))
        }
        answers = sweeps["line"][0]["answers"][at]
        error = float(sweeps["line"][0]["errors"][at, number])
        if mine := source == "mine":
            parts = self.shared(weights, k, init, mine)
            left = [one.weight for one in parts]
            answers = net.answers(left)
            error = squared_error(net.layers[number], left[number])
            codebook = parts[number].codebook.cpu().numpy()
            values["on show"] = np.delete(codebook, parts[number].zero or [])
        dense = self.dense[weights]
        changed = np.flatnonzero(answers != dense[0])
        on_band = [
            {name: sweep[name][np.isin(KS, BAND)] if i == 0 else sweep[name] for name in sweep}
            for i, sweep in enumerate(sweeps["line"])
        ]
        counts, edge = self._histogram(weights, number)
        return View(
            k=k,
            init=init,
            weights=weights,
            layer=number,
            mine=mine,
            counts=counts,
            edge=edge,
            values={name: found[np.isfinite(found)] for name, found in values.items()},
            error=error,
            accuracy=float(self.accuracy(answers)),
            errors={name: sweep[0]["errors"][:, number] for name, sweep in sweeps.items()},
            error_band=np.stack([sweep["errors"][:, number] for sweep in on_band]),
            accuracies={n: self.accuracy(sweep[0]["answers"]) for n, sweep in sweeps.items()},
            band=np.stack([self.accuracy(sweep["answers"]) for sweep in on_band]),
            dense_accuracy=float(self.accuracy(dense[0])),
            images=len(self.labels),
            bytes=(self._float_bytes, *self.lengths[weights][at].tolist()),
            changed=len(changed),
            other_changed=int((dense[1] != dense[0]).sum()),
            strip=self._strip(changed[:SHOWN]),
            captions=tuple(f"{dense[0][i]} → {answers[i]}" for i in changed[:SHOWN]),
            runs=tuple(run for run in self.runs if run.weights == weights),
        )

    def _histogram(self, kind: str, number: int) -> tuple[np.ndarray, float]:
        """Of a layer's weights, and its largest magnitude, to which it reaches on both sides."""
        if (kind, number) not in self._histograms:
            values = self.nets[kind][0].layers[number].values.cpu().numpy()
            edge = float(np.abs(values).max())
            self._histograms[kind, number] = np.histogram(values, BINS, (-edge, edge))[0], edge
        return self._histograms[kind, number]

    def _strip(self, images: np.ndarray) -> np.ndarray:
        """Up to SHOWN images in two rows, each with room for a caption under it."""
        cells = np.zeros((2, SHOWN // 2, 28 + CAPTION, 28), np.float32)
        cells.reshape(SHOWN, 28 + CAPTION, 28)[: len(images), :28] = self.images[images]
        return cells.transpose(0, 2, 1, 3).reshape(2 * (28 + CAPTION), -1)

    # --- training --------------------------------------------------------------------------

    def train(
        self,
        values: dict[str, Any],
        stop: threading.Event,
        progress: Callable[[int, int], None],
    ) -> None:
        """Train the codebooks on show; the run is kept in `runs`, also when it was stopped."""
        kind, mine = values["weights"], values["source"] == "mine"
        start = self.nets[kind][0]
        parts = self.shared(kind, values["k"], values["init"], mine)
        before = float(self.accuracy(start.answers([one.weight for one in parts])))
        net = copy.deepcopy(start.net)
        weights, shared = models.weights(net), dict(zip(start.names, parts, strict=True))
        reduction = values["reduction"]
        recipe = Recipe(values["epochs"], RATES[reduction], weight_decay=0)
        done = train(
            net,
            self.data.train,
            recipe,
            seed=1,
            hold=lambda sgd: sharing.hold_shared(weights, shared, sgd, REDUCTIONS[reduction]),
            progress=progress,
            stop=stop,
        )
        trained = Network(net, self.data.validation.images[:IMAGES])
        left = [w.detach() for w in models.weights(net).values()]
        errors = [squared_error(*pair) for pair in zip(start.layers, left, strict=True)]
        self.runs.append(
            Run(
                weights=kind,
                k=values["k"],
                init=values["init"],
                reduction=reduction,
                mine=mine,
                errors=tuple(errors),
                before=before,
                accuracy=float(self.accuracy(trained.answers(left))),
                steps=done.steps,
                stopped=done.stopped,
            )
        )


def _with_zeros(layer: Layer, numbers: Tensor, codebook: Tensor) -> Shared:
    """The layer as shared, with 0 as one value more where there are zeros."""
    if layer.kept.all():
        return Shared(codebook, numbers.view(layer.weight.shape).to(torch.uint8))
    every = torch.full_like(layer.weight, len(codebook), dtype=torch.uint8)
    every[layer.kept] = numbers.to(torch.uint8)
    return Shared(torch.cat([codebook, codebook.new_zeros(1)]), every, zero=len(codebook))


def _kind(result: object) -> str:
    shape = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
    return f"gave {shape}"


def explore_sharing(
    dataset: Dataset, *exercises: Exercise, seeds: tuple[int, ...] = (0, 1, 2)
) -> Explorer:
    """The explorer of chapter 04, on LeNet-300-100, whole or with 8 % of its weights.

    Args:
        dataset: its validation images are asked; the test set stays unread.
        exercises: `assign` and `update`, for the switch *mine / reference*.
        seeds: the networks behind the bands; the first one is on show.

    Raises:
        ValueError: there is only one seed, or one of the exercises.
    """
    lab = SharingLab(dataset, {e.name: e for e in exercises}, seeds)
    wide = widgets.Layout(width="460px")
    controls = {
        "k": widgets.IntSlider(
            8, min=int(KS[0]), max=int(KS[-1]), description="values, k", layout=wide
        ),
        "init": toggle("begin", list(sharing.INITS)),
        "weights": toggle("weights", list(KINDS)),
        "layer": toggle("layer", ["fc1", "fc2", "fc3"]),
        "source": toggle("by", ["reference", "mine"][: 2 if exercises else 1]),
        "reduction": toggle("gradients", list(RATES)),
        "epochs": widgets.IntSlider(1, min=1, max=10, description="epochs", layout=wide),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job("Train codebooks", lab.train),
        size=(9.6, 5.6),
        alt="Weight sharing in LeNet-300-100: a layer's histogram with the values that k-means "
        "found, the best ones and a ruler's; squared error and accuracy over the number of "
        "values; the bytes with the codebook; the images whose answer changed",
    )
