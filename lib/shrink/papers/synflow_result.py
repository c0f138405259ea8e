"""The record of pruning before training as tables, with the verdict on SynFlow's claim."""

from shrink.papers.tables import Record, Rows, one_or_range

OURS, STEPS = "SynFlow, in steps", "SNIP, in steps"
RULES = {
    "Tanaka et al. 2020": (
        "reproduced if on every network and seed SynFlow in steps prunes to one weight in each "
        "layer before one is empty, so that its critical compression is N/L, and that of every "
        "method in one shot lies below; partly if none of these lies above SynFlow's anywhere; "
        "else not reproduced"
    ),
    "the steps alone": (
        "that they are not enough holds if SNIP in as many steps lies below N/L on every network "
        "and seed, holds partly if on some, else does not hold"
    ),
}


class Result(Record):
    """The record of a run: critical compressions, what is left at some, and the verdict."""

    @property
    def networks(self) -> list[str]:
        return list(self.runs[0])

    @property
    def methods(self) -> list[str]:
        return list(self.runs[0][self.networks[0]]["methods"])

    def critical(self, network: str, method: str) -> list[float]:
        """All weights over the fewest that leave no layer empty, one a seed."""
        return [
            run[network]["weights"] / run[network]["methods"][method]["left"] for run in self.runs
        ]

    def highest(self, network: str) -> float:
        """N/L: one weight in each layer."""
        of = self.runs[0][network]
        return of["weights"] / of["layers"]

    def tables(self) -> list[Rows]:
        compressions = self.record["recipe"]["compressions"]
        return [self._critical(), *(self._at(str(compression)) for compression in compressions)]

    def _critical(self) -> Rows:
        rows = [("critical compression", *self.networks)]
        for method in self.methods:
            found = (one_or_range(self.critical(n, method), ",.0f") for n in self.networks)
            rows.append((method, *found))
        bound = (f"{self.highest(network):,.0f}" for network in self.networks)
        return [*rows, ("N/L, one weight per layer", *bound)]

    def _at(self, compression: str) -> Rows:
        """Of each network with a weight for each layer then: empty layers; paths that are left."""
        networks = [
            n for n in self.networks if compression in self.runs[0][n]["methods"][OURS]["at"]
        ]
        rows = [(f"at {compression}x: empty layers; paths", *networks)]
        for method in self.methods:
            cells = []
            for network in networks:
                at = [run[network]["methods"][method]["at"][compression] for run in self.runs]
                empty = one_or_range(found["empty"] for found in at)
                counts = [found["paths"] for found in at]
                paths = " to ".join(dict.fromkeys(map(_short, (min(counts), max(counts)))))
                cells.append(f"{empty}; {paths}")
            rows.append((method, *cells))
        return rows

    @property
    def verdict(self) -> str:
        """Whether the two claims hold here, by the rules of the recipe."""
        return f"{self._reaches()} {self._steps_alone()}"

    def _reaches(self) -> str:
        """Tanaka et al. 2020: SynFlow prunes as far as is possible, methods in one shot do not."""
        one_shot = [method for method in self.methods if method not in (OURS, STEPS)]
        short, equal, higher, ratios = [], [], [], []
        for network in self.networks:
            ours = self.critical(network, OURS)
            short += [network] if min(ours) < self.highest(network) else []
            for method in one_shot:
                theirs = self.critical(network, method)
                pairs = list(zip(ours, theirs, strict=True))
                equal += [f"{method} on {network}"] if any(a == b for a, b in pairs) else []
                higher += [f"{method} on {network}"] if any(a < b for a, b in pairs) else []
            best = map(max, zip(*(self.critical(network, m) for m in one_shot), strict=True))
            ratios += [a / b for a, b in zip(ours, best, strict=True)]
        where = [
            f"it falls short on {', '.join(short)}" if short else "",
            f"as far goes {', '.join(equal)}" if equal else "",
            f"further goes {', '.join(higher)}" if higher else "",
        ]
        found = "; ".join(filter(None, where))
        word = "not reproduced" if higher else "partly reproduced" if found else "reproduced"
        return (
            "SynFlow prunes to one weight per layer before one is empty, and no method in one shot "
            f"does (Tanaka et al. 2020): {word}{f', as {found}' if found else ''}. On "
            f"{len(self.networks)} networks and {len(self.runs)} seeds SynFlow's critical "
            f"compression is {one_or_range(ratios, '.1f')} times the highest in one shot."
        )

    def _steps_alone(self) -> str:
        """Whether the steps do it, whatever the score."""
        ratios = {
            network: [found / self.highest(network) for found in self.critical(network, STEPS)]
            for network in self.networks
        }
        reached = [network for network, of_seeds in ratios.items() if max(of_seeds) == 1]
        below = any(ratio < 1 for of_seeds in ratios.values() for ratio in of_seeds)
        word = "holds" if not reached else "holds partly" if below else "does not hold"
        where = f", and reaches it on {', '.join(reached)}" if reached else ""
        found = one_or_range((ratio for of_seeds in ratios.values() for ratio in of_seeds), ".2f")
        return (
            f"The steps alone are not enough: {word}. SNIP in as many steps has {found} of "
            f"N/L{where}."
        )


def _short(paths: int) -> str:
    """
    >>> _short(1234), _short(1234567)
    ('1,234', '1.2e6')
    """
    return f"{paths:,}" if paths < 1e6 else f"{paths:.1e}".replace("e+0", "e").replace("e+", "e")
