"""The explorer of chapter 04: how many values a layer has, where k-means begins, and training."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
from torch import Tensor

from shrink import sharing
from shrink.chapters.share import prepared
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
from shrink.chapters.share.network import IMAGES, Network, nearest, share, squared_error
from shrink.chapters.share.prepared import KINDS
from shrink.classroom import measure, models
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.training import Recipe, train
from shrink.sharing import Shared

RATES = {"averaged": 1.0, "summed": 1e-4}  # learning rates: a sum is thousands of times as large
REDUCTIONS = {"averaged": "mean", "summed": "sum"}


class SharingLab:
    """The networks behind the explorer, their sweeps over k, and the trained codebooks so far."""

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
        self.nets = {kind: prepared.network(dataset, kind, seeds[0]) for kind in KINDS}
        self.dense: dict[str, list[np.ndarray]] = {}  # not shared: the answers of two seeds
        self.sweeps: dict[tuple[str, str], dict[str, np.ndarray]] = {}  # of the first seed
        self.bands: dict[tuple[str, str], dict[str, np.ndarray]] = {}  # of all seeds, (seeds, ...)
        self.lengths: dict[str, np.ndarray] = {}
        for kind, net in self.nets.items():
            others = [prepared.another(dataset, kind, seed) for seed in seeds[1:]]
            self.dense[kind] = [net.answers([one.weight for one in net.layers])]
            self.dense[kind].append(others[0]["answers"])
            for how, swept in prepared.on_show(net).items():
                swept["right"] = self.accuracy(swept["answers"])
                self.sweeps[kind, how] = swept
                if how in sharing.INITS:
                    self.bands[kind, how] = {
                        what: np.stack(
                            [swept[what][np.isin(KS, BAND)], *(o[f"{how}.{what}"] for o in others)]
                        )
                        for what in ("errors", "right")
                    }
            books = self.sweeps[kind, sharing.INITS[0]]["codebooks"]
            self.lengths[kind] = prepared.lengths(net, books)
        self._float_bytes = measure.size(self.nets["dense"].state)
        self._histograms: dict[tuple[str, int], tuple[np.ndarray, float]] = {}
        self.runs: list[Run] = []

    def accuracy(self, answers: np.ndarray) -> np.ndarray:
        """The fraction right, over the last axis."""
        return (answers == self.labels).mean(-1)

    # --- what is on show -------------------------------------------------------------------

    def shared(self, kind: str, k: int, init: str, mine: bool) -> list[Shared]:
        """Each layer as numbers into a codebook: the library's, or one step by the student."""
        found = self.sweeps[kind, init]["codebooks"][k - KS[0]]
        return share(self.nets[kind], found, self._mine if mine else nearest)

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
        net, at, number = self.nets[weights], k - KS[0], int(layer[-1]) - 1
        hows = {"line": init, "optimum": "optimum", "ruler": "ruler"}
        sweeps = {name: self.sweeps[weights, how] for name, how in hows.items()}
        values = {
            name: sweeps[curve]["codebooks"][at, number]
            for name, curve in (("on show", "line"), ("optimum", "optimum"), ("ruler", "ruler"))
        }
        answers = sweeps["line"]["answers"][at]
        error = float(sweeps["line"]["errors"][at, number])
        if mine := source == "mine":
            parts = self.shared(weights, k, init, mine)
            left = [one.weight for one in parts]
            answers = net.answers(left)
            error = squared_error(net.layers[number], left[number])
            codebook = parts[number].codebook.cpu().numpy()
            values["on show"] = np.delete(codebook, parts[number].zero or [])
        dense = self.dense[weights]
        changed = np.flatnonzero(answers != dense[0])
        band = self.bands[weights, init]
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
            errors={name: sweep["errors"][:, number] for name, sweep in sweeps.items()},
            error_band=band["errors"][:, :, number],
            accuracies={name: sweep["right"] for name, sweep in sweeps.items()},
            band=band["right"],
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
            values = self.nets[kind].layers[number].values.cpu().numpy()
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
        start = self.nets[kind]
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
