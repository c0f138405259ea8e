"""The colours of chapter 10's ways to few bits and of its formats, in every figure."""

from shrink.classroom import plots

WAYS = {
    "after training, min-max": plots.COLOURS["shared"],
    "after training": plots.COLOURS["fine-tuned"],
    "trained on, then rounded": plots.COLOURS["coded"],
    "follows": plots.COLOURS["distilled"],
    "fixed": plots.COLOURS["pruned"],
    "learned": plots.COLOURS["quantized"],
}
STYLES = {  # of lines, that no two differ by colour alone
    "after training, min-max": (0, (1, 3)),
    "after training": ":",
    "trained on, then rounded": "-.",
    "follows": (0, (4, 1, 1, 1, 1, 1)),
    "fixed": (0, (6, 1)),
    "learned": "-",
}
FORMATS = {
    "fp16": plots.COLOURS["pruned"],
    "bf16": plots.COLOURS["fine-tuned"],
    "fp8 e4m3": plots.COLOURS["quantized"],
    "fp8 e5m2": plots.COLOURS["coded"],
}
