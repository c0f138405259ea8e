"""A pytest plugin: nbval waits a minute for what a cell printed.

Its own limit is five seconds. On a busy machine that is too few, and a cell fails though it ran.
"""

import pytest

SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.output_timeout = SECONDS
