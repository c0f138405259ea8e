"""Chapter 07, Structure."""

from shrink.chapters.structure.blocks import n_of_m
from shrink.chapters.structure.breaking import break_the_surgery
from shrink.chapters.structure.channels import remove_channels
from shrink.chapters.structure.filters import filters_to_keep
from shrink.chapters.structure.flatten import remove_inputs
from shrink.chapters.structure.residual import shrink_residual
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    filters_to_keep,
    remove_channels,
    remove_inputs,
    shrink_residual,
    n_of_m,
    break_the_surgery,
)

EXPERIMENT = Experiment(
    name="07-structure",
    title="what are the weights worth that pruning keeps?",
    x=(25, 50, 75),
    x_label="channels kept, %",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("pruned, fine-tuned", "from scratch"),
    datasets=DATASETS,
)
