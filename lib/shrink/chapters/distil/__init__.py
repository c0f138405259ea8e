"""Chapter 06, Distil."""

from shrink.chapters.distil.bias import best_bias
from shrink.chapters.distil.breaking import break_the_loss
from shrink.chapters.distil.cross_entropy import soft_losses
from shrink.chapters.distil.distances import distance_loss
from shrink.chapters.distil.hints import hint_loss
from shrink.chapters.distil.losses import distillation_loss
from shrink.chapters.distil.softening import soften
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    soften,
    distillation_loss,
    best_bias,
    soft_losses,
    hint_loss,
    distance_loss,
    break_the_loss,
)

EXPERIMENT = Experiment(
    name="06-distil",
    title="how many labelled images is a teacher worth?",
    x=(50, 200, 1000, 5000),
    x_label="images",
    x_scale="log",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("labels", "labels and answers"),
    datasets=DATASETS,
)
