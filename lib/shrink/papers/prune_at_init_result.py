"""The record of pruning before training as tables, with two verdicts for each sparsity."""

from collections.abc import Sequence

from shrink.chapters.saliency.arms import CONTROLS, METHODS
from shrink.papers.tables import Difference, Record, Rows, interval, paired, spread

CHOSEN, SHUFFLED, ANEW = CONTROLS
REPLACED = {SHUFFLED: "shuffled within layers", ANEW: "new initial values"}
RULES = {
    "words": (
        "a difference of test accuracies in points, paired over seeds, is no loss if its 95 % "
        "interval begins above -margin, a loss if it ends below -margin, else unclear; a claim is "
        "reproduced if all its differences are no loss, not reproduced if half of them or more are "
        "a loss, unclear if half or more are unclear, else partly reproduced"
    ),
    "Frankle et al. 2021": (
        "for each sparsity, of magnitude, SNIP, GraSP and SynFlow: shuffled minus as chosen, and "
        "new initial values minus as chosen, eight differences"
    ),
    "Tanaka et al. 2020": (
        "for each sparsity, SynFlow minus each of random, magnitude, SNIP and GraSP, four "
        "differences"
    ),
}


class Result(Record):
    """The record of a run as tables, means over seeds, and what the two claims come to."""

    def accuracies(self, sparsity: float, method: str, control: str = CHOSEN) -> list[float]:
        """Test accuracy in %, one per seed."""
        return self._right([run[str(sparsity)][method]["errors"][control] for run in self.runs])

    def _right(self, errors: Sequence[int]) -> list[float]:
        pairs = zip(errors, self.runs, strict=True)
        return [100 * (1 - wrong / run["images"]) for wrong, run in pairs]

    def control(self, sparsity: float, method: str, control: str) -> Difference:
        """What a control has more than the method's own choice."""
        chosen = self.accuracies(sparsity, method)
        return paired(self.accuracies(sparsity, method, control), chosen)

    def synflow(self, sparsity: float, method: str) -> Difference:
        """What SynFlow has more than another method."""
        return paired(self.accuracies(sparsity, "SynFlow"), self.accuracies(sparsity, method))

    def claims(self, sparsity: float) -> tuple[dict[str, Difference], dict[str, Difference]]:
        """The differences on which the two verdicts rest: by Frankle et al., by Tanaka et al."""
        replaced = {
            f"{method}, {name}": self.control(sparsity, method, control)
            for method in METHODS[1:]
            for control, name in REPLACED.items()
        }
        return replaced, {method: self.synflow(sparsity, method) for method in METHODS[:-1]}

    def tables(self) -> list[Rows]:
        return [self._accuracies(), self._controls(), self._synflow()]

    @property
    def _sparsities(self) -> list[float]:
        return self.record["recipe"]["sparsities"]

    def _head(self, first: str) -> tuple[str, ...]:
        return first, *(f"{100 * sparsity:g} % pruned" for sparsity in self._sparsities)

    def _accuracies(self) -> Rows:
        dense = spread(self._right([run["dense"] for run in self.runs]))
        rows = [self._head("test accuracy, %"), ("not pruned", *[dense] * len(self._sparsities))]
        for method in METHODS:
            for control in controls_of(method):
                name = method if control == CHOSEN else f"…, {REPLACED[control]}"
                found = (self.accuracies(s, method, control) for s in self._sparsities)
                rows.append((name, *map(spread, found)))
        return rows

    def _controls(self) -> Rows:
        rows = [self._head("minus as chosen, points, 95 % interval")]
        for method in METHODS[1:]:
            for control, name in REPLACED.items():
                found = (self.control(s, method, control) for s in self._sparsities)
                rows.append((f"{method}, {name}", *map(self._told, found)))
        return rows

    def _synflow(self) -> Rows:
        rows = [self._head("SynFlow minus, points, 95 % interval")]
        for method in METHODS[:-1]:
            found = (self.synflow(s, method) for s in self._sparsities)
            rows.append((method, *map(self._told, found)))
        return rows

    def _told(self, found: Difference) -> str:
        return f"{interval(*found)}, {word(found, self.record['recipe']['margin'])}"

    @property
    def verdict(self) -> str:
        """Whether the two claims hold here, for each sparsity, by the rules of the recipe."""
        margin = self.record["recipe"]["margin"]
        told = []
        for sparsity in self._sparsities:
            replaced, beaten = (self._verdict(found, margin) for found in self.claims(sparsity))
            told.append(
                f"{100 * sparsity:g} % pruned: shuffled within layers or with new initial values "
                f"nothing is lost (Frankle et al. 2021): {replaced}; SynFlow is no worse than the "
                f"others (Tanaka et al. 2020): {beaten}."
            )
        return (
            f"{' '.join(told)} No loss means that the 95 % interval over {len(self.runs)} seeds "
            f"begins above {-margin:+.2f} points of test accuracy, and a loss that it ends below."
        )

    @staticmethod
    def _verdict(found: dict[str, Difference], margin: float) -> str:
        words = {name: word(difference, margin) for name, difference in found.items()}
        lost = [name for name, said in words.items() if said == "a loss"]
        fine = list(words.values()).count("no loss")
        said = f"no loss in {fine} of {len(words)}"
        if lost:
            said += f", a loss in {len(lost)} ({'; '.join(lost)})"
        return f"{verdict_of(fine, len(lost), len(words))}, {said}"


def controls_of(method: str) -> tuple[str, ...]:
    """What is trained of a method; random has nothing to replace."""
    return CONTROLS if method != "random" else (CHOSEN,)


def word(found: Difference, margin: float) -> str:
    """What a difference says, by the rule of the recipe.

    >>> [word((mean, mean - 1, mean + 1), margin=0.5) for mean in (0.6, 0, -1.4, -1.6)]
    ['no loss', 'unclear', 'unclear', 'a loss']
    """
    _, low, high = found
    if low > -margin:
        return "no loss"
    return "a loss" if high < -margin else "unclear"


def verdict_of(fine: int, lost: int, of: int) -> str:
    """What so many differences without a loss, and so many with one, say of a claim.

    >>> [verdict_of(fine, lost, 4) for fine, lost in ((4, 0), (3, 1), (2, 2), (2, 0))]
    ['reproduced', 'partly reproduced', 'not reproduced', 'unclear']
    """
    if fine == of:
        return "reproduced"
    if 2 * lost >= of:
        return "not reproduced"
    return "unclear" if 2 * (of - fine - lost) >= of else "partly reproduced"
