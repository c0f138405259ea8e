"""Chapter 04, Share."""

from shrink.chapters.share.assignment import assign
from shrink.chapters.share.breaking import break_k_means
from shrink.chapters.share.bytes_of_sharing import largest_k, shared_bytes
from shrink.chapters.share.cut import best_cut
from shrink.chapters.share.gradient import codebook_gradient
from shrink.chapters.share.updating import update
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    assign,
    update,
    codebook_gradient,
    shared_bytes,
    largest_k,
    best_cut,
    break_k_means,
)

EXPERIMENT = Experiment(
    name="04-share",
    title="how few values does a layer need?",
    x=(2, 3, 4, 8, 16),
    x_label="values per layer",
    x_scale="log",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("clustered", "trained"),
    datasets=DATASETS,
)
