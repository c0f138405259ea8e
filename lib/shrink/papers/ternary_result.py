"""The record of ternary and binary weights as tables over seeds, and what the claim comes to."""

from shrink.papers.tables import Difference, Record, Rows, interval, paired, spread

ARMS = FLOAT, TERNARY, BINARY = "float", "ternary", "binary"
RULES = {
    "order": (
        "in each seed ternary weights err on no fewer test images than floats, and on fewer than "
        "binary ones"
    ),
    "near": "the mean accuracy of ternary weights is at most margin points below that of floats",
    "verdict": "reproduced if both hold, partly if one does, else not; errors are those at the end",
}


class Result(Record):
    """The record of a run as a table, and what the paper's claim comes to."""

    def errors(self, arm: str) -> list[float]:
        """Test error in %, one per seed."""
        return [100 * run[arm]["errors"] / run["images"] for run in self.runs]

    def zeros(self) -> list[float]:
        """Of the ternary network's weights, the percentage that are 0."""
        return [100 * run[TERNARY]["zeros"] for run in self.runs]

    def difference(self, arm: str, other: str) -> Difference:
        """What the accuracy of an arm is above the other's, in points."""
        return paired(self.errors(other), self.errors(arm))

    def in_order(self) -> int:
        """In how many seeds float errs least, then ternary, then binary."""
        each = zip(*(self.errors(arm) for arm in ARMS), strict=True)
        return sum(dense <= three < two for dense, three, two in each)

    def tables(self) -> list[Rows]:
        rows = [("weights", "accuracy, %", "minus float, points, 95 % interval", "zeros, %")]
        for arm in ARMS:
            right = [100 - error for error in self.errors(arm)]
            apart = "" if arm == FLOAT else interval(*self.difference(arm, FLOAT))
            zeros = spread(self.zeros(), ".1f") if arm == TERNARY else ""
            rows.append((arm, spread(right), apart, zeros))
        return [rows]

    @property
    def verdict(self) -> str:
        """Whether the claim holds here, by the rules of the recipe."""
        margin, of = self.record["recipe"]["margin"], len(self.runs)
        count, near = self.in_order(), self.difference(TERNARY, FLOAT)
        holds = [count == of, round(-near[0], 9) <= margin]  # 0.85 - 0.70 is above 0.15
        word = {2: "reproduced", 1: "partly reproduced", 0: "not reproduced"}[sum(holds)]
        return (
            f"Ternary weights lose little to floats, and less than binary ones (Li et al. 2016): "
            f"{word}. Float is as accurate as ternary or more, and ternary more than binary, in "
            f"{count} of {of} seeds. Ternary minus float is {interval(*near)} points (95 % "
            f"interval), at least -{margin:g} by the rule; ternary minus binary "
            f"{interval(*self.difference(TERNARY, BINARY))}."
        )
