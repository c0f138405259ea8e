"""What chapter 11's explorer computes of bits by layer: the optimum, and what both answer, live."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from shrink.chapters.mixed import costs, curves, networks
from shrink.chapters.mixed.allocation_view import AllocationView, Choice
from shrink.chapters.mixed.answers_lab import Answering, Answers
from shrink.chapters.mixed.colours import LINES
from shrink.chapters.mixed.tables_lab import PER, Table, tables
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.memory import Memory
from shrink.quantization import allocation

ASKED = 500  # validation images that are answered live, the first ones
CALIBRATED = 100  # training images, the first ones, on which biases are corrected live
PROMISE = "best_allocation gives a dict from each layer to one of its options"


class AllocationLab:
    """Allocations of bits to the layers of the separable network of the first seed."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: Sequence[int]) -> None:
        self.data, self.exercise, self.seeds = dataset, exercise, tuple(seeds)
        net = networks.floats(dataset, self.seeds[0]).cpu()
        layers = networks.layers_of(net)
        self.layers = tuple(layers)
        self.counts = tuple(layer.weight.numel() for layer in layers.values())
        asked, seen = dataset.validation, dataset.train.images[:CALIBRATED]
        few = asked.images[:ASKED].cpu(), asked.labels[:ASKED].cpu()
        self.answering = Answering(net, *few, seen.cpu())
        self.tables = tables(dataset, self.seeds)
        self._known, self._prepared = Memory(300), Memory(50)

    def view(
        self,
        budget: float,
        bits: Sequence[int],
        by: str,
        rounding: str,
        corrected: bool,
        per: str,
        mine: bool,
    ) -> AllocationView:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `mine`, and there is no answer yet, or it gives no allocation.
        """
        table, sizes = self.tables.costs(per, by, rounding), self.tables.sizes(per)
        room = self.tables.room(per, budget)
        solve = self._mine if mine else allocation.best_allocation
        best = solve(table, sizes, room)

        def choice(of: Mapping[str, int]) -> Choice:
            answers = self._answers(of, rounding, corrected, per)
            return Choice(
                tuple(of[name] for name in self.layers),
                allocation.total(sizes, of),
                allocation.total(table, of),
                answers.error,
                answers.divergence,
            )

        return AllocationView(
            budget=budget,
            room=room,
            layers=self.layers,
            counts=self.counts,
            scales=room - self.tables.room(PER[0], budget) + 4 * len(self.layers),
            widths=networks.WIDTHS,
            by=by,
            rounding=rounding,
            corrected=corrected,
            per=per,
            mine=mine,
            costs=np.array([list(table[name].values()) for name in self.layers]),
            hand=choice(dict(zip(self.layers, bits, strict=True))),
            optimum=choice(best),
            lines={name: self._line(per, by, name) for name in LINES},
            budgets=curves.BUDGETS,
            whole=100 * self.tables.whole,
            whole_here=self.answering.whole,
            images=self.answering.asked,
            images_of_lines=len(costs.judged(self.data)),
        )

    # --- allocations -----------------------------------------------------------------------

    def _mine(self, costs: Table, sizes: Table, room: int) -> dict[str, int]:
        """The student's optimum, if it is an allocation; it may well be a wrong one."""
        own = {name: dict(of) for name, of in costs.items()}
        found = self.exercise.mine(own, {name: dict(of) for name, of in sizes.items()}, room)
        if not isinstance(found, Mapping):
            raise ExerciseError(f"{PROMISE}; yours gave {type(found).__name__}")
        if set(found) != set(self.layers):
            raise ExerciseError(f"{PROMISE}; yours has {', '.join(map(str, found)) or 'none'}")
        for name, width in found.items():
            if not isinstance(width, Hashable) or width not in costs[name]:
                raise ExerciseError(f"{PROMISE}; yours gave {name} {width!r}")
        return {name: int(width) for name, width in found.items()}

    def _answers(self, of: Mapping[str, int], rounding: str, corrected: bool, per: str) -> Answers:
        widths = tuple(of[name] for name in self.layers)

        def answer() -> Answers:
            table = self._weights(rounding, per)
            weights = {name: table[name][of[name]] for name in self.layers}
            return self.answering.of(weights, corrected)

        return self._known.once((widths, rounding, corrected, per), answer)

    # --- what is prepared ------------------------------------------------------------------

    def _weights(self, rounding: str, per: str) -> dict[str, dict[int, Tensor]]:
        """layer → width → the rounded weight as float."""

        def make() -> dict[str, dict[int, Tensor]]:
            found = _integers(self.data, self.seeds[0], rounding, per)
            return {
                name: {width: (q * scale).cpu() for width, (q, scale) in of.items()}
                for name, of in found.items()
            }

        return self._prepared.once(("weights", rounding, per), make)

    def _line(self, per: str, by: str, name: str) -> np.ndarray:
        """(seeds, budgets) error in %; a line that needs no costs is the same by all of them."""
        by = by if name in curves.BY_ALL else curves.BY[0]
        return 100 * self.tables.line(per, by, name).numpy()


def prepared(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes all that takes long, one by one."""
    yield partial(tables, dataset, networks.SEEDS)
    for per in PER:
        yield partial(_integers, dataset, networks.SEEDS[0], "learned", per)


def _integers(dataset: Dataset, seed: int, rounding: str, per: str) -> networks.Integers:
    return networks.integers(dataset, seed, rounding=rounding, per_channel=per == "channel")
