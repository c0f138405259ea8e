"""What chapter 09's explorer shows of how a network learns, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.chapters.tickets import rounds


@dataclass(frozen=True)
class Run:
    """A training by the button, that the plot keeps."""

    line: str
    mine: bool  # whether the student's function has pruned once more
    number: int  # of the round on show
    share: float  # of the weights that are kept
    seed: int  # of the order of the images, and of what is drawn anew
    accuracy: float  # a fraction
    steps: int
    stopped: bool


@dataclass(frozen=True)
class Learned:
    """Accuracy on validation images, in %, of what is prepared of a line."""

    numbers: tuple[int, ...]  # the rounds, from the first
    right: np.ndarray  # (seeds, rounds, steps)

    def at(self, number: int) -> np.ndarray:
        """That of a round: (seeds, steps)."""
        return self.right[:, self.numbers.index(number)]

    @property
    def ends(self) -> np.ndarray:
        """After training: (seeds, rounds)."""
        return self.right[..., -1]


@dataclass(frozen=True)
class NextRound:
    """How many weights are left after one more round, by layer: by the student's function, and by
    the library's."""

    mine: dict[str, int]
    reference: dict[str, int]
    share: float  # of all weights that the student's function keeps


@dataclass(frozen=True)
class LearningView:
    """What the figure shows for one setting of the controls."""

    line: str
    number: int  # of the round
    trained: int  # the nearest round of which the line is prepared
    shares: np.ndarray  # (rounds + 1,) of the weights that are kept
    steps: tuple[int, ...]  # after which validation images are asked
    seeds: tuple[int, ...]  # on show
    lines: Mapping[str, Learned]  # of these seeds
    images: int  # that are asked after the last step
    following: NextRound | None  # by the student's function
    runs: tuple[Run, ...]

    @property
    def dense(self) -> np.ndarray:
        """Of the whole network: (seeds, steps)."""
        return self.lines["ticket"].at(0)

    @property
    def shown(self) -> np.ndarray:
        """Of the line on show in its round: (seeds, steps)."""
        return self.in_round(self.line)

    def in_round(self, line: str) -> np.ndarray:
        """Of a line in the round that was trained: (seeds, steps)."""
        return self.lines[line].at(self.trained) if self.trained else self.dense

    @property
    def others(self) -> tuple[str, ...]:
        """The arms beside the line on show that are prepared of the round."""
        return tuple(
            arm
            for arm in rounds.ARMS
            if arm != self.line and self.trained and self.trained in self.lines[arm].numbers
        )


def nearest(numbers: tuple[int, ...], number: int) -> int:
    """The nearest of these rounds, the smaller of two; the whole network is its own.

    >>> nearest((3, 7, 12), 5), nearest((3, 7, 12), 6), nearest((3, 7, 12), 0)
    (3, 7, 0)
    """
    return min(numbers, key=lambda one: abs(one - number)) if number else 0


def which_seeds(seeds: tuple[int, ...]) -> str:
    """Whose accuracies they are."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of {len(seeds)} seeds"


def heading(view: LearningView) -> str:
    """The line and its round."""
    if not view.trained:
        return "round 0, 100 % kept: the whole network"
    kept = f"round {view.trained}, {100 * view.shares[view.trained]:.1f} % kept"
    if view.trained != view.number:
        kept += f" (not trained at round {view.number})"
    return f"{kept}: {view.line}"


def early(steps: tuple[int, ...]) -> tuple[int, int]:
    """Which of the steps are nearest to a sixth and a third of the training."""
    first, second = (int(np.abs(np.array(steps) - steps[-1] / n).argmin()) for n in (6, 3))
    return first, second


def mean(right: np.ndarray, step: int = -1) -> str:
    """Of (seeds, steps), the mean after a step, which is which of them.

    >>> mean(np.array([[50.0, 96.04], [50.0, 96.0]]))
    '96.0'
    """
    return f"{right[:, step].mean():.1f}"


def summarise(view: LearningView) -> str:
    """The numbers of the view in words."""
    ends = view.shown[:, -1]
    spread = f" ({ends.min():.1f} to {ends.max():.1f})" if len(ends) > 1 else ""
    first = (
        f"<b>{heading(view)}</b>, {which_seeds(view.seeds)}: after {view.steps[-1]} steps <b>"
        f"{mean(view.shown)} %</b>{spread} of {view.images:,} validation images are right, by the "
        f"whole network {mean(view.dense)} %; {_on_the_way(view)}."
    )
    paragraphs = [first]
    if view.others:
        others = ", ".join(f"{arm} {mean(view.in_round(arm))} %" for arm in view.others)
        paragraphs.append(f"At this share: {others}.")
    if view.following:
        paragraphs.append(_in_words(view.following))
    if view.runs:
        paragraphs.insert(0, of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _on_the_way(view: LearningView) -> str:
    return ", ".join(
        f"after {view.steps[i]} steps {mean(view.shown, i)} %, whole {mean(view.dense, i)} %"
        for i in early(view.steps)
    )


def _in_words(following: NextRound) -> str:
    layers = ", ".join(
        f"{name.removesuffix('.weight')} {count:,} (reference {following.reference[name]:,})"
        for name, count in following.mine.items()
    )
    return (
        f"<b>One more round by your function</b>, tried on the initial weights, leaves {layers}: "
        f"{100 * following.share:.2f} % of all. The button does it in earnest."
    )


def of_run(run: Run) -> str:
    """A training by the button."""
    stopped = ", stopped" if run.stopped else ""
    how = (
        f"round {run.number}, pruned once more by your function to {100 * run.share:.1f} %, rewound"
        if run.mine
        else f"{run.line}, round {run.number}, {100 * run.share:.1f} % kept, seed {run.seed}"
    )
    return f"<b>Trained</b>, {how}, {run.steps} steps{stopped}: <b>{100 * run.accuracy:.1f} %</b>."


def describe(view: LearningView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    first, _ = early(view.steps)
    others = "".join(f"; {arm} {mean(view.in_round(arm))} %" for arm in view.others)
    learned = view.lines[view.line]
    ends = ", ".join(
        f"{learned.ends[:, i].mean():.1f} % at {100 * view.shares[n]:.0f} %"
        for i, n in enumerate(learned.numbers)
        if n in rounds.SHOWN
    )
    following = (
        f" One more round by your function would keep {100 * view.following.share:.2f} %."
        if view.following
        else ""
    )
    trained = f" {len(view.runs)} trained by the button." if view.runs else ""
    return (
        f"Learning curves, {which_seeds(view.seeds)}, {heading(view)}: {mean(view.shown, first)} % "
        f"right after {view.steps[first]} steps, {mean(view.shown)} % at the end; whole network "
        f"{mean(view.dense, first)} and {mean(view.dense)} %. Others at the end{others or ': none'}"
        f". Beside them accuracy after training over the share kept, {view.line}: {ends}."
        f"{following}{trained}"
    )
