"""The record of the structured pruning as tables, with a verdict on each of the two claims."""

from shrink.papers.tables import Record, Rows, interval, one_or_range, paired, spread

WAYS = {
    "smallest": "smallest half removed",
    "random": "random half removed",
    "largest": "largest half removed",
}
STATES = {
    "removed": "right after the removal",
    "norms": "batch norm computed anew",
    "tuned": "fine-tuned",
}
ARMS = {
    "dense": "dense",
    "longer": "dense, the same extra epochs",
    **{f"{way}, tuned": f"{name}, fine-tuned" for way, name in WAYS.items()},
    "scratch": "small, from scratch, as many epochs",
}


class Result(Record):
    """The record of a run as tables, means over seeds, and what the two papers' claims come to."""

    def of(self, arm: str, what: str) -> list[int]:
        """That figure of every seed."""
        return [run[arm][what] for run in self.runs]

    def errors(self, arm: str) -> list[float]:
        """Test error in %, one a seed."""
        pairs = zip(self.of(arm, "errors"), self.of(arm, "images"), strict=True)
        return [100 * errors / images for errors, images in pairs]

    def difference(self, arm: str, other: str) -> tuple[float, float, float]:
        """Points of test error that `arm` has more than `other`: mean over seeds, 95 % interval."""
        return paired(self.errors(arm), self.errors(other))

    def tables(self) -> list[Rows]:
        return [self._trained(), self._removed()]

    def _trained(self) -> Rows:
        ours = "smallest, tuned"
        against = "minus smallest removed, 95 % interval"
        rows = [("", "parameters", "MACs", "epochs", "test error, %", against)]
        for arm, name in ARMS.items():
            sizes = (
                one_or_range(self.of(arm, what), ",") for what in ("parameters", "macs", "epochs")
            )
            against = "" if arm == ours else interval(*self.difference(arm, ours))
            rows.append((name, *sizes, spread(self.errors(arm)), against))
        return rows

    def _removed(self) -> Rows:
        rows = [("test error, %", *STATES.values())]
        for way, name in WAYS.items():
            rows.append((name, *(spread(self.errors(f"{way}, {state}")) for state in STATES)))
        against = (interval(*self._smallest_wins(state)) for state in STATES)
        return [*rows, ("smallest minus random, 95 % interval", *against)]

    def _smallest_wins(self, state: str) -> tuple[float, float, float]:
        return self.difference(f"smallest, {state}", f"random, {state}")

    @property
    def verdict(self) -> str:
        """Whether the two claims hold here, by the rules of the recipe."""
        return f"{self._scratch()} {self._smallest()}"

    def _scratch(self) -> str:
        """Liu et al. 2019: from scratch a small network is no worse than pruned and tuned."""
        margin = self.record["recipe"]["margin"]
        scratch = self.difference("scratch", "smallest, tuned")
        return (
            f"From scratch is no worse (Liu et al. 2019): {_word(scratch, margin)}. From scratch "
            f"minus pruned and fine-tuned: {interval(*scratch)} points of test error at equal "
            f"epochs, over {len(self.runs)} seeds; no worse means that the interval ends below "
            f"{margin:+.2f}."
        )

    def _smallest(self) -> str:
        """Li et al. 2017: to remove the smallest units is better than to remove random ones."""
        tuned, removed = (self._smallest_wins(state) for state in ("tuned", "removed"))
        return (
            f"The smallest are the ones to remove (Li et al. 2017): {_word(tuned, 0)}. Smallest "
            f"minus random removed: {interval(*tuned)} points of test error fine-tuned, "
            f"{interval(*removed)} right after the removal."
        )


def _word(found: tuple[float, float, float], limit: float) -> str:
    """What a difference, its mean and interval, says of the claim that it is below the limit.

    >>> _word((-0.3, -0.5, -0.1), 0), _word((-0.3, -0.7, 0.1), 0), _word((0.1, -0.2, 0.4), 0)
    ('reproduced', 'partly reproduced: the seeds spread too much to tell', 'not reproduced')
    """
    mean, _, high = found
    if high < limit:
        return "reproduced"
    return (
        "partly reproduced: the seeds spread too much to tell" if mean < limit else "not reproduced"
    )
