"""The colours of chapter 09's lines, in every figure."""

from shrink.chapters.tickets import rounds
from shrink.classroom import plots

REWOUND = {"the end" if step is None else f"step {step}": step for step in rounds.REWINDS}
COLOURS = {
    "ticket": plots.COLOURS["pruned"],
    "re-initialised": plots.COLOURS["coded"],
    "random places": plots.COLOURS["distilled"],
    "signs only": plots.COLOURS["shared"],
    "ticket, step 100": plots.COLOURS["quantized"],
    "ticket, the end": plots.COLOURS["fine-tuned"],
}
STYLES = {  # of lines, that no two differ by colour alone
    "ticket": "-",
    "re-initialised": "-.",
    "random places": ":",
    "signs only": (0, (4, 1, 1, 1, 1, 1)),
    "ticket, step 100": (0, (6, 1)),
    "ticket, the end": (0, (3, 1)),
}


def line_of(arm: str, rewound: str) -> str:
    """The name of what an arm has learned: a ticket says where it was rewound to, if not to 0.

    >>> line_of("ticket", "step 0"), line_of("ticket", "the end"), line_of("signs only", "the end")
    ('ticket', 'ticket, the end', 'signs only')
    """
    return f"{arm}, {rewound}" if arm == "ticket" and REWOUND[rewound] != 0 else arm
