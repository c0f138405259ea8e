"""What chapter 09's explorer computes: what was learned beforehand, and which weights are kept."""

import threading
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets import rounds
from shrink.chapters.tickets.colours import REWOUND, line_of
from shrink.chapters.tickets.learning_view import Learned, LearningView, NextRound, Run, nearest
from shrink.chapters.tickets.view import View
from shrink.chapters.tickets.weights_view import Shared, WeightsView
from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.progress import Progress
from shrink.classroom.training import accuracy

QUESTIONS = ("how it learns", "which weights")
OF_QUESTION = {QUESTIONS[0]: ("rewound", "source"), QUESTIONS[1]: ("layer",)}  # of one alone
LAYERS = tuple(rounds.RATES)
ALL = "all"  # seeds
BINS = 20  # of the initial weights of a layer
INKED = 0.02  # from this mean of the training images on, a pixel is inside the outline
NEW_SEEDS = 100  # from here on, of what the button trains

Masks = dict[str, Tensor]


class TicketsLab:
    """What was learned beforehand, the masks of all rounds, and the runs so far."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: tuple[int, ...]) -> None:
        refusals.refuse_one_seed(seeds)
        self.data, self.exercise, self.seeds = dataset, exercise, seeds
        self.chains = {seed: rounds.chain(dataset, seed) for seed in seeds}
        self.learned = {line: self._learned(line) for line in lines()}
        weights = models.weights(rounds.initial(seeds[0]))
        self.shares = np.array(pruning.kept_shares(weights, rounds.RATES, rounds.ROUNDS))
        images = dataset.train.images[: rounds.TRAINED]
        self.inked = (images.mean((0, 1)) >= INKED).numpy(force=True)
        self.runs: list[Run] = []
        self._initial, self._shuffled = Memory(10), Memory(10)  # by arm and seed, by seed

    def view(self, question: str, **values: Any) -> View:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or it gives no masks.
        """
        if question == QUESTIONS[0]:
            return self._learning(*as_it_counts(values), values["seed"])
        return self._weights(values["arm"], values["round"], values["seed"], values["layer"])

    # --- how it learns ---------------------------------------------------------------------

    def _learned(self, line: str) -> Learned:
        """What is prepared of a line, of all seeds."""
        if line in rounds.ARMS[1:]:
            numbers = rounds.prepared(line)
            found = [rounds.curves_of(self.data, line, seed) for seed in self.seeds]
        else:
            to = 0 if line in rounds.ARMS else REWOUND[line.removeprefix("ticket, ")]
            numbers = tuple(range(rounds.ROUNDS + 1))
            found = [
                self.chains[seed].curves if to == 0 else rounds.chain(self.data, seed, to).curves
                for seed in self.seeds
            ]
        right = [[curves[number].accuracy for number in numbers] for curves in found]
        return Learned(numbers, 100 * np.array(right))

    def _learning(self, line: str, number: int, mine: bool, seed: int | str) -> LearningView:
        chosen = [i for i, one in enumerate(self.seeds) if seed in (ALL, one)]
        seeds = tuple(self.seeds[i] for i in chosen)
        shown = {
            name: Learned(learned.numbers, learned.right[chosen])
            for name, learned in self.learned.items()
        }
        return LearningView(
            line=line,
            number=number,
            trained=nearest(self.learned[line].numbers, number),
            shares=self.shares,
            steps=rounds.WATCHED,
            seeds=seeds,
            lines=shown,
            images=len(self.data.validation),
            following=self._following(seeds[0], number) if mine else None,
            runs=tuple(self.runs),
        )

    def _following(self, seed: int, number: int) -> NextRound:
        """What the student's function leaves in one more round, of the initial weights."""
        masks = self.chains[seed].masks(number)
        weights = {n: w.to(masks[n].device) for n, w in self._initial_of("ticket", seed).items()}
        weights = pruning.apply_masks(weights, masks)
        found = [
            {name: int(mask.sum()) for name, mask in following.items()}
            for following in (
                self._by_student(weights, masks),
                pruning.prune_survivors(weights, masks, rounds.RATES),
            )
        ]
        size = sum(mask.numel() for mask in masks.values())
        return NextRound(*found, sum(found[0].values()) / size)

    def _by_student(self, weights: Masks, masks: Masks) -> Masks:
        """The masks of one more round, by the student's function."""
        answer = self.exercise.mine(
            {name: w.clone() for name, w in weights.items()},
            {name: mask.clone() for name, mask in masks.items()},
            dict(rounds.RATES),
        )
        promise = "prune_survivors gives a dict with a mask for each weight"
        if not isinstance(answer, Mapping) or answer.keys() != masks.keys():
            is_dict = isinstance(answer, Mapping)
            found = ", ".join(map(str, answer)) if is_dict else type(answer).__name__
            raise ExerciseError(f"{promise}; yours gave {found or 'an empty one'}")
        promise = "prune_survivors gives bool masks of the weights' shapes"
        for name, mask in masks.items():
            refusals.tensor_of_shape(answer[name], mask.shape, promise)
            if answer[name].dtype != torch.bool:
                raise ExerciseError(f"{promise}; yours gave {answer[name].dtype}")
        return {name: answer[name].detach().to(mask.device) for name, mask in masks.items()}

    # --- which weights ---------------------------------------------------------------------

    def masks(self, arm: str, seed: int, number: int) -> Masks:
        """The masks under which an arm learns."""
        if arm != "random places":
            return self.chains[seed].masks(number)
        gone = self._shuffled.once(seed, lambda: self._gone_at_random(seed))
        return {name: one > number for name, one in gone.items()}

    def _gone_at_random(self, seed: int) -> dict[str, Tensor]:
        """Of each weight the round in which it goes if places are random.

        A seed shuffles the masks of all rounds alike, so that the rounds' numbers are shuffled bit
        by bit.
        """
        gone = {name: self.chains[seed].gone[name] for name in LAYERS}  # in one order always
        shuffled = {name: torch.zeros_like(one) for name, one in gone.items()}
        for bit in range((rounds.ROUNDS + 1).bit_length()):
            of_bit = {name: (one >> bit & 1).bool() for name, one in gone.items()}
            for name, mask in pruning.shuffle_masks(of_bit, seed + rounds.APART).items():
                shuffled[name] += mask.to(shuffled[name].dtype) << bit
        return shuffled

    def _initial_of(self, arm: str, seed: int) -> dict[str, Tensor]:
        """The weights before training, on the CPU."""

        def make() -> dict[str, Tensor]:
            net, _ = rounds.started(arm, seed, {})
            return {name: w.detach() for name, w in models.weights(net).items()}

        return self._initial.once((arm, seed), make)

    def _weights(self, arm: str, number: int, seed: int | str, layer: str) -> WeightsView:
        masks = {one: self.masks(arm, one, number) for one in self.seeds}
        shown = self.seeds if seed == ALL else (seed,)
        pixels = {one: rounds.surviving_pixels(masks[one]).cpu().double() for one in self.seeds}
        pairs = [pair for pair in combinations(self.seeds, 2) if seed in (ALL, *pair)]
        name = f"{layer}.weight"
        units = len(masks[self.seeds[0]][LAYERS[0]])
        edges = self._edges(arm, name)
        counts = [self._counted(arm, one, name, masks[one][name], edges) for one in shown]
        began, kept = np.sum(counts, 0)
        return WeightsView(
            arm=arm,
            number=number,
            share=float(self.shares[number]),
            seeds=shown,
            layer=layer,
            edges=edges,
            began=began,
            kept=kept,
            pixels=torch.stack([pixels[one] for one in shown]).mean(0).numpy(),
            units=units,
            inked=self.inked,
            shared=_shared(masks, pixels, pairs, units),
            runs=tuple(self.runs),
        )

    def _edges(self, arm: str, name: str) -> np.ndarray:
        """Of the bins of initial weights, the same for all seeds."""
        largest = max(float(self._initial_of(arm, seed)[name].abs().max()) for seed in self.seeds)
        return np.linspace(-largest, largest, BINS + 1)

    def _counted(
        self, arm: str, seed: int, name: str, mask: Tensor, edges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many weights began in each bin, and how many of them are kept."""
        weight = self._initial_of(arm, seed)[name].numpy().ravel()
        width = edges[1] - edges[0]
        bins = ((weight - edges[0]) / width).astype(int).clip(0, BINS - 1)
        kept = bins[mask.numpy(force=True).ravel()]
        return np.bincount(bins, minlength=BINS), np.bincount(kept, minlength=BINS)

    # --- what the button does --------------------------------------------------------------

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train the network on show, or one round more; the run is kept, also when stopped.

        Raises:
            ExerciseError: the masks of what is on show are not at hand, or the student's function
                gives none.
        """
        line, number, mine = as_it_counts(values)
        if line not in rounds.ARMS:
            raise ExerciseError(
                "the button trains what is rewound to step 0: of other tickets the course keeps "
                "accuracies and no masks"
            )
        seed = self.seeds[0] if values["seed"] == ALL else values["seed"]
        if mine:
            self._next_round(seed, number, stop, progress)
            return
        new = NEW_SEEDS + len(self.runs)
        drawn_anew = line in ("re-initialised", "random places")
        masks = self.chains[seed].masks(number)
        net, masks = rounds.started(line, new if drawn_anew else seed, masks)
        done = self._trained(net, masks, new, stop, progress)
        self.runs.append(Run(line, False, number, float(self.shares[number]), new, *done))

    def _next_round(
        self, seed: int, number: int, stop: threading.Event, progress: Progress
    ) -> None:
        """Train the ticket, prune it by the student's function, rewind it and train it again."""
        planned = rounds.WATCHED[-1]
        net, masks = rounds.started("ticket", seed, self.chains[seed].masks(number))
        self._trained(net, masks, seed, stop, lambda done, _: progress(done, 2 * planned))
        if stop.is_set():
            return
        found = {name: w.detach() for name, w in models.weights(net).items()}
        masks = self._by_student(found, masks)
        share = sum(int(mask.sum()) for mask in masks.values())
        share /= sum(mask.numel() for mask in masks.values())
        done = self._trained(
            rounds.initial(seed),
            masks,
            seed,
            stop,
            lambda done, _: progress(planned + done, 2 * planned),
        )
        self.runs.append(Run("ticket", True, number, share, seed, *done))

    def _trained(
        self, net: nn.Module, masks: Masks, order: int, stop: threading.Event, progress: Progress
    ) -> tuple[float, int, bool]:
        """Train the network in place: its accuracy, the steps, and whether it was stopped.

        `order` is the seed of the order of the images.
        """
        planned, steps = rounds.WATCHED[-1], 0

        def watch(step: int) -> None:
            nonlocal steps
            steps = step
            progress(step, planned)

        net.to(self.data.train.images.device)
        rounds.trained(net, masks, self.data, order, watch, stop)
        return accuracy(net, self.data.validation), steps, steps < planned


def _shared(
    masks: Mapping[int, Masks],
    pixels: Mapping[int, Tensor],
    pairs: list[tuple[int, int]],
    units: int,
) -> dict[str, Shared]:
    """What the masks of each pair of seeds both keep, by layer."""
    overlaps = [pruning.mask_overlap(masks[one], masks[other]) for one, other in pairs]
    by_pixel = [float((pixels[one] * pixels[other]).sum()) / units for one, other in pairs]
    found = {}
    for name in LAYERS:
        chance = overlaps[0][name]  # the layers' counts are those of every seed
        found[name.removesuffix(".weight")] = Shared(
            both=np.array([overlap[name].shared for overlap in overlaps]),
            expected=chance.expected,
            deviation=chance.deviation,
            by_pixel=np.array(by_pixel) if name == LAYERS[0] else None,
        )
    return found


def lines() -> tuple[str, ...]:
    """The names of all that was learned beforehand: the arms, and tickets rewound elsewhere."""
    return (*rounds.ARMS, *(line_of("ticket", to) for to in REWOUND if REWOUND[to] != 0))


def as_it_counts(values: Mapping[str, Any]) -> tuple[str, int, bool]:
    """The line, the round, and whether the student's function prunes once more."""
    line = line_of(values["arm"], values["rewound"])
    return line, values["round"], values.get("source") == "mine" and line == "ticket"


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """The controls that change nothing in this state."""
    hidden = {
        name
        for question, names in OF_QUESTION.items()
        for name in names
        if question != values["question"]
    }
    if values["arm"] != "ticket":
        hidden |= {"rewound", "source"}
    if line_of(values["arm"], values["rewound"]) != "ticket":
        hidden.add("source")
    return hidden
