"""The tests mirror `lib/shrink`; those of a chapter are in `chapters/`, in its name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
