"""Chapter 08, Saliency."""

from shrink.chapters.saliency.breaking import break_the_score
from shrink.chapters.saliency.diagonal import hessian_diagonal
from shrink.chapters.saliency.flow import synflow_scores
from shrink.chapters.saliency.obd import obd_saliency
from shrink.chapters.saliency.snip import snip_scores
from shrink.chapters.saliency.steps import prune_in_steps
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    obd_saliency,
    hessian_diagonal,
    synflow_scores,
    prune_in_steps,
    snip_scores,
    break_the_score,
)

EXPERIMENT = Experiment(
    name="08-saliency",
    title="do places matter more, the less a network has learned?",
    x=(1, 3, 10),
    x_label="epochs of training",
    y_label="accuracy on validation images, %",
    x_scale="log",
    y_scale="accuracy",
    limits=(0, 100),
    series=("SynFlow", "SynFlow, shuffled", "random"),
    datasets=DATASETS,
)
