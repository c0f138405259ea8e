"""Evolution among network structures: widths that mutate and cross, within a band of MACs."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from shrink.arguments import real_number, whole_number, whole_seed

Widths = tuple[int, ...]  # units of each hidden layer
TRIES = 100_000  # structures drawn at random before a band is held for empty


def perceptron_macs(sizes: Sequence[int]) -> int:
    """The multiply-accumulates of the linear layers of a perceptron, for one image.

    >>> perceptron_macs((4, 3, 2))  # 4 · 3 + 3 · 2
    18

    Args:
        sizes: inputs, units of each hidden layer, outputs.
    """
    return sum(before * after for before, after in pairwise(sizes))


@dataclass(frozen=True)
class SearchSpace:
    """The perceptrons to choose from: widths that each hidden layer may have, and a band of MACs.

    >>> space = SearchSpace(4, choices=[(1, 3), (2, 5)], outputs=2, least_macs=20, most_macs=32)
    >>> space.macs((3, 2)), (3, 2) in space, (3, 5) in space  # 4 · 3 + 3 · 2 + 2 · 2; 37 for (3, 5)
    (22, True, False)
    >>> space.largest
    (3, 5)

    Args:
        inputs, outputs: at least 1.
        choices: of each hidden layer the widths that it may have, at least 1 each.
        least_macs, most_macs: the band, ends included; without `most_macs` it has no upper end.

    Raises:
        TypeError: something is not whole.
        ValueError: there is no hidden layer, one has no choice or a width below 1, or no structure
            can have that few or that many MACs.
    """

    inputs: int
    choices: Sequence[Sequence[int]]
    outputs: int
    least_macs: int = 0
    most_macs: int | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        choices = tuple(
            tuple(whole_number("a width", width, 1) for width in layer) for layer in self.choices
        )
        if not choices or not all(choices):
            raise ValueError(f"each hidden layer needs a width to choose, not {self.choices!r}")
        object.__setattr__(self, "choices", choices)
        self._check_band()

    def _check_band(self) -> None:
        fewest, most = (self.macs([end(layer) for layer in self.choices]) for end in (min, max))
        least = whole_number("least_macs", self.least_macs, 0)
        top = most if self.most_macs is None else whole_number("most_macs", self.most_macs, 0)
        if not max(least, fewest) <= min(top, most):
            raise ValueError(
                f"the structures have {fewest} to {most} MACs, so none has {least} to {top}"
            )

    @property
    def largest(self) -> Widths:
        """The largest width of each hidden layer."""
        return tuple(max(layer) for layer in self.choices)

    def macs(self, widths: Sequence[int]) -> int:
        """The MACs of the perceptron with these hidden layers."""
        return perceptron_macs((self.inputs, *widths, self.outputs))

    def __contains__(self, widths: Sequence[int]) -> bool:
        """Whether each width is a choice, and the MACs lie in the band."""
        if len(widths) != len(self.choices):
            return False
        chosen = all(w in layer for w, layer in zip(widths, self.choices, strict=True))
        macs = self.macs(widths)
        most = macs if self.most_macs is None else self.most_macs
        return chosen and self.least_macs <= macs <= most

    def draw(self, rng: random.Random) -> Widths:
        """A structure of the space; all are equally likely.

        Raises `ValueError` when none of 100,000 structures drawn has MACs in the band.
        """
        for _ in range(TRIES):
            widths = tuple(rng.choice(layer) for layer in self.choices)
            if widths in self:
                return widths
        raise ValueError(
            f"of {TRIES:,} structures none has {self.least_macs} to {self.most_macs} MACs"
        )


def mutate(
    widths: Sequence[int], choices: Sequence[Sequence[int]], chance: float, rng: random.Random
) -> Widths:
    """The widths, each of them drawn anew from its choices with probability `chance`.

    >>> mutate((8, 8), [(8,), (16,)], chance=1, rng=random.Random(0))
    (8, 16)
    """
    return tuple(
        rng.choice(layer) if rng.random() < chance else width
        for width, layer in zip(widths, choices, strict=True)
    )


def crossover(first: Sequence[int], second: Sequence[int], from_first: Sequence[bool]) -> Widths:
    """A child of two structures: each width is that of the one or of the other.

    >>> crossover((1, 2, 3), (4, 5, 6), from_first=[True, False, True])
    (1, 5, 3)
    """
    genes = zip(first, second, from_first, strict=True)
    return tuple(a if own else b for a, b, own in genes)


def evolve(
    score: Callable[[Widths], float],
    space: SearchSpace,
    *,
    seed: int,
    population: int = 50,
    parents: int = 10,
    generations: int = 20,
    chance: float = 0.1,
    progress: Callable[[int, int], object] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[Widths, float]:
    """Look for the structure of the highest score: the best have children, again and again.

    The first generation is drawn at random. Each later one has mutations of the best so far,
    crossovers of two of them, and random structures in place of children that have been scored
    before or lie outside of the band. It is smaller, or empty, where little new is found.

    >>> space = SearchSpace(4, choices=[range(1, 9)] * 2, outputs=2, most_macs=60)
    >>> found = evolve(lambda widths: widths[0] * widths[1], space, seed=0)
    >>> max(found, key=found.get)  # 16 + 28 + 14 = 58 MACs; (5, 5) has 55, and (5, 6) too many
    (4, 7)

    Args:
        score: widths → a number, called once for each structure; the larger, the better.
        space: only its structures are scored.
        seed: of all that is drawn.
        population: structures in a generation.
        parents: how many of the best so far have children.
        generations: the first one included.
        chance: of each width of a mutation to be drawn anew.
        progress: called after each score with those done and those in all, as far as is known.
        stop: asked before each score; once it says True, what was found so far is returned.

    Returns:
        structure → score of all that were scored, in their order.

    Raises:
        TypeError: a number is not whole, or the chance or a score is no number.
        ValueError: a number is below 1, the chance is not 0 to 1, a score is NaN, or the band is
            empty.

    Source: Liu et al. 2019, "MetaPruning", section 3.2, algorithm 1; numbers as in its code.
    Differs: the paper has an upper end for MACs alone.
    """
    sizes = {"population": population, "parents": parents, "generations": generations}
    population, parents, generations = (whole_number(name, n, 1) for name, n in sizes.items())
    if not 0 <= real_number("chance", chance) <= 1:
        raise ValueError(f"chance must lie between 0 and 1, not {chance!r}")
    rng = random.Random(whole_seed(seed))
    found: dict[Widths, float] = {}
    for _ in range(generations):
        best = sorted(found, key=found.__getitem__, reverse=True)[:parents]
        for widths in _generation(best, space, found, population, chance, rng):
            if stop is not None and stop():
                return found
            found[widths] = _scored(score, widths)
            if progress is not None:
                progress(len(found), population * generations)
    return found


def _scored(score: Callable[[Widths], float], widths: Widths) -> float:
    value = float(real_number(f"the score of {widths}", score(widths)))
    if value != value:
        raise ValueError(f"the score of {widths} is NaN")
    return value


def _generation(
    best: Sequence[Widths],
    space: SearchSpace,
    known: dict[Widths, float],
    population: int,
    chance: float,
    rng: random.Random,
) -> list[Widths]:
    """New structures of the space: half mutations, half crossovers; random ones for the rest."""

    def mutation() -> Widths:
        return mutate(rng.choice(best), space.choices, chance, rng)

    def crossed() -> Widths:
        first, second = rng.sample(best, 2)
        return crossover(first, second, [rng.random() < 0.5 for _ in first])

    children: dict[Widths, None] = {}  # a set that keeps the order

    def fill(make: Callable[[], Widths], upto: int) -> None:
        for _ in range(10 * population):
            if len(children) >= upto:
                return
            widths = make()
            if widths in space and widths not in known:
                children[widths] = None

    if best:
        fill(mutation, population // 2)
    if len(best) > 1:
        fill(crossed, 2 * (population // 2))
    fill(partial(space.draw, rng), population)
    return list(children)
