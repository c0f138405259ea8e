"""Chapter 07, Structure."""

from shrink.chapters.structure.breaking import break_the_surgery
from shrink.chapters.structure.channels import remove_channels
from shrink.chapters.structure.flatten import remove_inputs
from shrink.chapters.structure.residual import shrink_residual

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (remove_channels, remove_inputs, shrink_residual, break_the_surgery)
