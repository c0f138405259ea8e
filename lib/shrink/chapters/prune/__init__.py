"""Chapter 02, Prune."""

from shrink.chapters.prune.indices import relative_indices
from shrink.chapters.prune.masks import break_the_masks, global_masks, magnitude_mask
from shrink.chapters.prune.step import masked_step
from shrink.chapters.prune.sweep import sensitivity
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    magnitude_mask,
    global_masks,
    masked_step,
    relative_indices,
    sensitivity,
    break_the_masks,
)

EXPERIMENT = Experiment(
    name="02-prune",
    title="90 % pruned: does it recover?",
    x=("dense", "90 % pruned", "fine-tuned", "dense, same steps"),
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("lenet-300-100",),
    datasets=DATASETS,
    baseline="dense",
)
