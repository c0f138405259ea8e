"""Chapter 11, Mixed."""

from shrink.chapters.mixed.allocating import best_allocation
from shrink.chapters.mixed.breaking import break_nearest
from shrink.chapters.mixed.correcting import correct_bias
from shrink.chapters.mixed.layer_bytes import allocation_bytes
from shrink.chapters.mixed.relaxing import relaxed_rounding
from shrink.chapters.mixed.sensitivities import layer_sensitivity
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    allocation_bytes,
    layer_sensitivity,
    best_allocation,
    relaxed_rounding,
    correct_bias,
    break_nearest,
)

EXPERIMENT = Experiment(
    name="11-mixed",
    title="bits by hand against the optimum: who wins?",
    x=("4 bits in each layer", "by hand", "the optimum"),
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("rounded to nearest", "rounding learned"),
    datasets=DATASETS,
)
