"""The record of rounding one layer as tables, and what the paper's two claims come to."""

import statistics
from collections.abc import Callable

from shrink.papers.tables import Record, Rows, spread

LAYERS = (("separable", "stem"), ("separable", "depthwise1"), ("lenet-300-100", "fc3"))
NAMES = [f"{network}, {layer}" for network, layer in LAYERS]
WAYS = ("nearest", "AdaRound", "least output error")
RULES = {
    "AdaRound": "at 4 bits, reproduced if in each of the three layers and every seed AdaRound's "
    "test loss is below nearest's; partly if in every seed of at least one layer; else not",
    "random": "at 4 bits, of the 100 random roundings of each seed those are counted whose test "
    "loss is below nearest's; reproduced if in the separable network's first layer they are at "
    "least a third, mean over seeds, as the paper's 48 of 100 are; partly if they are in another "
    "of the layers; else not",
}


class Result(Record):
    """The record of a run as tables, means over seeds, with the verdicts of its rules."""

    def numbers(self, layer: str, bits: int, way: str, what: str = "loss") -> list[float]:
        """One per seed, of one of `NAMES` in one of `WAYS`; of "floats" with any bits."""
        found = [run[layer] for run in self.runs]
        return [(one if way == "floats" else one[str(bits)])[way][what] for one in found]

    def better(self, layer: str, bits: int, what: str = "loss") -> list[int]:
        """How many random roundings have less of it than nearest, one per seed."""
        found = (run[layer][str(bits)] for run in self.runs)
        return [sum(x < one["nearest"][what] for x in one["random"][what]) for one in found]

    def below(self, layer: str, bits: int) -> int:
        """In how many seeds AdaRound has less test loss than nearest."""
        pairs = zip(
            self.numbers(layer, bits, "AdaRound"), self.numbers(layer, bits, "nearest"), strict=True
        )
        return sum(learned < nearest for learned, nearest in pairs)

    def tables(self) -> list[Rows]:
        return [self._losses(), self._output_errors(), self._counts()]

    def _losses(self) -> Rows:
        columns = self._columns()
        return [
            ("test loss", *_heads(columns)),
            *(
                (way, *(spread(self.numbers(*column, way), ".4f") for column in columns))
                for way in ("floats", *WAYS)
            ),
            (
                "random, median",
                *(spread(self._random(*c, statistics.median), ".4f") for c in columns),
            ),
            ("random, best of 100", *(spread(self._random(*c, min), ".4f") for c in columns)),
        ]

    def _output_errors(self) -> Rows:
        """Over nearest's, seed by seed."""
        columns = self._columns()

        def ratios(layer: str, bits: int, way: str) -> list[float]:
            of_way, of_nearest = (
                self.numbers(layer, bits, one, "output error") for one in (way, "nearest")
            )
            return [a / b for a, b in zip(of_way, of_nearest, strict=True)]

        return [
            ("error of the outputs, nearest = 1", *_heads(columns)),
            *((way, *(spread(ratios(*column, way)) for column in columns)) for way in WAYS[1:]),
        ]

    def _counts(self) -> Rows:
        columns = self._columns()
        rows = {
            "test loss": "loss",
            "wrong test images": "wrong",
            "error of the outputs": "output error",
        }
        return [
            ("of 100 random roundings, with less than nearest", *_heads(columns)),
            *(
                (name, *(spread(self.better(*column, what), ".0f") for column in columns))
                for name, what in rows.items()
            ),
        ]

    def _columns(self) -> list[tuple[str, int]]:
        return [(layer, bits) for layer in NAMES for bits in self.record["recipe"]["bits"]]

    def _random(self, layer: str, bits: int, of: Callable[[list[float]], float]) -> list[float]:
        return [of(run[layer][str(bits)]["random"]["loss"]) for run in self.runs]

    @property
    def verdict(self) -> str:
        """Whether AdaRound beats nearest, and chance does about every other time, by the rules."""
        seeds, bits = len(self.runs), 4
        below = {layer: self.below(layer, bits) for layer in NAMES}
        full = [count == seeds for count in below.values()]
        learned = (
            "reproduced" if all(full) else "partly reproduced" if any(full) else "not reproduced"
        )
        shares = {layer: statistics.mean(self.better(layer, bits)) for layer in NAMES}
        enough = [3 * share >= 100 for share in shares.values()]
        chance = (
            "reproduced" if enough[0] else "partly reproduced" if any(enough) else "not reproduced"
        )
        told = ", ".join(f"{layer} in {count}" for layer, count in below.items())
        counts = ", ".join(f"{layer} {share:.0f}" for layer, share in shares.items())
        return (
            f"AdaRound is better than nearest in {bits} bits (Nagel et al. 2020): {learned}; of "
            f"{seeds} seeds it has less test loss in {told}. Of 100 random roundings about half "
            f"are better than nearest: {chance}; here {counts}, means over seeds."
        )


def _heads(columns: list[tuple[str, int]]) -> list[str]:
    return [f"{layer}, {bits} bits" for layer, bits in columns]
