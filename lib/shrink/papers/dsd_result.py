"""The record of dense-sparse-dense and its controls as tables, with a verdict by sparsity."""

from shrink.papers.tables import Difference, Record, Rows, interval, paired, spread

RULE = (
    "for each sparsity, the test error of dense-sparse-dense minus that of the same restarts never "
    "sparse, in points, paired over seeds: reproduced if its 95 % interval ends below 0, else not "
    "reproduced, and worse if it begins above 0; for the paper as a whole reproduced if it is at "
    "each sparsity, not if at none, else partly"
)
CONTROLS = {
    "dense": "the first dense training",
    "never sparse": "the same restarts, never sparse",
    "one schedule": "one schedule over all epochs",
}


class Result(Record):
    """The record of a run as tables, means over seeds, and what the paper's claim comes to."""

    @property
    def sparsities(self) -> list[float]:
        return self.record["recipe"]["sparsities"]

    @property
    def phases(self) -> list[str]:
        """The names of the phases, from the first to the last."""
        return list(self.record["recipe"]["phases"])

    def errors(self, arm: str, phase: str | None = None) -> list[float]:
        """Test error in %, one per seed: of an arm of the record, a sparsity as text or a control.

        After its last training, or after the phase of that name.
        """
        found = [run[arm] for run in self.runs]
        wrong = [one if isinstance(one, int) else one[phase or self.phases[-1]] for one in found]
        return [100 * n / run["images"] for n, run in zip(wrong, self.runs, strict=True)]

    def difference(self, sparsity: float, control: str) -> Difference:
        """What the test error of dense-sparse-dense is more than a control's; below 0 is a gain."""
        return paired(self.errors(str(sparsity)), self.errors(control))

    def tables(self) -> list[Rows]:
        return [self._errors(), self._differences()]

    def _errors(self) -> Rows:
        epochs = [phase["epochs"] for phase in self.record["recipe"]["phases"].values()]
        first, second, whole = epochs[0], sum(epochs[:2]), sum(epochs)
        dense, never, at_once = CONTROLS.values()
        rows = [
            ("test error, %", f"after {first} epochs", f"after {second}", f"after {whole}"),
            (dense, spread(self.errors("dense")), "", ""),
            *(
                (
                    f"dense-sparse-dense, {100 * sparsity:g} %",
                    "",
                    *(spread(self.errors(str(sparsity), phase)) for phase in self.phases[1:]),
                )
                for sparsity in self.sparsities
            ),
            (never, "", *(spread(self.errors("never sparse", p)) for p in self.phases[1:])),
            (at_once, "", "", spread(self.errors("one schedule"))),
        ]
        return rows

    def _differences(self) -> Rows:
        head = "dense-sparse-dense minus, points, 95 % interval"
        rows = [(head, *(f"{100 * sparsity:g} % sparse" for sparsity in self.sparsities))]
        for control, name in CONTROLS.items():
            found = (self.difference(sparsity, control) for sparsity in self.sparsities)
            rows.append((name, *(f"{interval(*one)}, {word(one)}" for one in found)))
        return rows

    @property
    def verdict(self) -> str:
        """Whether it beats the same restarts, by the rule of the recipe, and the other controls."""
        found = {s: self.difference(s, "never sparse") for s in self.sparsities}
        gains = [word(one) for one in found.values()].count("a gain")
        whole = {0: "not reproduced", len(found): "reproduced"}.get(gains, "partly reproduced")
        told = "; ".join(
            f"at {100 * sparsity:g} % {verdict_of(one)}, {interval(*one)}"
            for sparsity, one in found.items()
        )
        restarts = paired(self.errors("never sparse"), self.errors("dense"))
        at_once = [self.difference(sparsity, "one schedule") for sparsity in self.sparsities]
        said = ", ".join(interval(*one) for one in at_once)
        return (
            f"dense-sparse-dense beats as many epochs of dense training with the same restarts "
            f"(Han et al. 2017): {whole}. Its test error minus theirs, in points, 95 % interval "
            f"over {len(self.runs)} seeds: {told}. The restarts alone have {interval(*restarts)} "
            f"against the first dense training. Against one schedule over all epochs "
            f"dense-sparse-dense has {said}."
        )


def word(found: Difference) -> str:
    """What a difference of errors says.

    >>> [word((mean, mean - 0.1, mean + 0.1)) for mean in (-0.2, 0.05, 0.2)]
    ['a gain', 'no clear difference', 'a loss']
    """
    _, low, high = found
    if high < 0:
        return "a gain"
    return "a loss" if low > 0 else "no clear difference"


def verdict_of(found: Difference) -> str:
    """The verdict at a sparsity, by the rule of the recipe.

    >>> [verdict_of((mean, mean - 0.1, mean + 0.1)) for mean in (-0.2, 0.05, 0.2)]
    ['reproduced', 'not reproduced, no clear difference', 'not reproduced, worse']
    """
    return {
        "a gain": "reproduced",
        "no clear difference": "not reproduced, no clear difference",
        "a loss": "not reproduced, worse",
    }[word(found)]
