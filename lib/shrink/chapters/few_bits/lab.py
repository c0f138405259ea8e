"""What chapter 10's explorer computes, whichever its scene."""

import threading
from collections.abc import Mapping
from typing import Any

from shrink.chapters.few_bits.halves_lab import HalvesLab
from shrink.chapters.few_bits.view import View
from shrink.chapters.few_bits.weights_lab import WeightsLab
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers import refusals
from shrink.classroom.progress import Progress

SCENES = ("weights in few bits", "halves")
OF_SCENE = {
    SCENES[0]: {"bits", "scale", "per", "clip", "source"},
    SCENES[1]: {"loss_scale", "format", "numbers", "step"},
}
CLIPS = {"in the range": True, "everywhere": False}


class FewBitsLab:
    """The labs of the two scenes."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: tuple[int, ...]) -> None:
        refusals.refuse_one_seed(seeds)
        self.weights = WeightsLab(dataset, exercise, seeds)
        self.halves = HalvesLab(dataset, seeds)

    def view(self, scene: str, **values: Any) -> View:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or it gives no rounded
                numbers.
        """
        if scene == SCENES[1]:
            names = ("format", "loss_scale", "numbers", "step")
            return self.halves.view(*(values[name] for name in names))
        bits, scale, per = (values[name] for name in ("bits", "scale", "per"))
        return self.weights.view(bits, scale, per, CLIPS[values["clip"]], is_mine(values))

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train what is on show once more; the run is kept, also when stopped."""
        of_scene = self.halves if values["scene"] == SCENES[1] else self.weights
        of_scene.work(values, stop, progress)


def is_mine(values: Mapping[str, Any]) -> bool:
    """Whether the student's function rounds: one bit has no 0, and so no `fake_quantize_ste`."""
    return values.get("source") == "mine" and values["bits"] > 1


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """The controls that change nothing in this state."""
    scene = values["scene"]
    hidden = set().union(*(names for one, names in OF_SCENE.items() if one != scene))
    if values["bits"] == 1:
        hidden.add("source")
    if is_mine(values):
        hidden.add("clip")
    return hidden
