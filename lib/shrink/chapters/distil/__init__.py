"""Chapter 06, Distil."""

from shrink.chapters.distil.bias import best_bias
from shrink.chapters.distil.breaking import break_the_loss
from shrink.chapters.distil.cross_entropy import soft_losses
from shrink.chapters.distil.distances import distance_loss
from shrink.chapters.distil.hints import hint_loss
from shrink.chapters.distil.losses import distillation_loss
from shrink.chapters.distil.softening import soften

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
