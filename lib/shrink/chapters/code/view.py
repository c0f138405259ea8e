"""What a setting of chapter 05's explorer of codes shows, and how it is said in words."""

from dataclasses import dataclass

import numpy as np

from shrink.chapters.code.parts import PARTS
from shrink.chapters.code.sizes import GAP_BITS
from shrink.classroom.baselines import PRUNING
from shrink.coding.codec import LONGEST

CODES = {"fixed": "fixed", "huffman": "Huffman", "ans": "ANS"}  # as they are shown
STACK = {part: (part,) for part in PARTS[:5]} | {"names, header": PARTS[5:]}
TUNED_AT = round(100 * PRUNING[-1])  # %


@dataclass(frozen=True)
class Codes:
    """Some symbols that occur, from the most frequent on, and the bits that they take."""

    symbols: tuple[str, ...]
    codes: tuple[str, ...]  # the bits of each symbol's Huffman code
    share: np.ndarray  # of all: (symbols,)
    lengths: np.ndarray  # of their codes, bits
    fixed: int  # bits a symbol by each code; by ANS without its table
    huffman: float
    ans: float
    entropy: float

    @classmethod
    def none(cls) -> "Codes":
        return cls((), (), np.zeros(0), np.zeros(0, int), 0, 0.0, 0.0, 0.0)

    @property
    def averages(self) -> tuple[tuple[str, float], ...]:
        """Bits a symbol, by what is shown beside fixed codes."""
        return ("Huffman", self.huffman), ("ANS", self.ans), ("entropy", self.entropy)


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    gap_bits: int
    sparsity: int  # %
    k: int  # values, besides the zero
    code: str
    layer: str
    mine: bool  # whether the lengths of Huffman codes are the student's
    tuned: bool  # whether the network was fine-tuned before
    bytes: np.ndarray  # (GAP_BITS, PARTS), of the file; NaN where mine has no code
    too_long: bool  # whether a length of mine does not fit in the file, which takes another code
    least: np.ndarray  # (GAP_BITS,): bytes with gaps and values at their entropy, without tables
    entries: np.ndarray  # (GAP_BITS,), of all layers
    fillers: np.ndarray  # (GAP_BITS,), of them
    codes: tuple[Codes, Codes]  # of the layer's gaps, and of its values
    accuracy: float  # of the network in the file; all three are fractions
    unshared: float  # with the weights as they are
    dense_accuracy: float
    dense_bytes: int  # of a file of float32
    images: int  # validation images

    @property
    def stacked(self) -> dict[str, np.ndarray]:
        """The parts as they are shown: (GAP_BITS,) bytes of each; NaN as in `bytes`."""
        return {
            name: self.bytes[:, [PARTS.index(part) for part in parts]].sum(1)
            for name, parts in STACK.items()
        }


def describe(view: View) -> str:
    """The picture in a sentence."""
    here, totals = GAP_BITS.index(view.gap_bits), view.bytes.sum(1)
    bars = ", ".join(
        f"{bits}: {total:,.0f}"
        for bits, total in zip(GAP_BITS, totals, strict=True)
        if not np.isnan(total)
    )
    filled = 100 * view.fillers[here] / max(view.entries[here], 1)
    of_codes = "; ".join(
        f"of its {what} the commonest, {codes.symbols[0]}, is {100 * codes.share[0]:.0f} % of all, "
        f"has {codes.lengths[0]} bits by Huffman and deserves {np.log2(1 / codes.share[0]):.2f}"
        for what, codes in zip(("gaps", "values"), view.codes, strict=True)
        if codes.symbols
    )
    return (
        f"Bars of the file's bytes in {CODES[view.code]} codes, {view.sparsity} % pruned and with "
        f"{view.k} values, by gap bits {bars}; at {view.gap_bits} gap bits {filled:.0f} % of the "
        f"entries are fillers, and at the entropy it would have {view.least[here]:,.0f}. The codes "
        f"of {view.layer}: {of_codes}."
    )


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
