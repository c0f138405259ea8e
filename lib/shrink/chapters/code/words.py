"""What a setting of chapter 05's explorer of codes shows, in words."""

import numpy as np

from shrink.chapters.code.figure import CODES, TUNED_AT, Codes, View
from shrink.chapters.code.sizes import GAP_BITS
from shrink.coding.codec import LONGEST


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    layer = zip(("gaps", "values"), view.codes, strict=True)
    of_codes = [_of_codes(view, what, codes) for what, codes in layer]
    return "<br>".join([_of_bytes(view), " ".join([_of_accuracy(view), *of_codes])])


def _of_bytes(view: View) -> str:
    here = GAP_BITS.index(view.gap_bits)
    totals = view.bytes.sum(1)
    fillers, entries = int(view.fillers[here]), int(view.entries[here])
    parts = ", ".join(f"{name} {int(size[here]):,}" for name, size in view.stacked.items())
    sentences = [
        f"{view.gap_bits} gap bits, sparsity {view.sparsity} %, {view.k} values, "
        f"{CODES[view.code]}: <b>{int(totals[here]):,} bytes</b>, in float32 {view.dense_bytes:,}. "
        f"{parts[0].upper()}{parts[1:]}.",
        f"{fillers:,} of {entries:,} entries are fillers, {100 * fillers / max(entries, 1):.3g} %.",
        f"At the entropy, without tables, it would have {view.least[here]:,.0f}. The shortest by "
        f"this code has {int(np.nanmin(totals)):,} bytes, at {GAP_BITS[int(np.nanargmin(totals))]} "
        f"gap bits.",
    ]
    if view.mine:
        sentences.insert(0, "<b>Your code_lengths.</b>")
        if view.too_long:
            sentences.append(
                f"Some of yours are longer than {LONGEST} bits, the most that the file's table "
                "holds: there the file has the library's."
            )
    return " ".join(sentences)


def _of_accuracy(view: View) -> str:
    network = (
        f"fine-tuned at {TUNED_AT} % and then pruned on"
        if view.tuned
        else "pruned and not trained on"
    )
    return (
        f"Accuracy <b>{100 * view.accuracy:.1f} %</b> of {view.images:,} validation images, "
        f"{network}; with its own weights {100 * view.unshared:.1f} %, the dense network "
        f"{100 * view.dense_accuracy:.1f} %."
    )


def _of_codes(view: View, what: str, codes: Codes) -> str:
    if not codes.symbols:
        return f"{view.layer} has no zeros, and so no {what}."
    return (
        f"Bits for each of {view.layer}'s {what}: fixed {codes.fixed}, "
        f"{', '.join(f'{name} {x:.3f}' for name, x in codes.averages)}; the most frequent, "
        f"{codes.symbols[0]}, is {100 * codes.share[0]:.3g} % of them and has the code "
        f"{codes.codes[0]}."
    )
