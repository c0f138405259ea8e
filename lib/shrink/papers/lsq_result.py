"""The record of learned step sizes as a table, and what the paper's claim comes to."""

from shrink.papers.tables import Record, Rows, spread

PARTS = ("weights", "weights and activations")
ARMS = ("after training", "trained on, then rounded", "follows", "fixed", "learned")
NAMES = {
    "after training": "rounded, not trained",
    "trained on, then rounded": "floats trained on, then rounded",
    "follows": "trained aware, the scale follows",
    "fixed": "trained aware, the scale is fixed",
    "learned": "trained aware, the scale is learned",
}
RULES = {
    "ordering": "in a part of the table it holds if in every seed fewer test images are wrong with "
    "learned scales than with fixed ones, and fewer with these than with those that follow; equal "
    "counts are not fewer",
    "paper": "reproduced if the ordering holds in both parts, with weights rounded alone and with "
    "activations too; partly if in one of them, or if learned scales have the fewest wrong of the "
    "three in every seed and both parts; else not",
}


class Result(Record):
    """The record of a run as a table, means over seeds, with the verdict of its rules."""

    def errors(self, part: str, arm: str | None = None) -> list[float]:
        """Test error in %, one per seed: of an arm in a part, or of "floats" or "trained on"."""
        return [
            100 * (run[part] if arm is None else run[part][arm]) / run["images"]
            for run in self.runs
        ]

    def ordered(self, part: str) -> int:
        """In how many seeds learned is better than fixed, and fixed than following scales."""
        return sum(
            run[part]["learned"] < run[part]["fixed"] < run[part]["follows"] for run in self.runs
        )

    def best(self, part: str) -> int:
        """In how many seeds learned scales are better than both others."""
        return sum(
            run[part]["learned"] < min(run[part]["fixed"], run[part]["follows"])
            for run in self.runs
        )

    def tables(self) -> list[Rows]:
        bits = self.record["recipe"]["bits"]
        return [
            [
                ("test error, %", *(f"{part} in {bits} bits" for part in PARTS)),
                ("floats", *[spread(self.errors("floats"))] * len(PARTS)),
                ("floats trained on", *[spread(self.errors("trained on"))] * len(PARTS)),
                *(
                    (name, *(spread(self.errors(part, arm)) for part in PARTS))
                    for arm, name in NAMES.items()
                ),
            ]
        ]

    @property
    def verdict(self) -> str:
        """Whether learned scales beat fixed ones, and these following ones, by the rules."""
        seeds = len(self.runs)
        holds = [self.ordered(part) == seeds for part in PARTS]
        best = all(self.best(part) == seeds for part in PARTS)
        word = "not reproduced"
        if all(holds):
            word = "reproduced"
        elif any(holds) or best:
            word = "partly reproduced"
        told = "; ".join(
            f"with {part} in {self.record['recipe']['bits']} bits the ordering holds in "
            f"{self.ordered(part)} of {seeds} seeds, and learned scales are best in "
            f"{self.best(part)}"
            for part in PARTS
        )
        return (
            f"scales that are learned beat fixed ones, and these beat scales that follow the "
            f"largest magnitude (Esser et al. 2020): {word}; {told}."
        )
