"""Chapter 10, Few bits."""

from shrink.chapters.few_bits.bf16 import round_to_bf16
from shrink.chapters.few_bits.breaking import break_the_gradient
from shrink.chapters.few_bits.scaling import scaled_step
from shrink.chapters.few_bits.updating import latent_step
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    latent_step,
    round_to_bf16,
    scaled_step,
    break_the_gradient,
)

EXPERIMENT = Experiment(
    name="10-few-bits",
    title="at how many bits does yours break, and what does training give back?",
    x=(1, 2, 3, 4),
    x_label="bits per weight",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("after training", "trained aware"),
    datasets=DATASETS,
)
