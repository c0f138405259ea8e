"""Chapter 02, Prune."""

from shrink.chapters.prune.indices import relative_indices
from shrink.chapters.prune.masks import break_the_masks, global_masks, magnitude_mask
from shrink.chapters.prune.step import masked_step
from shrink.chapters.prune.sweep import sensitivity

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    magnitude_mask,
    global_masks,
    masked_step,
    relative_indices,
    sensitivity,
    break_the_masks,
)
