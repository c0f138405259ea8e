"""How deep the tests go: `make test` takes minutes, `make test-all` (pytest --deep) goes further.

Both run every test of what is taught, but those marked `deep` (a second data set, training at full
length), which only the deep run has. What differs otherwise is how many times a test asks:

    SEEDS = depth.seeds(30)                       # four of them, or all thirty

    @settings(max_examples=depth.examples(300))   # 30 of them, or all
    @given(...)

Both are read when a test module is imported. A property test without `settings` has the profile's
number of examples, and no test has a deadline: conftest loads the profile.
"""

DEEP = False  # conftest sets it to what --deep says, before any test module is imported


def seeds(number: int, few: int = 4) -> range:
    """The seeds from 0 on: `number` of them in the deep run, at most `few` in the other."""
    return range(number if DEEP else min(number, few))


def examples(number: int) -> int:
    """How many examples hypothesis draws: `number` in the deep run, a tenth (20 or more) else."""
    return number if DEEP else min(number, max(20, number // 10))
