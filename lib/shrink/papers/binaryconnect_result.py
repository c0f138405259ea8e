"""The record of binary weights beside floats as tables over seeds, and what the claim comes to."""

import statistics

from shrink.papers.tables import Difference, Record, Rows, interval, paired, spread

ARMS = FLOAT, BINARY = "float", "binary"
WEIGHTS = {FLOAT: "floats", BINARY: "signs of latent floats"}
RULES = (
    "the test error at the end of training, in %, means over seeds: reproduced if that of the "
    "binary network is at most margin points above that of its own float control, and at most "
    "limit; partly if only the first holds; else not"
)


class Result(Record):
    """The record of a run as a table, and what the paper's claim comes to."""

    def errors(self, arm: str, what: str = "errors") -> list[float]:
        """Test error in %, one per seed; `what` is "other" with the other kind of weights."""
        return [100 * run[arm][what] / run["images"] for run in self.runs]

    def turned(self, arm: str) -> list[float]:
        """The percentage of weights whose sign is not the initial one, one per seed."""
        return [100 * run[arm]["turned"] for run in self.runs]

    def difference(self) -> Difference:
        """What the binary network errs more than its float control, in points."""
        return paired(self.errors(BINARY), self.errors(FLOAT))

    def tables(self) -> list[Rows]:
        rows = [("trained with", "test error with floats, %", "with signs, %", "signs turned, %")]
        for arm in ARMS:
            own, other = (spread(self.errors(arm, what)) for what in ("errors", "other"))
            both = (own, other) if arm == FLOAT else (other, own)
            rows.append((WEIGHTS[arm], *both, spread(self.turned(arm), ".1f")))
        return [rows]

    @property
    def verdict(self) -> str:
        """Whether the claim holds here, by the rules of the recipe."""
        recipe, found = self.record["recipe"], self.difference()
        error = statistics.mean(self.errors(BINARY))
        # rounded, as 0.85 - 0.70 is above 0.15
        near, low = round(found[0], 9) <= recipe["margin"], round(error, 9) <= recipe["limit"]
        word = "reproduced" if near and low else "partly reproduced" if near else "not reproduced"
        return (
            f"A network with binary weights errs as little as its float control (Courbariaux et "
            f"al. 2015): {word}. Its test error minus the control's is {interval(*found)} points "
            f"(95 % interval over {len(self.runs)} seeds), at most {recipe['margin']:g} by the "
            f"rule; it is {error:.2f} %, at most {recipe['limit']:g} by the rule."
        )
