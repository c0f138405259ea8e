"""The explorer of chapter 06: temperature, a digit that the student never saw, and training."""

import threading
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.figure import draw, update
from shrink.chapters.distil.prepared import (
    ALPHA,
    IMAGES,
    RECIPE,
    TAUGHT_AT,
    TEMPERATURES,
    WIDTH,
    Pair,
    Prepared,
    lesson,
)
from shrink.chapters.distil.pupils import Pupils, build
from shrink.chapters.distil.teacher import ask
from shrink.chapters.distil.view import Run, Sweep, View, summarise
from shrink.classroom import measure
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.progress import Progress

ASKED = 1000  # of the images to learn from, for the gradients
OVER = np.logspace(-1, 2, 61)
LABELLED = (50, 200, 1000, IMAGES)
WIDTHS = (10, 30, 100, 300)
ALPHAS = (0.0, 0.5, ALPHA, 1.0)


class DistillationLab:
    """The teacher and the students behind the explorer, and the runs so far."""

    def __init__(self, dataset: Dataset, soften: Exercise | None, seeds: tuple[int, ...]) -> None:
        if len(seeds) < 2:
            raise ValueError(f"at least two seeds are compared, not {seeds!r}")
        self.soften, self.seeds = soften, seeds
        self.labels = dataset.validation.labels.cpu().numpy()
        self.prepared = Prepared(dataset, seeds)
        self.wrong_by_teacher = self.wrong(self.prepared.by_teacher["validation"])
        self._untrained = self._before_training()
        self.sweep = self._sweep()
        self.runs: list[Run] = []
        self.last: Pair | None = None  # of the last run

    def right(self, logits: np.ndarray) -> np.ndarray:
        """The share of the validation images that is right: (..., images, 10) → (...)."""
        return (logits.argmax(-1) == self.labels).mean(-1)

    def wrong(self, logits: np.ndarray) -> np.ndarray:
        """The share of each class that is wrong: (images, 10) → (10,)."""
        missed = np.bincount(self.labels[logits.argmax(-1) != self.labels], minlength=10)
        return missed / np.bincount(self.labels, minlength=10)

    def _sweep(self) -> Sweep:
        right = {T: self.right(logits) for T, logits in self.prepared.swept.items()}
        return Sweep(
            temperatures=np.array(TEMPERATURES),
            distilled=np.stack([right[T] for T in TEMPERATURES], axis=1),
            alone=right[None],
            teacher=float(self.right(self.prepared.by_teacher["validation"])),
            over=OVER,
            gradients=np.array([self.gradient(T) for T in OVER]).T,
            recipe=f"{WIDTH} units a layer, alpha {ALPHA:g}, {len(self.prepared.split):,} "
            f"images, all labelled, {RECIPE.epochs} epochs, learning rate "
            f"{RECIPE.learning_rate:g} / (1 - alpha + alpha · min(T, 5)), {len(self.seeds)} seeds",
            images=len(self.labels),
        )

    # --- what is on show -------------------------------------------------------------------

    def _before_training(self) -> tuple[Tensor, Tensor, float]:
        """Logits of the teacher, and of a student as it begins; its hard loss's gradient."""
        images, labels = (
            t[:ASKED] for t in (self.prepared.split.images, self.prepared.split.labels)
        )
        logits = ask(build(self.seeds[0], WIDTH).to(images.device), images)
        hard = logits.softmax(-1) - F.one_hot(labels, 10)
        return self.prepared.answers[:ASKED], logits, float(hard.norm(dim=1).mean())

    def gradient(self, temperature: float) -> tuple[float, float]:
        """The length of the gradient of T² · KL, and that of KL, over the hard loss's.

        It is by a student's logits, before training; lengths are means over the images.
        """
        teacher, student, hard = self._untrained
        q, p = (distillation.soften(logits, temperature) for logits in (teacher, student))
        plain = float((p - q).norm(dim=1).mean()) / temperature / hard
        return temperature**2 * plain, plain

    def _softened(self, logits: np.ndarray, temperature: float, mine: bool) -> np.ndarray:
        """Logits (n, 10) softened, by the library or by the student's function."""
        given = torch.from_numpy(logits)
        if not mine:
            return distillation.soften(given, temperature).numpy()
        found = self.soften.mine(given.clone(), temperature)
        if not isinstance(found, Tensor) or found.shape != given.shape:
            gave = (
                f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            )
            raise ExerciseError(f"soften gives a tensor of the logits' shape; yours gave {gave}")
        if not found.isfinite().all():
            raise ExerciseError(
                f"soften gives finite numbers; at T = {temperature:.3g} some of yours are NaN or "
                "infinite"
            )
        return found.detach().double().numpy()

    def view(
        self,
        temperature: float,
        bias: float,
        digit: int,
        missing: str,
        student: str = "prepared",
        source: str = "reference",
    ) -> View:
        """Everything the figure shows.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none of that shape;
                or `student` is "trained", and none is.
        """
        trained, mine = student == "trained", source == "mine"
        if trained and self.last is None:
            raise ExerciseError("no student of yours is trained yet: press Train students")
        pair = self.last if trained else self.prepared.pairs[_digit(missing)]
        logits, beside = pair.validation, pair.digits[digit]
        if pair.missing is not None:
            added = bias * np.eye(10, dtype=np.float32)[pair.missing]
            logits, beside = logits + added, beside + added
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
            gradient=self.gradient(temperature),
            missing=pair.missing,
            bias=bias,
            trained=trained,
            taught_at=pair.taught_at,
            errors=np.stack([self.wrong_by_teacher, *map(self.wrong, logits)]),
            accuracies=tuple(self.right(logits).tolist()),
            runs=tuple(self.runs),
        )

    # --- training --------------------------------------------------------------------------

    def train(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train a student and the same one alone, for each seed; the run is kept in `runs`.

        Stopped, it keeps the seeds that were through, or else the first as far as it came.
        """
        missing, split = _digit(values["missing"]), self.prepared.split
        temperature, alpha = values["temperature"], values["alpha"]
        trained: list[Pupils] = []
        for number, seed in enumerate(self.seeds):

            def step(done: int, total: int, number: int = number) -> None:
                progress(number * total + done, len(self.seeds) * total)

            pair, done = self.prepared.teach(
                [lesson(seed, temperature, alpha, missing), lesson(seed, missing=missing)],
                width=values["width"],
                labelled=values["labelled"],
                progress=step,
                stop=stop,
            )
            if not (done.stopped and trained):
                trained.append(pair)
                steps, stopped = done.steps, done.stopped
            if stop.is_set():
                break
        answers = [self.prepared.asked_of(pair) for pair in trained]
        right = [self.right(found["validation"].numpy()) for found in answers]
        told = split.labels[: values["labelled"]]
        self.last = Pair.of(answers[0], temperature, missing)
        self.runs.append(
            Run(
                temperature=temperature,
                alpha=alpha,
                labelled=len(told) - (0 if missing is None else int((told == missing).sum())),
                missing=missing,
                width=values["width"],
                distilled=tuple(float(taught) for taught, _ in right),
                alone=tuple(float(alone) for _, alone in right),
                bytes=measure.size(_first(trained[0])),
                steps=steps,
                stopped=stopped,
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


def explore_distillation(
    dataset: Dataset, soften: Exercise | None = None, *, seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
) -> Explorer:
    """The explorer of chapter 06: LeNet-5 teaches small networks of three layers.

    Args:
        dataset: its validation images are asked; of the test set ten digits are shown.
        soften: the exercise, for the switch *mine / reference*.
        seeds: the students behind the bands and the runs; the first one is on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = DistillationLab(dataset, soften, seeds)
    wide = {"layout": {"width": "500px"}, "style": {"description_width": "130px"}}
    controls = {
        "temperature": widgets.FloatLogSlider(
            TAUGHT_AT, min=-1, max=2, step=0.05, description="temperature, T", **wide
        ),
        "bias": widgets.FloatSlider(
            0, min=-5, max=15, step=0.25, description="bias, missing digit", **wide
        ),
        "digit": toggle("image", list(range(10)), width=34),
        "student": toggle("student", ["prepared", "trained"]),
        "missing": toggle("missing", ["none", *map(str, range(10))], width=56),
        "source": toggle("soften by", ["reference", "mine"][: 2 if soften else 1]),
    }
    controls["digit"].value, controls["missing"].value = 2, "3"
    of_training = {
        "alpha": toggle("alpha", [(f"{alpha:g}", alpha) for alpha in ALPHAS], width=46),
        "labelled": toggle("labels", [(f"{n:,}", n) for n in LABELLED], width=66),
        "width": toggle("units", list(WIDTHS), width=52),
    }
    start = {"alpha": ALPHA, "labelled": LABELLED[-1], "width": WIDTH}
    for name, value in start.items():
        of_training[name].value = value
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job(
            "Train students",
            lab.train,
            of_training,
            f"{len(seeds)} students, each twice: from these labels and the teacher's answers to "
            f"all {len(lab.prepared.split):,} images, and from the labels alone. "
            "T and the missing digit are those above.",
        ),
        size=(9.6, 4.9),
        alt="LeNet-5 teaches small networks: its softened answer for a digit beside the student's; "
        "the gradient with and without T²; accuracy over the temperature of teaching, and alone; "
        "the error of each class, with a digit left out; the runs with their bytes",
    )
