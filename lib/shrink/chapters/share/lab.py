"""What chapter 04's explorer computes: networks with any number of values, and their training."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from shrink import sharing
from shrink.chapters.share import prepared
from shrink.chapters.share.network import IMAGES, Network, nearest, share, squared_error
from shrink.chapters.share.prepared import KINDS
from shrink.chapters.share.view import BAND, BINS, KS, Run, View
from shrink.classroom import measure, models
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals
from shrink.classroom.training import Recipe, train
from shrink.sharing import Shared

RATES = {"averaged": 1.0, "summed": 1e-4}  # learning rates: a sum is thousands of times as large
REDUCTIONS = {"averaged": "mean", "summed": "sum"}


class SharingLab:
    """The networks behind the explorer, their sweeps over k, and the trained codebooks so far."""

    def __init__(
        self, dataset: Dataset, exercises: Mapping[str, Exercise], seeds: tuple[int, ...]
    ) -> None:
        refusals.refuse_one_seed(seeds)
        refusals.refuse_a_part(exercises, ("assign", "update"))
        self.data, self.exercises = dataset, exercises
        self.labels = dataset.validation.labels[:IMAGES].cpu().numpy()
        self.nets = {kind: prepared.network(dataset, kind, seeds[0]) for kind in KINDS}
        self.dense: dict[str, list[np.ndarray]] = {}  # not shared: the answers of two seeds
        self.sweeps: dict[tuple[str, str], dict[str, np.ndarray]] = {}  # of the first seed
        self.bands: dict[tuple[str, str], dict[str, np.ndarray]] = {}  # of all seeds, (seeds, ...)
        self.lengths: dict[str, np.ndarray] = {}
        for kind in self.nets:
            self._sweep(kind, [prepared.another(dataset, kind, seed) for seed in seeds[1:]])
        self._float_bytes = measure.size(self.nets["dense"].state)
        self._histograms: dict[tuple[str, int], tuple[np.ndarray, float]] = {}
        self.runs: list[Run] = []

    def _sweep(self, kind: str, others: list[prepared.Arrays]) -> None:
        """Have what is prepared at hand; `others` are of the seeds that are not on show."""
        net, on_band = self.nets[kind], np.isin(KS, BAND)
        plain = net.answers([layer.weight for layer in net.layers])
        self.dense[kind] = [plain, others[0]["answers"]]
        for how, swept in prepared.on_show(net).items():
            swept["right"] = self.accuracy(swept["answers"])
            self.sweeps[kind, how] = swept
            if how in sharing.INITS:
                self.bands[kind, how] = {
                    what: np.stack([swept[what][on_band], *(o[f"{how}.{what}"] for o in others)])
                    for what in ("errors", "right")
                }
        books = self.sweeps[kind, sharing.INITS[0]]["codebooks"]
        self.lengths[kind] = prepared.lengths(net, books)

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
        numbers = refusals.tensor_of_shape(
            assign(weights.clone(), codebook.clone()),
            weights.shape,
            "assign gives a tensor of the weights' shape",
        )
        numbers, k = numbers.detach().long(), len(codebook)
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < k:
            raise ExerciseError(
                f"assign gives numbers from 0 to {k - 1}; yours go from {int(numbers.min())} to "
                f"{int(numbers.max())}"
            )
        answer = move(weights.clone(), numbers.clone(), codebook.clone())
        moved = refusals.tensor_of_shape(answer, codebook.shape, f"update gives {k} values")
        refusals.refuse_what_is_not_finite(moved, "update gives finite values;")
        return numbers, moved.detach().to(codebook.dtype)

    def view(
        self,
        k: int,
        init: str,
        weights: str,
        layer: str,
        source: str = "reference",
    ) -> View:
        """Everything the figure shows.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none of that shape.
        """
        net, at, number = self.nets[weights], k - KS[0], int(layer[-1]) - 1
        hows = {"k-means": init, "optimum": "optimum", "ruler": "ruler"}
        sweeps = {name: self.sweeps[weights, how] for name, how in hows.items()}
        values = {name: sweep["codebooks"][at, number] for name, sweep in sweeps.items()}
        answers = sweeps["k-means"]["answers"][at]
        error = float(sweeps["k-means"]["errors"][at, number])
        if mine := source == "mine":
            parts = self.shared(weights, k, init, mine)
            left = [one.weight for one in parts]
            answers = net.answers(left)
            error = squared_error(net.layers[number], left[number])
            codebook = parts[number].codebook.cpu().numpy()
            values["k-means"] = np.delete(codebook, parts[number].zero or [])
        dense = self.dense[weights]
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
            changed=int((answers != dense[0]).sum()),
            other_changed=int((dense[1] != dense[0]).sum()),
            runs=tuple(run for run in self.runs if run.weights == weights),
        )

    def _histogram(self, kind: str, number: int) -> tuple[np.ndarray, float]:
        """Of a layer's weights, and its largest magnitude, to which it reaches on both sides."""
        if (kind, number) not in self._histograms:
            values = self.nets[kind].layers[number].values.cpu().numpy()
            edge = float(np.abs(values).max())
            self._histograms[kind, number] = np.histogram(values, BINS, (-edge, edge))[0], edge
        return self._histograms[kind, number]

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
