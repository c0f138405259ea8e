"""The record of the MetaPruning experiment as tables, with a verdict."""

import random
import statistics
from itertools import combinations

from scipy import stats

from shrink.papers.tables import Record, Rows, interval, one_or_range, paired
from shrink.pruning import perceptron_macs

RULE = (
    "Claim: the generator ranks structures. Its rank correlation with the validation loss of "
    "networks trained alone must exceed that of shared weights, and that of the MACs, by a paired "
    "95 % interval over seeds that lies above 0. Both: reproduced. One: partly. None: not."
)
RANKED = {
    "generator": "the generator",
    "shared": "one weight for all widths, cropped",
    "narrowest": "its narrowest layer: the wider, the better",
    "macs": "its MACs: the more, the better",
    "chance": "chance",
    "again": "another training of the same (the ceiling)",
}
WINNERS = {
    "generator": "evolution by the generator",
    "shared": "evolution by the shared weights",
    "even": "three layers of one width, no search",
}


class Result(Record):
    """The record of a run: how well each ranking agrees with networks trained alone."""

    def correlations(self, by: str, what: str = "loss") -> list[float]:
        """Spearman's rank correlation with "loss" or "errors" of networks trained alone, by seed.

        It is the mean over the trainings of a seed: what one training would be predicted by. 1 is
        the right order, 0 none.
        """
        return [
            self._correlation(seed, run, by, what) for seed, run in self.record["seeds"].items()
        ]

    def _correlation(self, seed: str, run: dict, by: str, what: str) -> float:
        alone = [training[what] for training in run["alone"]]
        if by == "again":
            pairs = list(combinations(alone, 2))
        else:
            pairs = [(self._ranking(seed, run, by, what), one) for one in alone]
        return statistics.mean(float(stats.spearmanr(*pair).statistic) for pair in pairs)

    def _ranking(self, seed: str, run: dict, by: str, what: str) -> list[float]:
        """A number for each structure: the lower, the better it is held to be."""
        structures = run["structures"]
        if by == "narrowest":
            return [-min(widths) for widths in structures]
        if by == "macs":
            inputs = self.record["recipe"]["inputs"]
            return [-perceptron_macs((inputs, *widths, 10)) for widths in structures]
        if by == "chance":
            rng = random.Random(f"chance {seed}")
            return [rng.random() for _ in structures]
        return run[by][what]

    def ranks(self, by: str) -> tuple[list[float], list[float]]:
        """Of each structure of each seed the rank in its seed, 1 the best: two lists.

        The first is by the loss of "generator", "shared" or "again", the second training; the other
        by that of the first training alone.
        """
        ranked, alone = [], []
        for run in self.runs:
            first, second, *_ = (training["loss"] for training in run["alone"])
            ranked += stats.rankdata(second if by == "again" else run[by]["loss"]).tolist()
            alone += stats.rankdata(first).tolist()
        return ranked, alone

    def better(self, than: str) -> tuple[float, float, float]:
        """What the generator's correlation with the loss has more: mean, 95 % interval."""
        return paired(self.correlations("generator"), self.correlations(than))

    def winner_errors(self, name: str) -> list[float]:
        """Test error in %, mean over trainings, by seed; of "random": of all structures drawn."""
        found = []
        for run in self.runs:
            own = run["alone"] if name == "random" else run["winners"][name]["alone"]
            wrong = [training["test"] for training in own]
            if name == "random":
                wrong = [statistics.mean(of_each) for of_each in wrong]
            found.append(100 * statistics.mean(wrong) / run["images"]["test"])
        return found

    def tables(self) -> list[Rows]:
        return [self._ranked(), self._won()]

    def _ranked(self) -> Rows:
        rows = [
            (
                "a structure is ranked by",
                "correlation with its loss",
                "generator minus it, 95 % interval",
                "correlation with its errors",
            )
        ]
        for by, name in RANKED.items():
            against = "" if by == "generator" else interval(*self.better(by))
            loss, errors = (_spread(self.correlations(by, what)) for what in ("loss", "errors"))
            rows.append((name, loss, against, errors))
        return rows

    def _won(self) -> Rows:
        drawn = self.winner_errors("random")
        rows = [
            (
                f"about {self.record['recipe']['macs']} MACs",
                "widths",
                "test error, %",
                "minus random, 95 % interval",
            ),
            ("random", "", _spread(drawn), ""),
        ]
        for name, text in WINNERS.items():
            widths = dict.fromkeys(
                "-".join(map(str, run["winners"][name]["widths"])) for run in self.runs
            )
            errors = self.winner_errors(name)
            against = interval(*paired(errors, drawn))
            rows.append((text, ", ".join(widths), _spread(errors), against))
        return rows

    @property
    def verdict(self) -> str:
        """Whether the generator ranks structures better than the controls, by `RULE`."""
        against = {by: self.better(by) for by in ("shared", "macs")}
        above = sum(low > 0 for _, low, _ in against.values())
        word = ("not reproduced", "partly reproduced", "reproduced")[above]
        own, most = (statistics.mean(self.correlations(by)) for by in ("generator", "again"))
        gain = interval(*paired(self.winner_errors("generator"), self.winner_errors("random")))
        return (
            f"{word}. Over {len(self.runs)} seeds the generator's ranking has a correlation of "
            f"{own:.2f} with the loss of networks trained alone, where another training of these "
            f"has {most:.2f}. Minus that of shared weights: {interval(*against['shared'])}; minus "
            f"that of the MACs: {interval(*against['macs'])}. For the claim both intervals must lie"
            f" above 0. Evolution's choice minus random structures: {gain} points of test error."
        )


def _spread(found: list[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(found):.2f} ({one_or_range(found, 'z.2f')})"
