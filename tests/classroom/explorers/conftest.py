"""What the tests of the explorers' frame share."""

from tests.chapters.conftest import nothing_beforehand  # noqa: F401  (a fixture of every test)
