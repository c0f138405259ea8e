"""What chapter 11's explorer computes, whichever its scene."""

from collections.abc import Mapping, Sequence
from typing import Any

from shrink.chapters.mixed import curves
from shrink.chapters.mixed.allocation_lab import AllocationLab
from shrink.chapters.mixed.kernel_lab import KernelLab
from shrink.chapters.mixed.kernel_view import BY_RANK
from shrink.chapters.mixed.view import View
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers import refusals

SCENES = ("bits by layer", "one kernel")
ANSWERS = curves.BY[0]  # what costs are measured by where each channel has a scale
LAYERS = ("stem", "depthwise1", "pointwise1", "depthwise2", "pointwise2", "fc")
BIASES = {"as they are": False, "corrected": True}
OF_SCENE = {
    SCENES[0]: {"budget", *LAYERS, "by", "rounding", "biases", "per", "source", "take"},
    SCENES[1]: {"layer", "kernel", "width", "rounded", "rank"},
}


class MixedLab:
    """The labs of the two scenes."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: Sequence[int]) -> None:
        refusals.refuse_one_seed(seeds)
        self.allocations = AllocationLab(dataset, exercise, seeds)
        self.kernels = KernelLab(dataset, seeds[0])

    def view(self, scene: str, **values: Any) -> View:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or it gives no
                allocation.
        """
        if scene == SCENES[1]:
            names = ("layer", "kernel", "width", "rounded", "rank")
            return self.kernels.view(*(values[name] for name in names))
        return self.allocations.view(
            values["budget"],
            [values[name] for name in LAYERS],
            ANSWERS if values["per"] == "channel" else values["by"],
            values["rounding"],
            BIASES[values["biases"]],
            values["per"],
            values["source"] == "mine",
        )


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """The controls that change nothing in this state."""
    scene = values["scene"]
    hidden = set().union(*(names for one, names in OF_SCENE.items() if one != scene))
    if values["per"] == "channel":
        hidden.add("by")
    if values["rounded"] != BY_RANK:
        hidden.add("rank")
    return hidden
