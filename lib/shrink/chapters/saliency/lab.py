"""What chapter 08's explorer computes: deletions after training, and pruning before it."""

import copy
import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.saliency import arms, collapsing, deleting, deletions
from shrink.chapters.saliency.after_view import AfterRun, AfterView, correlation, ranks_of
from shrink.chapters.saliency.before_view import BeforeRun, BeforeView, Trained
from shrink.chapters.saliency.collapsing import COMPRESSIONS, ITERATED, LAYERS
from shrink.chapters.saliency.deleting import DELETED, Case, Curves
from shrink.chapters.saliency.view import View
from shrink.classroom import models
from shrink.classroom.data import Dataset, Split
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers import refusals
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.masked_training import train_masked
from shrink.classroom.progress import Progress
from shrink.classroom.training import Training, accuracy

QUESTIONS = ("after training", "before training")
OF_QUESTION = {  # the controls of each
    QUESTIONS[0]: ("deleted", "order", "network", "trained", "rescaled", "source"),
    QUESTIONS[1]: ("compression", "method", "steps"),
}

Scores = Mapping[str, Tensor]


class SaliencyLab:
    """What was found beforehand, the networks behind it, and the runs so far."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: tuple[int, ...]) -> None:
        refusals.refuse_one_seed(seeds)
        self.data, self.exercise, self.seed = dataset, exercise, seeds[0]
        self.split, self.asked = deleting.loss_images(dataset), deleting.asked_of(dataset)
        self.deleted = deleting.deleted(dataset, seeds)
        self.collapse = collapsing.collapse(dataset, self.seed)
        found = collapsing.accuracies(dataset, seeds)
        self.trained = {key: Trained(*both) for key, both in found.items()}
        self.dense = self.trained.pop(("none", arms.CONTROLS[0])).right[:, 0]
        self.runs: list[AfterRun | BeforeRun] = []
        self._nets, self._scores, self._ranks = Memory(20), Memory(20), Memory(20)  # by case
        self._mine = Memory(4)

    def view(self, question: str, **values: Any) -> View:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none of the weights'
                shape, or one that is not finite.
        """
        if question == QUESTIONS[0]:
            return self._after(*after_as_it_counts(values))
        return self._before(*before_as_it_counts(values))

    # --- after training --------------------------------------------------------------------

    def network(self, case: Case) -> nn.Module:
        """The first seed's network of a case."""
        return self._nets.once(case, lambda: deleting.network_of(case, self.data, self.seed))

    def scores(self, case: Case, mine: bool) -> dict[str, Scores]:
        """The scores of the weights by each order's name; OBD's are the student's if `mine`."""
        net = self.network(case)
        scores = self._scores.once(case, lambda: deleting.scores_of(net, self.split, self.seed))
        return {**scores, "OBD": self._by_student(net)} if mine else scores

    def ranks(self, case: Case, mine: bool) -> dict[str, np.ndarray]:
        """The ranks of single deletions by order: by its scores, and by their true rises."""
        where = deletions.places(self.network(case), deleting.SINGLES, self.seed)

        def make() -> dict[str, np.ndarray]:
            true = ranks_of(deleting.true_rises(case, self.data, self.seed))
            scores = self.scores(case, mine=False)
            return {by: np.stack([_ranks_at(where, of), true]) for by, of in scores.items()}

        ranks = self._ranks.once(case, make)
        if not mine:
            return ranks
        by_mine = _ranks_at(where, self.scores(case, mine)["OBD"])
        return {**ranks, "OBD": np.stack([by_mine, ranks["OBD"][1]])}

    def _by_student(self, net: nn.Module) -> Scores:
        """The student's saliency of each weight."""
        diagonal = pruning.hessian_diagonal(net, self.split.images, self.split.labels)
        found = {}
        for name, weight in models.weights(net).items():
            w = weight.detach().clone()
            answer = self.exercise.mine(w, diagonal[name].clone())
            promise = "obd_saliency gives a tensor of the weight's shape"
            found[name] = refusals.tensor_of_shape(answer, w.shape, promise).detach().to(w)
            refusals.refuse_what_is_not_finite(found[name], "obd_saliency gives finite numbers;")
        return found

    def _curves(self, case: Case, order: str, mine: bool) -> dict[str, Curves]:
        prepared = {by: self.deleted[case, by][0] for by in deletions.ORDERS}
        if not mine:
            return prepared
        scores = self.scores(case, mine)
        saliency = scores["OBD"]
        key = case, b"".join(s.numpy(force=True).tobytes() for s in saliency.values())
        net = self.network(case)
        by_mine = self._mine.once(
            key, lambda: Curves.along(net, self.split, self.asked, saliency, saliency)
        )
        predicted = deleting.predicted_along(scores[order], saliency)
        shown = dataclasses.replace(prepared[order], predicted=predicted)
        return {**prepared, order: shown, "OBD": by_mine}

    def _after(self, case: Case, order: str, stop: int, mine: bool) -> AfterView:
        curves, ranks = self._curves(case, order, mine), self.ranks(case, mine)
        rises = [found.actual for found in self.deleted[case, order]]
        if mine and order == "OBD":
            rises = [curves[order].actual]
        runs = [run for run in self.runs if isinstance(run, AfterRun) and run.case == case]
        return AfterView(
            case=case,
            order=order,
            mine=mine,
            stop=stop,
            deleted=DELETED,
            curves=curves,
            band=np.stack([np.min(rises, 0), np.max(rises, 0)]),
            ranks=ranks[order],
            correlations={by: correlation(both) for by, both in ranks.items()},
            images=(len(self.split), len(self.asked)),
            runs=tuple(runs),
        )

    # --- before training -------------------------------------------------------------------

    def _before(self, method: str, steps: int, stop: int) -> BeforeView:
        remains = self.collapse.remains[method, steps]
        (empty,) = np.nonzero((remains.kept == 0).any(1))
        runs = [run for run in self.runs if isinstance(run, BeforeRun) and run.method == method]
        return BeforeView(
            method=method,
            steps=steps,
            compression=float(COMPRESSIONS[stop]),
            layers=tuple(name.removesuffix(".weight") for name in LAYERS),
            sizes=self.collapse.sizes,
            kept=remains.kept[stop],
            live=remains.live[stop],
            paths=float(remains.paths[stop]),
            sums=remains.sums[stop],
            into=self.collapse.into[method],
            out=self.collapse.out[method],
            first=self.collapse.first,
            collapses=float(COMPRESSIONS[empty[0]]) if len(empty) else None,
            trained=self.trained,
            dense=self.dense,
            images=len(self.data.validation),
            runs=tuple(runs),
        )

    # --- what the button does --------------------------------------------------------------

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train what is left of the network on show; the run is kept, also when it was stopped."""
        values = dict(values)
        if values.pop("question") == QUESTIONS[0]:
            case, order, place, mine = after_as_it_counts(values)
            self._train_on(case, order, place, mine, stop, progress)
        else:
            self._train_anew(*before_as_it_counts(values), stop, progress)

    def _train_on(
        self,
        case: Case,
        order: str,
        place: int,
        mine: bool,
        stop: threading.Event,
        progress: Progress,
    ) -> None:
        net = copy.deepcopy(self.network(case))
        share = float(DELETED[place])
        masks = pruning.masks_from_scores(self.scores(case, mine)[order], share)
        net.load_state_dict(pruning.apply_masks(net.state_dict(), masks))
        before = accuracy(net, self.asked)
        done = self._train(net, masks, stop, progress)
        right = accuracy(net, self.asked)
        by_mine = mine and order == "OBD"  # the other orders are nobody's
        self.runs.append(
            AfterRun(case, order, by_mine, share, before, right, done.steps, done.stopped)
        )

    def _train_anew(
        self, method: str, steps: int, place: int, stop: threading.Event, progress: Progress
    ) -> None:
        net = arms.initial(self.seed).to(self.data.train.images.device)
        few, compression = arms.scored(self.data.train, self.seed), float(COMPRESSIONS[place])
        masks = arms.masks_by(
            method,
            net,
            few.images,
            few.labels,
            1 - 1 / compression,
            seed=self.seed,
            steps=steps,
        )
        done = self._train(net, masks, stop, progress)
        right = accuracy(net, self.data.validation)
        self.runs.append(BeforeRun(method, steps, compression, right, done.steps, done.stopped))

    def _train(
        self, net: nn.Module, masks: Scores, stop: threading.Event, progress: Progress
    ) -> Training:
        images, labels = self.data.train.images, self.data.train.labels
        done = train_masked(
            net,
            masks,
            Split(images[: arms.TRAINED], labels[: arms.TRAINED]),
            epochs=arms.EPOCHS,
            learning_rate=arms.LEARNING_RATE,
            seed=self.seed,
            progress=progress,
            stop=stop,
        )
        net.eval()
        return done


def _ranks_at(where: list[tuple[str, int]], scores: Scores) -> np.ndarray:
    """The ranks of the weights at these places."""
    return ranks_of(deletions.at(scores, where).numpy(force=True))


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """The controls that change nothing in this state."""
    hidden = {
        name
        for question, names in OF_QUESTION.items()
        for name in names
        if question != values["question"]
    }
    if values["question"] == QUESTIONS[0] and values["network"] == "tanh":
        hidden.add("rescaled")
    if values["question"] == QUESTIONS[1] and values["method"] not in ITERATED:
        hidden.add("steps")
    return hidden


def after_as_it_counts(values: Mapping[str, Any]) -> tuple[Case, str, int, bool]:
    """The case, the order, which of DELETED and whether the saliencies are the student's."""
    rescaled = values["rescaled"] if values["network"] == "ReLU" else "no"
    case = Case(values["network"], values["trained"], rescaled)
    stop = int(np.abs(100 * DELETED - values["deleted"]).argmin())
    return case, values["order"], stop, values.get("source") == "mine"


def before_as_it_counts(values: Mapping[str, Any]) -> tuple[str, int, int]:
    """The method, its steps, and which of COMPRESSIONS is nearest."""
    method = values["method"]
    steps = values["steps"] if method in ITERATED else 1
    return method, steps, int(np.abs(np.log(COMPRESSIONS / values["compression"])).argmin())
