"""The record of Optimal Brain Damage as tables, with a verdict on its order and its prediction."""

import math
import statistics
from collections.abc import Callable

from shrink.papers.tables import Record, Rows, one_or_range

ORDERS = {
    "OBD": "OBD",
    "magnitude": "magnitude",
    "gradient": "gradient times weight",
    "random": "random",
}
PARTS = {
    "gradient": "first order",
    "diagonal": "predicted: the diagonal",
    "mixed": "the rest of second order",
    "beyond": "beyond second order",
}
SHOWN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
AHEAD = (0.3, 0.4, 0.5, 0.6)  # where OBD's order is to be better
CLAIMED = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # where the prediction is to hold


class Result(Record):
    """The record of a run as tables, means over seeds, and what the two claims come to."""

    @property
    def fractions(self) -> list[float]:
        return self.record["recipe"]["fractions"]

    def at(self, share: float, what: Callable[[dict], list[float]]) -> list[float]:
        """Of each seed what it has at this share deleted."""
        place = self.fractions.index(share)
        return [what(run)[place] for run in self.runs]

    def rise(self, by: str, share: float) -> list[float]:
        """The rise of the training loss in this order, one a seed."""
        return self.at(share, lambda run: run["curves"][by]["rise"])

    def part(self, name: str, share: float, net: str = "out") -> list[float]:
        """A part of the rise in OBD's order, or the `rise`; of the net trained "out" or "less"."""

        def of(run: dict) -> list[float]:
            return (run["less"] if net == "less" else run["curves"]["OBD"])[name]

        return self.at(share, of)

    def errors(self, by: str, share: float) -> list[float]:
        """Test error in %, right after the deletion."""
        found = self.at(share, lambda run: run["curves"][by]["errors"])
        return [100 * n / run["images"] for n, run in zip(found, self.runs, strict=True)]

    def retrained(self, by: str, share: float) -> list[float]:
        """Test error in %, after retraining."""
        place = self.record["recipe"]["retrained"].index(share)
        return [100 * run["retrained"][by][place] / run["images"] for run in self.runs]

    def factor(self, share: float, net: str = "out") -> float:
        """The mean of the actual rises over that of the predicted ones; 1 where both are 0."""
        actual, predicted = (
            statistics.mean(self.part(name, share, net)) for name in ("rise", "diagonal")
        )
        if not predicted:
            return 1.0 if actual == predicted else math.inf
        return actual / predicted

    def holds(self, net: str = "out") -> list[float]:
        """The shares at which actual and predicted rise differ by at most a factor of two."""
        return [share for share in self.fractions if 0.5 <= self.factor(share, net) <= 2]

    def tables(self) -> list[Rows]:
        return [self._rises(), self._parts(), self._ranks(), self._errors()]

    def _rises(self) -> Rows:
        rows = [("rise of the training loss", *(f"{share:.0%}" for share in SHOWN))]
        for by, name in ORDERS.items():
            rows.append((name, *(_mean(self.rise(by, share)) for share in SHOWN)))
        return rows

    def _parts(self) -> Rows:
        rows = [("in OBD's order", *(f"{share:.0%}" for share in SHOWN))]
        for name, text in PARTS.items():
            rows.append((text, *(_mean(self.part(name, share)) for share in SHOWN)))
        for net, text in (("out", "actual over predicted"), ("less", "the same after one epoch")):
            rows.append((text, *(f"{self.factor(share, net):.1f}" for share in SHOWN)))
        return rows

    def _ranks(self) -> Rows:
        rows = [("score of a weight", "rank correlation with its true rise")]
        for name in self.runs[0]["ranks"]:
            found = [run["ranks"][name] for run in self.runs]
            mean = f"{statistics.mean(found):.3f}"
            text = ORDERS.get(name, name)
            rows.append((text, f"{mean} ({one_or_range(found, '.3f')})"))
        return rows

    def _errors(self) -> Rows:
        again = self.record["recipe"]["retrained"]
        rows = [("test error, %", *(f"{share:.0%}" for share in again))]
        for by in ("OBD", "magnitude"):
            rows.append((ORDERS[by], *(_percent(self.errors(by, share)) for share in again)))
            retrained = (_percent(self.retrained(by, share)) for share in again)
            rows.append((f"{ORDERS[by]}, retrained", *retrained))
        return rows

    @property
    def verdict(self) -> str:
        """Whether the two claims hold here, by the rules of the recipe."""
        return f"{self._order()} {self._prediction()}"

    def _order(self) -> str:
        pairs = {share: (self.rise("OBD", share), self.rise("magnitude", share)) for share in AHEAD}
        in_all = all(
            a < b for obd, other in pairs.values() for a, b in zip(obd, other, strict=True)
        )
        in_mean = all(
            statistics.mean(obd) < statistics.mean(other) for obd, other in pairs.values()
        )
        word = "reproduced" if in_all else "partly reproduced" if in_mean else "not reproduced"
        told = ", ".join(
            f"{_mean(obd)} against {_mean(other)} at {share:.0%}"
            for share, (obd, other) in pairs.items()
        )
        return (
            f"OBD's order raises the training loss less than magnitude's: {word}. Mean over "
            f"{len(self.runs)} seeds: {told}."
        )

    def _prediction(self) -> str:
        factors = [self.factor(share) for share in CLAIMED]
        close = all(
            abs(actual - predicted) <= 0.1 * (run["loss"] + actual)
            for share in CLAIMED
            for run, actual, predicted in zip(
                self.runs, self.part("rise", share), self.part("diagonal", share), strict=True
            )
        )
        rises = all(0.5 <= factor <= 2 for factor in factors)
        word = "reproduced" if rises else "partly reproduced" if close else "not reproduced"
        where = ", ".join(f"{share:.0%}" for share in self.holds()) or "no share"
        return (
            f"The prediction holds to about 30 % of the weights: {word}. The actual rise is "
            f"{self.factor(CLAIMED[-1]):.1f} times the predicted one at 30 %; within a factor of "
            f"two it is at {where}. The loss itself is {'' if close else 'not '}predicted to 10 % "
            "up to 30 % in every seed."
        )


def _mean(found: list[float]) -> str:
    """
    >>> _mean([0.00121, 0.00125]), _mean([1.5, 1.7])
    ('0.0012', '1.6')
    """
    return f"{statistics.mean(found):.2g}"


def _percent(found: list[float]) -> str:
    """
    >>> _percent([1.0, 2.0])
    '1.50'
    """
    return f"{statistics.mean(found):.2f}"
