"""What chapter 06's explorer computes: soft targets, students, and the runs of its button."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.prepared import (
    ALPHA,
    RECIPE,
    TEMPERATURES,
    WIDTH,
    Pair,
    Prepared,
    lesson,
)
from shrink.chapters.distil.pupils import Pupils
from shrink.chapters.distil.view import Run, Sweep, View
from shrink.classroom import measure
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals
from shrink.classroom.progress import Progress
from shrink.classroom.training import Training

TRAINED = "trained"  # the choice of the student of the last run


class DistillationLab:
    """The teacher and the students behind the explorer, and the runs so far."""

    def __init__(self, dataset: Dataset, soften: Exercise | None, seeds: tuple[int, ...]) -> None:
        refusals.refuse_one_seed(seeds)
        self.soften, self.seeds = soften, seeds
        self.labels = dataset.validation.labels.cpu().numpy()
        self.prepared = Prepared(dataset, seeds)
        self.wrong_by_teacher = self.wrong(self.prepared.by_teacher["answers"])
        self.sweep = self._sweep()
        self.runs: list[Run] = []
        self.last: Pair | None = None  # of the last run

    def right(self, answers: np.ndarray) -> np.ndarray:
        """The share of the validation images that is right: (..., images) → (...)."""
        return (answers == self.labels).mean(-1)

    def wrong(self, answers: np.ndarray) -> np.ndarray:
        """The share of each class that is wrong: (images,) → (10,)."""
        missed = np.bincount(self.labels[answers != self.labels], minlength=10)
        return missed / np.bincount(self.labels, minlength=10)

    def _sweep(self) -> Sweep:
        right = self.prepared.swept
        return Sweep(
            temperatures=np.array(TEMPERATURES),
            distilled=np.stack([right[T] for T in TEMPERATURES], axis=1),
            alone=right[None],
            teacher=float(self.right(self.prepared.by_teacher["answers"])),
            recipe=f"{WIDTH} units a layer, alpha {ALPHA:g}, {len(self.prepared.split):,} "
            f"images, all labelled, {RECIPE.epochs} epochs, learning rate "
            f"{RECIPE.learning_rate:g} / (1 - alpha + alpha · min(T, 5)), {len(self.seeds)} seeds",
            images=len(self.labels),
        )

    # --- what is on show -------------------------------------------------------------------

    def _softened(self, logits: np.ndarray, temperature: float, mine: bool) -> np.ndarray:
        """Logits (n, 10) softened, by the library or by the student's function."""
        given = torch.from_numpy(logits)
        if not mine:
            return distillation.soften(given, temperature).numpy()
        answer = self.soften.mine(given.clone(), temperature)
        promise = "soften gives a tensor of the logits' shape"
        found = refusals.tensor_of_shape(answer, given.shape, promise)
        refusals.refuse_what_is_not_finite(
            found, f"soften gives finite numbers; at T = {temperature:.3g}"
        )
        return found.detach().double().numpy()

    def pair(self, student: str) -> Pair | None:
        """The student on show, and the same one alone; None where it is not trained yet."""
        return self.last if student == TRAINED else self.prepared.pairs[_digit(student)]

    def without_effect(self, values: Mapping[str, Any]) -> set[str]:
        """The bias, where the student on show misses no digit."""
        shown = self.pair(values["student"])
        return {"bias"} if shown is not None and shown.missing is None else set()

    def view(
        self,
        temperature: float,
        bias: float,
        digit: int,
        student: str,
        source: str = "reference",
    ) -> View:
        """Everything the figure shows.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none of that shape;
                or `student` is the one that the button has trained, and there is none.
        """
        mine, pair = source == "mine", self.pair(student)
        if pair is None:
            raise ExerciseError("no student of yours is trained yet: press Train students")
        answers, beside = pair.answers(bias), pair.digits[digit]
        if pair.missing is not None:
            beside = beside + bias * np.eye(10, dtype=np.float32)[pair.missing]
        rows = np.stack([self.prepared.by_teacher["digits"][digit], beside])
        soft = self._softened(rows, temperature, mine)
        return View(
            sweep=self.sweep,
            temperature=temperature,
            digit=digit,
            image=self.prepared.pictures[digit],
            mine=mine,
            soft=soft,
            entropies=(_entropy(soft[0]), _entropy(soft[1])),
            missing=pair.missing,
            bias=bias,
            trained=student == TRAINED,
            taught_at=pair.taught_at,
            errors=np.stack([self.wrong_by_teacher, *map(self.wrong, answers)]),
            accuracies=tuple(self.right(answers).tolist()),
            runs=tuple(self.runs),
        )

    # --- training --------------------------------------------------------------------------

    def train(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train a student and the same one alone, for each seed; the run is kept in `runs`.

        Stopped, it keeps the seeds that were through, or else the first as far as it came.
        """
        missing = _digit(values["missing"])
        trained: list[Pupils] = []
        for number, seed in enumerate(self.seeds):

            def step(done: int, total: int, number: int = number) -> None:
                progress(number * total + done, len(self.seeds) * total)

            pair, done = self.prepared.teach(
                [
                    lesson(seed, values["temperature"], values["alpha"], missing),
                    lesson(seed, missing=missing),
                ],
                width=values["width"],
                labelled=values["labelled"],
                progress=step,
                stop=stop,
            )
            if not (done.stopped and trained):
                trained.append(pair)
                training = done
            if stop.is_set():
                break
        self._keep(trained, training, values)

    def _keep(self, trained: list[Pupils], training: Training, values: dict[str, Any]) -> None:
        """Keep the pairs of students, one for each seed, as the last run."""
        missing, temperature = _digit(values["missing"]), values["temperature"]
        logits = [self.prepared.asked_of(pair) for pair in trained]
        right = np.stack([self.right(found["validation"].argmax(-1).numpy()) for found in logits])
        told = self.prepared.split.labels[: values["labelled"]]
        self.last = Pair.of(logits[0], temperature, missing)
        self.runs.append(
            Run(
                temperature=temperature,
                alpha=values["alpha"],
                labelled=len(told) - (0 if missing is None else int((told == missing).sum())),
                missing=missing,
                width=values["width"],
                distilled=tuple(right[:, 0].tolist()),
                alone=tuple(right[:, 1].tolist()),
                bytes=measure.size(_first(trained[0])),
                steps=training.steps,
                stopped=training.stopped,
            )
        )


def _first(students: Pupils) -> dict[str, Tensor]:
    """The state of the first of them, as its own network has it."""
    states = students.states().items()
    return {name.removeprefix("0/"): tensor for name, tensor in states if name.startswith("0/")}


def _digit(missing: str) -> int | None:
    return None if missing == "none" else int(missing)


def _entropy(p: np.ndarray) -> float:
    """In bits; NaN unless p are probabilities that add up to 1."""
    if (p < 0).any() or not np.isclose(p.sum(), 1, atol=1e-3):
        return float("nan")
    return max(0.0, float(-(p * np.log2(np.where(p > 0, p, 1))).sum()))  # never -0.00
