"""What a setting of chapter 06's explorer shows, and how it is said in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Difference:
    """Distilled less alone in points, seed by seed: the mean and its 95 % interval."""

    mean: float
    half: float  # of the interval; NaN with one seed

    @classmethod
    def between(cls, distilled: Sequence[float], alone: Sequence[float]) -> "Difference":
        """Of fractions right, paired; the differences are taken as normal (Student's t)."""
        pairs = 100 * (np.asarray(distilled) - np.asarray(alone))
        n = len(pairs)
        if n < 2:
            return cls(float(pairs.mean()), float("nan"))
        half = stdtrit(n - 1, 0.975) * pairs.std(ddof=1) / np.sqrt(n)
        return cls(float(pairs.mean()), float(half))

    def __str__(self) -> str:
        if np.isnan(self.half):
            return f"{self.mean:+.2f} points, by one seed: no interval"
        low, high = self.mean - self.half, self.mean + self.half
        verdict = "distilled is better" if low > 0 else "distilled is worse"
        if low <= 0 <= high:
            verdict = "no difference shown"
        return f"{self.mean:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}): {verdict}"


@dataclass(frozen=True)
class Run:
    """Students that the button has trained, a pair for each seed; accuracies are fractions."""

    temperature: float
    alpha: float
    labelled: int  # images whose label was told, none of them of the missing digit
    missing: int | None
    width: int
    distilled: tuple[float, ...]  # of each seed
    alone: tuple[float, ...]
    bytes: int  # of a student's file
    steps: int  # of each student
    stopped: bool


@dataclass(frozen=True)
class Sweep:
    """What is the same for every setting: students taught at each temperature, and alone."""

    temperatures: np.ndarray  # (k,) at which students were taught
    distilled: np.ndarray  # (seeds, k), fractions right
    alone: np.ndarray  # (seeds,)
    teacher: float
    recipe: str  # in words
    images: int  # validation images that are asked


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    sweep: Sweep
    temperature: float
    digit: int  # on show
    image: np.ndarray  # (28, 28)
    mine: bool  # whether the soft targets are the student's
    soft: np.ndarray  # (2, 10): the teacher's softened answer, and the student's
    entropies: tuple[float, float]  # of the two, in bits; NaN where they add up to something else
    missing: int | None
    bias: float
    trained: bool  # whether the student on show is the last run's
    taught_at: float  # the temperature of the student on show
    errors: np.ndarray  # (3, 10): the share wrong of each class: teacher, distilled, alone
    accuracies: tuple[float, float]  # fractions, with the bias: distilled, alone
    runs: tuple[Run, ...]

    @property
    def nearest(self) -> int:
        """Which of the sweep's temperatures is nearest."""
        return int(np.abs(np.log(self.sweep.temperatures / self.temperature)).argmin())


def describe(view: View) -> str:
    """The picture in a sentence."""
    sweep, at = view.sweep, view.nearest
    _, distilled, alone = 100 * view.errors
    wrong = f"from {distilled.min():.1f} to {distilled.max():.1f} % wrong by class"
    if view.missing is not None:
        others = np.delete(distilled, view.missing)
        wrong = (
            f"which saw no {view.missing}, at a bias of {view.bias:+.2f} "
            f"{distilled[view.missing]:.1f} % of these wrong, "
            f"alone {alone[view.missing]:.1f} %, of the other digits up to {others.max():.1f} %"
        )
    return (
        f"The digit {view.digit}, and bars of the answers at T = {view.temperature:.3g}: of the "
        f"teacher {_largest(view.soft[0])}, of the student {_largest(view.soft[1])}. A curve over "
        f"the temperature of teaching: {100 * sweep.distilled[:, at].mean():.2f} % right at "
        f"{sweep.temperatures[at]:g}, alone {100 * sweep.alone.mean():.2f} %. Of the student, "
        f"{wrong}. {f'{len(view.runs)} runs' if view.runs else 'No runs yet'}."
    )


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    paragraphs = [_of_answers(view), _of_sweep(view), _of_errors(view)]
    if view.runs:
        paragraphs.append(_of_runs(view.runs))
    return "<br>".join(paragraphs)


def _of_answers(view: View) -> str:
    teacher, student = view.soft
    whose = "<b>Your soften.</b> " if view.mine else ""
    sums = [f"{p.sum():.3g}" for p in view.soft if not np.isclose(p.sum(), 1, atol=1e-3)]
    off = f" They add up to {' and '.join(sums)}, and not to 1." if sums else ""
    return (
        f"{whose}<b>T = {view.temperature:.3g}</b>, this {view.digit}: the teacher softened says "
        f"{_largest(teacher)}; the student {_largest(student)}. Entropy of the soft target: "
        f"{bits(view.entropies[0])} of {np.log2(10):.2f}; of the student's answer: "
        f"{bits(view.entropies[1])}.{off}"
    )


def _largest(p: np.ndarray) -> str:
    """The three largest of an answer."""
    return ", ".join(f"{i}: {100 * p[i]:.3g} %" for i in np.argsort(-p)[:3])


def _of_sweep(view: View) -> str:
    sweep, at = view.sweep, view.nearest
    distilled, alone = sweep.distilled[:, at], sweep.alone
    return (
        f"Sweep ({sweep.recipe}): taught at T = {sweep.temperatures[at]:g}, "
        f"{100 * distilled.mean():.2f} % right of {sweep.images:,} validation images, alone "
        f"{100 * alone.mean():.2f} %, the teacher {100 * sweep.teacher:.2f} %; "
        f"{Difference.between(distilled, alone)}."
    )


def _of_errors(view: View) -> str:
    which = "the last run's" if view.trained else "prepared"
    words = f"Student on show: {which}, of the first seed, taught at T = {view.taught_at:.3g}"
    if view.missing is None:
        right = "; no digit is missing: "
    else:
        _, distilled, alone = 100 * view.errors[:, view.missing]
        right = (
            f", without any {view.missing}; bias {view.bias:+.2f} on that class, set by hand on "
            f"these validation images: <b>{distilled:.1f} % of the {view.missing}s wrong</b>, "
            f"alone {alone:.1f} %; of all images "
        )
    distilled, alone = (100 * accuracy for accuracy in view.accuracies)
    return f"{words}{right}{distilled:.2f} % right, alone {alone:.2f} %."


def _of_runs(runs: tuple[Run, ...]) -> str:
    head = ("run", "T", "alpha", "labels", "missing", "units", "steps", "bytes", "distilled, %")
    head += ("alone, %", "seeds", "distilled less alone")
    rows = [
        (
            f"{number}{', stopped' if run.stopped else ''}",
            f"{run.temperature:.3g}",
            f"{run.alpha:.2g}",
            f"{run.labelled:,}",
            "none" if run.missing is None else f"{run.missing}",
            f"{run.width}",
            f"{run.steps:,}",
            f"{run.bytes:,}",
            f"{100 * np.mean(run.distilled):.2f}",
            f"{100 * np.mean(run.alone):.2f}",
            f"{len(run.distilled)}",
            f"{Difference.between(run.distilled, run.alone)}",
        )
        for number, run in enumerate(runs, start=1)
    ]
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    cells = "".join(f"<th>{name}</th>" for name in head)
    style = "border-spacing: 8px 0; text-align: right"
    return f"<table style='{style}'><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def bits(entropy: float) -> str:
    """An entropy in words; there is none of what does not add up to 1."""
    return "none" if np.isnan(entropy) else f"{entropy:.2f} bits"
