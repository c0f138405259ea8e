"""The colours and styles of chapter 11's lines, allocations and roundings, in every figure."""

from shrink.classroom import plots

LINES = {
    "single": plots.COLOURS["pruned"],
    "mixed": plots.COLOURS["fine-tuned"],
    "mixed, rounding learned": plots.COLOURS["quantized"],
    "single, rounding learned": plots.COLOURS["shared"],
}
STYLES = {  # of lines, that no two differ by colour alone
    "single": ":",
    "mixed": (0, (6, 1)),
    "mixed, rounding learned": "-",
    "single, rounding learned": "-.",
}
MARKS = dict(zip(LINES, "vs^X", strict=True))
ALLOCATIONS = {"by hand": plots.COLOURS["coded"], "optimum": plots.COLOURS["pruned"]}
ROUNDINGS = {
    "nearest": plots.COLOURS["fine-tuned"],
    "optimum": plots.COLOURS["pruned"],
    "AdaRound": plots.COLOURS["quantized"],
}
MARKS_OF_ROUNDINGS = {"nearest": "s", "optimum": "D", "AdaRound": "^"}
