"""The record of lottery tickets as tables over seeds, and what three claims come to."""

from collections.abc import Callable

from shrink.chapters.tickets import rounds
from shrink.papers.tables import Difference, Record, Rows, interval, paired, spread

ARMS = rounds.ARMS[:3]
TICKET, ANEW, RANDOM = ARMS
EARLY, LAST = 7, 15  # rounds: 21 % and 3.6 % of the weights are left
RULES = {
    "words": (
        "stopped means at the step of the least validation loss, the first if there are several; "
        "the test error there counts, and the one at the end is told beside it"
    ),
    "a": (
        "the ticket errs on fewer test images, stopped, than the same masks with new initial "
        "values, seed by seed after rounds 7 (21 % left) and 15 (3.6 %): reproduced if in all "
        "seeds at both, partly if in all seeds at one, else not"
    ),
    "b": (
        "the step at which the ticket of round 7 stops minus that of the dense network, paired "
        "over seeds: reproduced if the 95 % interval lies below 0, not if it lies above, else "
        "unclear"
    ),
    "c": (
        "the accuracy of the ticket of round 15 minus the dense network's, both stopped, in points "
        "and paired over seeds: reproduced if the 95 % interval begins above -margin, not if it "
        "ends below, else unclear"
    ),
}
WHEN = ("stopped", "end")


class Result(Record):
    """The record of a run as tables over seeds, and what the three claims come to."""

    def errors(self, arm: str, number: int, when: str = "stopped") -> list[float]:
        """Test error in %, one per seed, at the step of the least validation loss or at the end."""
        return [
            100 * run[arm][str(number)]["errors"][when] / run["images"]["test"] for run in self.runs
        ]

    def steps(self, arm: str, number: int) -> list[int]:
        """The step of the least validation loss, one per seed."""
        return [run[arm][str(number)]["stopped"] for run in self.runs]

    def curves(self, arm: str, number: int) -> list[dict[str, list]]:
        """One per seed: after each `step`, validation `loss` and `accuracy` in %."""
        return [
            {
                "step": found["step"],
                "loss": found["loss"],
                "accuracy": [100 * n / run["images"]["validation"] for n in found["right"]],
            }
            for run in self.runs
            for found in [run[arm][str(number)]["curve"]]
        ]

    def kept(self, number: int) -> float:
        """Of all weights, the fraction that is left after a round."""
        return self.runs[0]["kept"][number]

    def fewer_errors(self, number: int, when: str = "stopped") -> int:
        """In how many seeds the ticket errs on fewer test images than with new initial values."""
        pairs = zip(self.errors(TICKET, number, when), self.errors(ANEW, number, when), strict=True)
        return sum(ticket < anew for ticket, anew in pairs)

    def earlier(self) -> Difference:
        """At 21 % the steps until the ticket stops, minus those of the dense network."""
        return paired(self.steps(TICKET, EARLY), self.steps(TICKET, 0))

    def lasting(self, when: str = "stopped") -> Difference:
        """At 3.6 % the ticket's accuracy minus the dense network's, in points."""
        return paired(self.errors(TICKET, 0, when), self.errors(TICKET, LAST, when))

    def tables(self) -> list[Rows]:
        return [
            self._table("test error when stopped, %", lambda a, n: spread(self.errors(a, n))),
            self._table("test error at the end, %", lambda a, n: spread(self.errors(a, n, "end"))),
            self._table("stopped at step", self._steps),
            self._all_rounds(),
        ]

    @property
    def _controlled(self) -> list[int]:
        return self.record["recipe"]["controlled"]

    def _table(self, head: str, cell: Callable[[str, int], str]) -> Rows:
        shares = (f"{100 * self.kept(n):.1f} % left" for n in self._controlled)
        rows = [(head, "dense", *shares)]
        for arm in ARMS:
            dense = cell(arm, 0) if arm == TICKET else ""
            rows.append((arm, dense, *(cell(arm, n) for n in self._controlled)))
        return rows

    def _steps(self, arm: str, number: int) -> str:
        found = self.steps(arm, number)
        return spread(found, ",.0f")

    def _all_rounds(self) -> Rows:
        rows = [("ticket of round", "left, %", "test error when stopped, %", "stopped at step")]
        for number in range(self.record["recipe"]["rounds"] + 1):
            rows.append(
                (
                    str(number),
                    f"{100 * self.kept(number):.1f}",
                    spread(self.errors(TICKET, number)),
                    self._steps(TICKET, number),
                )
            )
        return rows

    @property
    def verdict(self) -> str:
        """Whether the three claims hold here, by the rules of the recipe."""
        margin, of = self.record["recipe"]["margin"], len(self.runs)
        early, last = self.fewer_errors(EARLY), self.fewer_errors(LAST)
        at_end = self.fewer_errors(EARLY, "end"), self.fewer_errors(LAST, "end")
        steps, points = self.earlier(), self.lasting()
        return (
            f"(a) A ticket errs less than the same masks with new initial values: "
            f"{verdict_of_all(early == of, last == of)}, in {early} of {of} seeds at 21 % of the "
            f"weights and in {last} at 3.6 % (at the end of training: {at_end[0]} and "
            f"{at_end[1]}). (b) At 21 % its least validation loss comes earlier than the dense "
            f"network's: {verdict_of(below(steps, 0), above(steps, 0))}, a difference of "
            f"{interval(*steps, form='+,.0f')} steps. (c) At 3.6 % it is within {margin:g} points "
            f"of the dense network's accuracy: "
            f"{verdict_of(above(points, -margin), below(points, -margin))}, a difference of "
            f"{interval(*points)} points (at the end: {interval(*self.lasting('end'))}). "
            f"Intervals are 95 % over {of} seeds; unless said otherwise, errors and accuracies are "
            f"those at the step of the least validation loss."
        )


def above(found: Difference, limit: float) -> bool:
    """Whether the whole interval is.

    >>> above((2.0, 1.0, 3.0), limit=0.5), above((2.0, 0.0, 4.0), limit=0.5)
    (True, False)
    """
    return found[1] > limit


def below(found: Difference, limit: float) -> bool:
    """Whether the whole interval is.

    >>> below((2.0, 1.0, 3.0), limit=3.5), below((2.0, 0.0, 4.0), limit=3.5)
    (True, False)
    """
    return found[2] < limit


def verdict_of(holds: bool, fails: bool) -> str:
    """Of a claim on an interval.

    >>> verdict_of(True, False), verdict_of(False, False)
    ('reproduced', 'unclear')
    """
    return "reproduced" if holds else "not reproduced" if fails else "unclear"


def verdict_of_all(*holds: bool) -> str:
    """Of a claim in several parts.

    >>> verdict_of_all(True, True), verdict_of_all(True, False), verdict_of_all(False, False)
    ('reproduced', 'partly reproduced', 'not reproduced')
    """
    if all(holds):
        return "reproduced"
    return "partly reproduced" if any(holds) else "not reproduced"
