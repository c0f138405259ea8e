"""The colours of chapter 08's techniques, in every figure."""

from shrink.classroom import plots

COLOURS = {
    "magnitude": plots.COLOURS["pruned"],
    "OBD": plots.COLOURS["quantized"],
    "gradient": plots.COLOURS["coded"],
    "random": plots.COLOURS["distilled"],
    "SNIP": plots.COLOURS["coded"],
    "GraSP": plots.COLOURS["shared"],
    "SynFlow": "#000000",
}
STYLES = {  # of lines, that no two differ by colour alone
    "magnitude": "--",
    "OBD": "-",
    "gradient": "-.",
    "random": ":",
    "SNIP": "-.",
    "GraSP": (0, (4, 1, 1, 1, 1, 1)),
    "SynFlow": "-",
}
