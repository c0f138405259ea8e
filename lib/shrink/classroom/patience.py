"""A pytest plugin: nbval waits a minute for what a cell printed; on a busy machine five seconds, its
own limit, are sometimes too few, and the cell fails though it ran.
"""

import pytest

SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.output_timeout = SECONDS
