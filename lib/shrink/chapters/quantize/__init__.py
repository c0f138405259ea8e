"""Chapter 03, Quantize."""

from shrink.chapters.quantize.affine import break_the_quantizers, quantize
from shrink.chapters.quantize.channels import quantize_channels
from shrink.chapters.quantize.clip import best_clip
from shrink.chapters.quantize.entropy import entropy_threshold
from shrink.chapters.quantize.fixed_points import fixed_point
from shrink.chapters.quantize.fold import fold_batch_norm
from shrink.chapters.quantize.linear import integer_linear
from shrink.chapters.quantize.pack import pack_bits
from shrink.chapters.quantize.scales import scale_and_zero_point
from shrink.chapters.quantize.sums import accumulate
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    scale_and_zero_point,
    quantize,
    quantize_channels,
    pack_bits,
    accumulate,
    fixed_point,
    integer_linear,
    best_clip,
    break_the_quantizers,
    fold_batch_norm,
    entropy_threshold,
)

EXPERIMENT = Experiment(
    name="03-quantize",
    title="how few bits does a weight need?",
    x=(2, 3, 4, 5, 6, 8),
    x_label="bits per weight",
    y_label="accuracy on validation images, %",
    y_scale="accuracy",
    limits=(0, 100),
    series=("one scale", "one scale per channel"),
    datasets=DATASETS,
)
