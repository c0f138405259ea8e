"""The record of rounding one layer as tables, and what the paper's two claims come to."""

import statistics

from shrink.papers.tables import Record, Rows, spread

LAYERS = (("separable", "stem"), ("separable", "depthwise1"), ("lenet-300-100", "fc3"))
NAMES = [f"{network}, {layer}" for network, layer in LAYERS]
WAYS = ("nearest", "AdaRound", "least output error")
BITS = 4  # of the random roundings, and of both claims
COUNTED = {
    "test loss": "loss",
    "wrong test images": "wrong",
    "error of the outputs": "output error",
    "error of the weights": "weight error",
}
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

    def better(self, layer: str, what: str = "loss") -> list[int]:
        """How many random roundings to 4 bits have less of it than nearest, one per seed."""
        nearest = self.numbers(layer, BITS, WAYS[0], what)
        pairs = zip(self._random(layer, what), nearest, strict=True)
        return [sum(one < limit for one in found) for found, limit in pairs]

    def below(self, layer: str, bits: int = BITS) -> int:
        """In how many seeds AdaRound has less test loss than nearest."""
        nearest, learned = (self.numbers(layer, bits, way) for way in WAYS[:2])
        return sum(a < b for a, b in zip(learned, nearest, strict=True))

    def tables(self) -> list[Rows]:
        rows = [(layer, bits) for bits in self.record["recipe"]["bits"] for layer in NAMES]
        return [
            [
                ("test loss", "floats", *WAYS, "random, median", "random, best"),
                *((f"{layer}, {bits} bits", *self._losses(layer, bits)) for layer, bits in rows),
            ],
            [
                ("error of the outputs, nearest = 1", *WAYS[1:]),
                *((f"{layer}, {bits} bits", *self._ratios(layer, bits)) for layer, bits in rows),
            ],
            [
                ("random roundings with less than nearest", *COUNTED),
                *(
                    (
                        f"{layer}, {BITS} bits, of {len(self._random(layer)[0])}",
                        *(spread(self.better(layer, x), ".0f") for x in COUNTED.values()),
                    )
                    for layer in NAMES
                ),
            ],
        ]

    def _losses(self, layer: str, bits: int) -> list[str]:
        found = [self.numbers(layer, bits, way) for way in ("floats", *WAYS)]
        if bits == BITS:
            found += [[of(x) for x in self._random(layer)] for of in (statistics.median, min)]
        cells = [spread(losses, ".4f") for losses in found]
        return cells + [""] * (len(WAYS) + 3 - len(cells))

    def _ratios(self, layer: str, bits: int) -> list[str]:
        """Over nearest's, seed by seed."""
        nearest = self.numbers(layer, bits, WAYS[0], "output error")
        of_ways = [self.numbers(layer, bits, way, "output error") for way in WAYS[1:]]
        return [spread([a / b for a, b in zip(x, nearest, strict=True)]) for x in of_ways]

    def _random(self, layer: str, what: str = "loss") -> list[list[float]]:
        return [run[layer][str(BITS)]["random"][what] for run in self.runs]

    @property
    def verdict(self) -> str:
        """Whether AdaRound beats nearest, and chance does about every other time, by the rules."""
        seeds = len(self.runs)
        below = {layer: self.below(layer) for layer in NAMES}
        full = [count == seeds for count in below.values()]
        shares = {layer: statistics.mean(self.better(layer)) for layer in NAMES}
        enough = [share >= len(self._random(layer)[0]) / 3 for layer, share in shares.items()]
        learned = _word(all(full), any(full))
        chance = _word(enough[0], any(enough))
        told = ", ".join(f"{layer} in {count}" for layer, count in below.items())
        counts = ", ".join(f"{layer} {share:.0f}" for layer, share in shares.items())
        return (
            f"AdaRound is better than nearest in {BITS} bits (Nagel et al. 2020): {learned}; of "
            f"{seeds} seeds it has less test loss in {told}. Of 100 random roundings about half "
            f"are better than nearest: {chance}; here {counts}, means over seeds."
        )


def _word(holds: bool, partly: bool) -> str:
    return "reproduced" if holds else "partly reproduced" if partly else "not reproduced"
