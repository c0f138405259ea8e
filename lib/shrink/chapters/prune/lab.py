"""What chapter 02's explorer computes: pruned networks, and their fine-tuning."""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from shrink import pruning
from shrink.chapters.prune import prepared
from shrink.chapters.prune.prepared import STOPS, WEIGHTS, file_bytes
from shrink.chapters.prune.view import BINS, CURVE, Run, View
from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.refusals import refuse_a_part, refuse_one_seed
from shrink.classroom.explorers.strip import Strip
from shrink.classroom.progress import Progress
from shrink.classroom.training import Recipe, Training, train
from shrink.coding import sparse

GROWTHS = 20  # of the masks in a gradual run, where it has the steps

Hold = Callable[[Optimizer], AbstractContextManager]


@dataclass(frozen=True)
class Subject:
    """A network on show, and what no slider changes about it."""

    net: nn.Module
    weights: dict[str, Tensor]
    flat: Tensor  # all weights end to end, on the CPU
    edge: float  # the largest magnitude
    counts: np.ndarray  # (BINS,): the histogram of all weights
    other_casualties: int  # images that it gets right, and the network of another seed does not


class PruningLab:
    """The networks behind the explorer, their sweeps, and the fine-tuned runs so far."""

    def __init__(
        self, dataset: Dataset, exercises: Mapping[str, Exercise], seeds: tuple[int, ...]
    ) -> None:
        refuse_one_seed(seeds)
        refuse_a_part(exercises, {"magnitude_mask", "global_masks"})
        self.data, self.exercises, self.seeds = dataset, exercises, seeds
        self.labels = dataset.validation.labels.cpu().numpy()
        self.images = dataset.validation.images[:, 0].cpu().numpy()
        self.nets = {weights: prepared.network(dataset, weights, seeds[0]) for weights in WEIGHTS}
        self.answers: dict[tuple[str, str], np.ndarray] = {}  # (stops, images), of the first seed
        self.file_bytes: dict[tuple[str, str], np.ndarray] = {}  # (stops, formats), of that seed
        self.curves: dict[tuple[str, str], np.ndarray] = {}  # (seeds, points), fractions
        self.subjects: dict[str, Subject] = {}
        for weights, net in self.nets.items():
            others = [prepared.another(dataset, weights, seed) for seed in seeds[1:]]
            for scope, sweep in prepared.on_show(dataset, net).items():
                answers = sweep["answers"]
                self.answers[weights, scope] = answers
                self.file_bytes[weights, scope] = sweep["bytes"]
                first = self.accuracy(answers[np.isin(STOPS, CURVE)])
                self.curves[weights, scope] = np.stack([first, *(other[scope] for other in others)])
            self.subjects[weights] = self._subject(net, answers[0], others[0]["answers"])
        self.runs: list[Run] = []
        self._dense_runs: dict[tuple, float] = {}

    def _subject(self, net: nn.Module, answers: np.ndarray, others: np.ndarray) -> Subject:
        weights = {name: w.detach() for name, w in models.weights(net).items()}
        flat = torch.cat([w.flatten() for w in weights.values()]).cpu()
        edge = flat.abs().max().item()
        return Subject(
            net=net,
            weights=weights,
            flat=flat,
            edge=edge,
            counts=torch.histc(flat, BINS, -edge, edge).numpy(),
            other_casualties=len(self._casualties(answers, others)),
        )

    def _predict(self, net: nn.Module, weights: Mapping[str, Tensor]) -> np.ndarray:
        return prepared.ask(net, self.data.validation.images, weights)

    def accuracy(self, answers: np.ndarray) -> np.ndarray:
        """The fraction right, over the last axis."""
        return (answers == self.labels).mean(-1)

    def masks(self, subject: Subject, sparsity: float, scope: str, source: str) -> dict:
        """The masks of the library or, with `source` "mine", of the student's own function.

        Theirs gets copies of the weights, and must give one mask a layer.
        """
        if source != "mine":
            return prepared.masks_of(scope)(subject.weights, sparsity)
        copies = {name: w.clone() for name, w in subject.weights.items()}
        if scope == "global":
            masks = self.exercises["global_masks"].mine(copies, sparsity)
        else:
            one = self.exercises["magnitude_mask"].mine
            masks = {name: one(w, sparsity) for name, w in copies.items()}
        pruning.apply_masks(subject.weights, masks)
        if missing := [name for name in subject.weights if name not in masks]:
            raise ValueError(f"there is no mask for {', '.join(missing)}")
        return masks

    def view(
        self, sparsity: float, scope: str, weights: str, source: str, schedule: str, epochs: int
    ) -> View:
        """Everything the figure shows; `schedule` and `epochs` matter to the job only."""
        subject = self.subjects[weights]
        masks = self.masks(subject, sparsity, scope, source)
        pruned = pruning.apply_masks(subject.weights, masks)
        dense = self.answers[weights, scope][0]
        stop = np.flatnonzero(np.isclose(STOPS, sparsity))
        if source == "reference" and len(stop):
            answers = self.answers[weights, scope][stop[0]]
            lengths = dict(
                zip(sparse.FORMATS, self.file_bytes[weights, scope][stop[0]].tolist(), strict=True)
            )
        else:
            answers = self._predict(subject.net, pruned)
            lengths = file_bytes(subject.net.state_dict() | pruned)
        casualties = self._casualties(dense, answers)
        return View(
            sparsity=sparsity,
            accuracy=float(self.accuracy(answers)),
            dense_accuracy=float(self.accuracy(dense)),
            curve=self.curves[weights, scope],
            other_curve=self.curves[weights, "local" if scope == "global" else "global"].mean(0),
            counts=self._counts(subject, masks),
            edge=subject.edge,
            thresholds=self._thresholds(subject, masks, scope),
            kept={name: masks[name].float().mean().item() for name in pruned},
            answers=answers,
            casualties=casualties,
            strip=Strip.of(self.images, casualties, self.labels, answers),
            other_casualties=subject.other_casualties,
            file_bytes=lengths,
            mine=source == "mine",
            runs=tuple(run for run in self.runs if run.weights == weights),
        )

    def _counts(self, subject: Subject, masks: Mapping[str, Tensor]) -> np.ndarray:
        keep = torch.cat([masks[name].flatten() for name in subject.weights]).cpu()
        kept = torch.where(keep, subject.flat, torch.inf)  # infinity lies in no bin
        return np.stack(
            [subject.counts, torch.histc(kept, BINS, -subject.edge, subject.edge).numpy()]
        )

    def _thresholds(self, subject: Subject, masks: Mapping[str, Tensor], scope: str) -> list[float]:
        largest_gone = [
            torch.where(masks[name], 0, w).abs().max().item() for name, w in subject.weights.items()
        ]
        return [max(largest_gone)] * len(masks) if scope == "global" else largest_gone

    def _casualties(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The indices of the images that were right before and are not after."""
        return np.flatnonzero((before == self.labels) & (after != self.labels))

    def fine_tune(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Prune, train on with the zeros held, and train the dense network the same steps.

        One-shot prunes first and trains on; gradual starts dense, prunes more and more over the
        first half of the same steps, and does so by the library's masks alone. The run is kept in
        `runs`, also when it was stopped on the way.

        Raises:
            ExerciseError: gradual was asked for with masks by "mine". Nothing is trained then.
        """
        weights, recipe = values["weights"], Recipe(epochs=values["epochs"])
        start, control = self.subjects[weights].net, (weights, recipe)
        parts = 1 if control in self._dense_runs else 2
        go_on = partial(train, split=self.data.train, recipe=recipe, seed=1, stop=stop)
        net = copy.deepcopy(start)
        training = go_on(
            net,
            hold=self._hold(models.weights(net), values, recipe),
            progress=lambda done, total: progress(done, parts * total),
        )
        if not training.stopped and parts == 2:
            dense = copy.deepcopy(start)
            whole = go_on(dense, progress=lambda done, total: progress(total + done, 2 * total))
            if not whole.stopped:
                self._dense_runs[control] = float(self.accuracy(self._predict(dense, {})))
        self.runs.append(self._run(net, training, values, self._dense_runs.get(control)))

    def _hold(self, tuned: Mapping[str, Tensor], values: dict[str, Any], recipe: Recipe) -> Hold:
        """What keeps the weights of a run sparse while an optimizer trains them."""
        sparsity, scope, source = values["sparsity"], values["scope"], values["source"]
        if values["schedule"] == "one-shot":
            masks = self.masks(self.subjects[values["weights"]], sparsity, scope, source)
            return lambda optimizer: pruning.hold_masks(tuned, masks, optimizer)
        if source == "mine":
            raise ExerciseError(
                "gradual pruning grows the library's masks, not yours: "
                "choose one-shot to fine-tune with your masks, or masks by reference"
            )
        groups = [tuned] if scope == "global" else [{name: w} for name, w in tuned.items()]
        steps = recipe.epochs * -(-len(self.data.train) // recipe.batch_size)
        return lambda optimizer: grow_over_half(groups, optimizer, sparsity, steps)

    def _run(
        self, net: nn.Module, training: Training, values: dict[str, Any], dense: float | None
    ) -> Run:
        weights = torch.cat([w.detach().flatten() for w in models.weights(net).values()])
        return Run(
            sparsity=values["sparsity"],
            reached=(weights == 0).sum().item() / len(weights),
            scope=values["scope"],
            weights=values["weights"],
            schedule=values["schedule"],
            mine=values["source"] == "mine",
            accuracy=float(self.accuracy(self._predict(net, {}))),
            dense_accuracy=float("nan") if dense is None else dense,
            steps=training.steps,
            stopped=training.stopped,
        )


@contextmanager
def grow_over_half(
    groups: list[Mapping[str, Tensor]], optimizer: Optimizer, sparsity: float, steps: int
) -> Iterator[None]:
    """Prune each group, ranked by itself, from nothing to `sparsity` in the first half of `steps`.

    The last growth falls on the schedule's end, so that the sparsity is met exactly; the second
    half trains on at that sparsity.
    """
    half = max(steps // 2, 1)
    every = max(half // GROWTHS, 1)
    end = half - half % every

    def sparsity_at(step: int) -> float:
        return pruning.cubic_sparsity(step, end=end, final=sparsity)

    with ExitStack() as stack:
        for group in groups:
            stack.enter_context(pruning.prune_gradually(group, optimizer, sparsity_at, every=every))
        yield
