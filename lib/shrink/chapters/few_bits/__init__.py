"""Chapter 10, Few bits."""

from shrink.chapters.few_bits.bf16 import round_to_bf16
from shrink.chapters.few_bits.breaking import break_the_gradient
from shrink.chapters.few_bits.few_values import signs_and_scale
from shrink.chapters.few_bits.scaling import scaled_step
from shrink.chapters.few_bits.step_gradient import learned_step_gradient
from shrink.chapters.few_bits.straight_through import fake_quantize_ste
from shrink.chapters.few_bits.updating import latent_step
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    fake_quantize_ste,
    learned_step_gradient,
    signs_and_scale,
    latent_step,
    round_to_bf16,
    scaled_step,
    break_the_gradient,
)

EXPERIMENT = Experiment(
    name="10-few-bits",
    title="at how many bits does a network break, and what does training give back?",
    x=(4, 3, 2, 1),
    x_label="bits per weight",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("after training", "trained aware"),
    datasets=DATASETS,
)
