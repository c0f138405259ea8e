"""Chapter 07, Structure."""

from shrink.chapters.structure.blocks import n_of_m
from shrink.chapters.structure.breaking import break_the_surgery
from shrink.chapters.structure.channels import remove_channels
from shrink.chapters.structure.filters import filters_to_keep
from shrink.chapters.structure.flatten import remove_inputs
from shrink.chapters.structure.residual import shrink_residual

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    filters_to_keep,
    remove_channels,
    remove_inputs,
    shrink_residual,
    n_of_m,
    break_the_surgery,
)
