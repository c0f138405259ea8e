"""The extras of the package: what it needs beyond its core, for some commands."""

import importlib.util

from shrink.classroom import CourseError


def require(extra: str, *packages: str) -> None:
    """Raise `CourseError` unless the packages are installed; they come with the extra."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise CourseError(
                f'{package} is not installed here: run `pip install "shrink[{extra}]"`'
            )
