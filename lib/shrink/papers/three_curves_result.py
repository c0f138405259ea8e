"""The record of the three curves as tables, and what their order comes to."""

from shrink.papers.tables import Record, Rows, spread

PARTS = ("one scale per layer", "one scale per channel")
ARMS = ("single", "mixed", "single, rounding learned", "mixed, rounding learned")
CURVES = ("single", "mixed", "mixed, rounding learned")  # from the worst to the best
CONTROL = "single, rounding learned"
RULES = {
    "ordering": "at a budget it holds in a seed if with one scale per layer more test images are "
    "wrong with one width for all than with mixed ones, and with these more than with mixed widths "
    "and learned rounding; equal counts are not more",
    "curves": "reproduced if at each budget the ordering holds in at least two of three seeds; "
    "partly if at one budget at least; else not",
}


class Result(Record):
    """The record of a run as tables, means over seeds, with the verdict of its rules."""

    def errors(self, part: str | None = None, arm: str = "", bits: int = 0) -> list[float]:
        """Test error in %, one per seed: of the floats, or of an arm of a part at a budget."""
        return [
            100
            * (run["floats"] if part is None else run[part][arm][str(bits)]["wrong"])
            / run["images"]
            for run in self.runs
        ]

    @property
    def budgets(self) -> list[int]:
        """In bits per weight."""
        return self.record["recipe"]["budgets"]

    def ordered(self, bits: int, part: str = PARTS[0]) -> int:
        """In how many seeds the three curves are in order at a budget."""
        return sum(
            a["wrong"] > b["wrong"] > c["wrong"]
            for a, b, c in ([run[part][arm][str(bits)] for arm in CURVES] for run in self.runs)
        )

    def tables(self) -> list[Rows]:
        return [self._errors_of(part) for part in PARTS] + [self._bits()]

    def _errors_of(self, part: str) -> Rows:
        floats = spread(self.errors())
        return [
            (f"test error, %, {part}", *(f"{b} bits" for b in self.budgets)),
            ("floats", *[floats] * len(self.budgets)),
            *((arm, *(spread(self.errors(part, arm, b)) for b in self.budgets)) for arm in ARMS),
        ]

    def _bits(self) -> Rows:
        """Of the first seed, the bits that mixed networks have with one scale per layer."""
        run, (seed, *_) = self.runs[0], self.record["seeds"]
        rows = [
            (arm, b, run[PARTS[0]][arm][str(b)]["bits"])
            for arm in ARMS
            if arm.startswith("mixed")
            for b in self.budgets
        ]
        return [
            (f"bits of each layer, seed {seed}", "budget", *run["layers"]),
            *((arm, str(b), *map(str, bits)) for arm, b, bits in rows),
        ]

    @property
    def verdict(self) -> str:
        """Whether the three curves lie in their order, by the rules."""
        seeds = len(self.runs)
        holds = {b: self.ordered(b) for b in self.budgets}
        enough = [3 * count >= 2 * seeds for count in holds.values()]
        word = (
            "reproduced"
            if all(enough)
            else "partly reproduced"
            if any(enough)
            else "not reproduced"
        )
        told = ", ".join(f"at {b} bits in {count}" for b, count in holds.items())
        other = ", ".join(f"at {b} bits in {self.ordered(b, PARTS[1])}" for b in self.budgets)
        return (
            f"one width for all is worse than mixed widths, and these are worse than mixed widths "
            f"with learned rounding (the curves of the Model Compression Toolkit): {word}; of "
            f"{seeds} seeds the ordering holds {told}; with one scale per channel {other}."
        )
