"""The record of networks that trained for the length of their files, and which limits they keep."""

import statistics

from shrink.classroom import measure, models
from shrink.papers.stages import StagesRecord
from shrink.papers.tables import Rows, one_or_range


class Result(StagesRecord):
    """A table of files over seeds, beside the limits that were named before."""

    @property
    def plans(self) -> dict[str, dict]:
        return self.record["recipe"]["networks"]

    def coded(self, network: str) -> list[str]:
        return list(self.plans[network]["files"])

    def tables(self) -> list[Rows]:
        head = ("", "not 0", "file, bytes", "times smaller", "test error, %", "limit")
        return [[head, *(row for network in self.plans for row in self._rows(network))]]

    def _rows(self, network: str) -> Rows:
        plan = self.plans[network]
        *widths, last = map(str, plan["hidden"])
        names = {"start": f"floats, {', '.join(widths)} and {last} units"}
        names |= {file: f"coded, {file}" for file in plan["files"]}
        dense = measure.size(models.build(network, 0).state_dict())
        rows = []
        for stage, name in names.items():
            sizes, errors = self.each(network, stage, "file_bytes"), self.errors(network, stage)
            limit = plan["limits"].get(stage)
            rows.append(
                (
                    f"{network}, {name}",
                    one_or_range(map(_weights, self.each(network, stage, "kept"))),
                    one_or_range(sizes),
                    f"{statistics.mean(dense / size for size in sizes):,.0f}",
                    f"{statistics.mean(errors):.2f} ({one_or_range(errors, '.2f')})",
                    f"{limit[0]:,} bytes, {limit[1]:.2f} %" if limit else "",
                )
            )
        return rows

    @property
    def verdict(self) -> str:
        """Of each limit that the plan names: by how many seeds is it kept?"""
        kept = [
            self._verdict(network, file, *limit)
            for network, plan in self.plans.items()
            for file, limit in plan["limits"].items()
        ]
        return " ".join(
            [*kept, "All seeds have the same teachers, whose own spread is not in these figures."]
        )

    def _verdict(self, network: str, file: str, most: int, limit: float) -> str:
        sizes, errors = self.each(network, file, "file_bytes"), self.errors(network, file)
        kept = sum(s <= most and e <= limit for s, e in zip(sizes, errors, strict=True))
        mean = statistics.mean(errors)
        word = "kept by all" if kept == len(sizes) else f"kept by {kept} of"
        return (
            f"{network}, {most:,} bytes at {limit:.2f} %: {word} {len(sizes)} seeds; at most "
            f"{max(sizes):,} bytes and {max(errors):.2f} %, on average {mean:.2f} %."
        )


def _weights(kept: dict[str, list[int]]) -> int:
    return sum(count for count, _ in kept.values())
