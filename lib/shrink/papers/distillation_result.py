"""The record of the distillation experiments as tables, with a verdict on each claim."""

import statistics
from collections.abc import Sequence

from shrink.papers.tables import Record, Rows, interval, one_or_range, paired

PAPER = {  # test errors of Hinton et al. 2015, and how many of these are 3s
    "teacher": (67, None),
    "alone": (146, None),
    "distilled": (74, None),
    "as it is": (206, 133),
    "best": (109, 14),
}
SMALL = {
    "teacher": "teacher: 1200 units, dropout, shifts",
    "alone": "800 units, alone",
    "distilled": "800 units, distilled at T = 20",
    "alone, shifts": "800 units, alone, shifts",
}
MISSING = {
    "as it is": "distilled without any 3",
    "best": "its bias the best on validation images",
    "a tenth": "its bias such that a tenth are 3s, no label",
}
CAVEAT = "All seeds have the same teachers, whose own spread is not in these figures."
GUIDES = {"hint": "a hint besides", "distance": "distances besides"}


class Result(Record):
    """The record of a run: what each arm gets wrong of each seed, and what that says."""

    def of(self, *path: str) -> list[dict]:
        """What stands there in the record of each seed, as `of("small", "alone")`."""
        found = self.runs
        for name in path:
            found = [run[name] for run in found]
        return found

    def wrong(self, *path: str) -> list[int]:
        """How many test images an arm gets wrong, of each seed."""
        return [arm["test"] for arm in self.of(*path)]

    def errors(self, *path: str) -> list[float]:
        """The same in %."""
        return [100 * wrong / self.images for wrong in self.wrong(*path)]

    def chosen(self, *path: str) -> str:
        """Of the rates, or weights, that an arm was tried with: the best on validation images."""
        return min(self._tried(*path), key=self._tried(*path).__getitem__)

    def _validation(self, *path: str) -> int:
        """What the seeds together get wrong of the validation images, at the rate chosen."""
        return min(self._tried(*path).values())

    def _tried(self, *path: str) -> dict[str, int]:
        """Each rate, or weight → the validation images wrong, of all seeds together."""
        arms = self.of(*path)
        return {name: sum(arm[name]["validation"] for arm in arms) for name in arms[0]}

    def tuned(self, *path: str) -> list[float]:
        """The test error of an arm in %, of each seed, at what was chosen for it."""
        return self.errors(*path, self.chosen(*path))

    @property
    def images(self) -> int:
        return self.runs[0]["images"]["test"]

    @property
    def temperatures(self) -> list[str]:
        return [f"{t:g}" for t in self.record["recipe"]["temperatures"]]

    def tables(self) -> list[Rows]:
        return [self._small(), self._missing(), self._temperatures(), self._few(), self._others()]

    def _small(self) -> Rows:
        alone = self.wrong("small", "alone")
        rows = [("", f"wrong of {self.images:,}", "minus alone, 95 % interval", "paper")]
        for arm, name in SMALL.items():
            found = self.wrong("small", arm)
            # The teacher is one, so that an interval would be that of the students alone.
            own = arm not in ("alone", "teacher")
            against = interval(*paired(found, alone), "+z.0f") if own else ""
            rows.append((name, _spread(found, ".0f"), against, str(PAPER.get(arm, ("",))[0])))
        return rows

    def _missing(self) -> Rows:
        head = ("", f"wrong of {self.images:,}", "of these 3s", "bias", "paper", "of these 3s")
        rows = [head]
        for arm, name in MISSING.items():
            found = self.of("missing", arm)
            wrong, missed, bias = ([f[what] for f in found] for what in ("test", "missed", "bias"))
            paper = map(str, PAPER.get(arm, ("", "")))
            shift = "" if arm == "as it is" else one_or_range(bias, "+z.1f")
            rows.append((name, _spread(wrong, ".0f"), _spread(missed, ".0f"), shift, *paper))
        return rows

    def _temperatures(self) -> Rows:
        alone = self.tuned("temperatures", "alone")
        rows = [("30 units", "rate", "test error, %", "minus alone, 95 % interval")]
        for arm in ("alone", *self.temperatures):
            found = self.tuned("temperatures", arm)
            name, against = "alone", ""
            if arm != "alone":
                name, against = f"T = {arm}", interval(*paired(found, alone))
            rate = self.chosen("temperatures", arm)
            rows.append((name, f"{rate} times", _spread(found), against))
        return rows

    def _few(self) -> Rows:
        rows = [("30 units, learn from", "labels", "the teacher's answers", "difference")]
        for n in self.record["recipe"]["few"]:
            labels, answers = (self.errors("few", f"{arm}, {n}") for arm in ("labels", "answers"))
            against = interval(*paired(answers, labels), "+z.1f")
            rows.append((f"{n} images", _spread(labels, ".1f"), _spread(answers, ".1f"), against))
        labels = self.errors("temperatures", "alone", "1")  # the rate of all in this table
        answers = self.errors("few", "answers, all")
        against = interval(*paired(answers, labels))
        rows.append(("all images", _spread(labels), _spread(answers), against))
        return rows

    def _others(self) -> Rows:
        plain = self.errors("relatives", "plain")
        assistant = statistics.mean(self.errors("relatives", "the assistant itself"))
        units = self.record["recipe"]["assistant"]
        arms = {
            "one teacher": plain,
            "three teachers": self.errors("relatives", "ensemble"),
            f"an assistant, {units} units, {assistant:.2f} %": self.errors(
                "relatives", "assistant"
            ),
        }
        for way, name in GUIDES.items():
            weight = self.chosen("guides", way)
            arms[f"{name}, weight {weight}"] = self.errors("guides", way, weight)
        rows = [
            ("30 units, T = 4, rate 1 times", "test error, %", "minus one teacher, 95 % interval")
        ]
        for name, found in arms.items():
            against = "" if found is plain else interval(*paired(found, plain))
            rows.append((name, _spread(found), against))
        return rows

    @property
    def verdict(self) -> str:
        """What holds here of what the paper says, claim by claim."""
        claims = (self._gain(), self._restored(), self._warmth(), self._answers())
        return " ".join((*claims, CAVEAT))

    def _gain(self) -> str:
        """Soft targets take the small net most of the way to its teacher: half of it, clearly."""
        alone, taught = self.wrong("small", "alone"), self.wrong("small", "distilled")
        shifted = self.wrong("small", "alone, shifts")
        mean, low, high = paired(taught, alone)
        way = statistics.mean(alone) - statistics.mean(self.wrong("small", "teacher"))
        share = -mean / way if way > 0 else 0.0
        word = _word(high < 0 and share >= 0.5, high < 0 and share > 0)
        told = f"{share:.0%} of the way to the teacher" if way > 0 else "the teacher is no better"
        return (
            f"Distilled at T = 20 without a shifted image: {word}; "
            f"{interval(mean, low, high, '+z.0f')} errors, {told} (the paper's: 91%). Against the "
            f"same net alone with shifts: {interval(*paired(taught, shifted), '+z.0f')}."
        )

    def _restored(self) -> str:
        """The 3 that was never seen: nearly all are read with the bias, and fewer images wrong."""
        before, after = self.of("missing", "as it is"), self.of("missing", "best")
        right = 1 - max(arm["missed"] for arm in after) / self.runs[0]["images"]["missing"]
        gained = all(a["test"] < b["test"] for a, b in zip(after, before, strict=True))
        word = _word(gained and right >= 0.95, gained and right >= 0.8)
        return (
            f"A 3 that was never seen, with its bias: {word}; at least {right:.1%} of the 3s are "
            "right for each seed (the paper's: 98.6%)."
        )

    def _warmth(self) -> str:
        """2.5 to 4 suit 30 units better than lower and higher temperatures do.

        Which of the two stands for them is chosen on validation images.
        """
        inside = [t for t in self.temperatures if 2.5 <= float(t) <= 4]
        best = min(inside, key=lambda t: self._validation("temperatures", t))
        found = {t: self.tuned("temperatures", t) for t in self.temperatures}
        gaps = {t: paired(found[t], found[best]) for t in self.temperatures if t not in inside}
        clear = all(low > 0 for _, low, _ in gaps.values())
        word = _word(clear, all(mean > 0 for mean, _, _ in gaps.values()))
        shown = ", ".join(f"T = {t} {interval(*gap)}" for t, gap in gaps.items())
        return f"2.5 to 4 are best for 30 units: {word}; points more than T = {best}: {shown}."

    def _answers(self) -> str:
        """Soft targets on few images are worth more than labels on the same."""
        gaps = [
            paired(self.errors("few", f"answers, {n}"), self.errors("few", f"labels, {n}"))
            for n in self.record["recipe"]["few"]
        ]
        clear = all(high < 0 for _, _, high in gaps)
        word = _word(clear, all(mean < 0 for mean, _, _ in gaps))
        return (
            f"Of few images a teacher's answers teach more than labels: {word} (the paper shows "
            "it on speech)."
        )


def _word(clear: bool, partly: bool) -> str:
    return "reproduced" if clear else "partly reproduced" if partly else "not reproduced"


def _spread(found: Sequence[float], form: str = ".2f") -> str:
    """
    >>> _spread([1, 2.5, 2.5]), _spread([67, 67], ".0f")
    ('2.00 (1.00 to 2.50)', '67')
    """
    ends = one_or_range(found, form)
    return f"{statistics.mean(found):{form}} ({ends})" if " to " in ends else ends
