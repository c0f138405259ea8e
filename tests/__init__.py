"""The tests mirror `lib/shrink`; those of a chapter are in `chapters/`, in its name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
START = "00_start"  # the page that comes first, and is no chapter
CHAPTERS = sorted({path.stem for path in ROOT.glob("course/[0-9][0-9]_*.py")} - {START})
