"""README fits a screen, and what it promises is there: links, chapters, commands, figures."""

import doctest
import re

import pytest

from shrink.papers import reproduce
from tests import CHAPTERS, ROOT

PAGES = [ROOT / "README.md", *(ROOT / "course").glob("*.md"), ROOT / "CONTRIBUTING.md"]
README = PAGES[0].read_text(encoding="utf-8")


def test_it_is_one_screens_reading():
    assert len(README.encode()) <= 8192


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "//" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page, link):
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not heading or not target.exists():
        return target.exists()
    text = target.read_text(encoding="utf-8")
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return heading in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in found}


def test_the_map_has_every_chapter_that_is_there_and_fifteen_in_all():
    rows = re.findall(r"^\| (\[?\d\d .*?) \|", README, re.MULTILINE)
    assert [re.search(r"\d\d", row)[0] for row in rows] == [f"{n:02}" for n in range(1, 16)]
    assert re.findall(r"\]\(notebooks/(.*?)\.ipynb\)", "".join(rows)) == CHAPTERS
    assert all(("to come" in row) != ("](notebooks/" in row) for row in rows)


def test_the_mask_by_hand_is_the_librarys():
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted == 4 and found.failed == 0


def test_the_hint_is_the_checks():
    from shrink.chapters.prune import masks

    hint = re.search(r"hint: +(.*)$", README, re.MULTILINE)[1]
    assert hint == masks.signed.hint


def test_the_bytes_are_those_of_the_records():
    coded = reproduce.stored("deep-compression")
    smaller = reproduce.stored("deep-compression-smaller")
    stages = [
        *((coded, stage) for stage in ("dense", "pruned", "shared", "coded")),
        (smaller, "0.97"),
    ]
    network = "lenet-300-100"
    expected = [
        (
            f"{max(result.each(network, stage, 'file_bytes')):,}",
            f"{max(result.errors(network, stage)):.2f}",
        )
        for result, stage in stages
    ]
    assert re.findall(r"^\|[^|]* \| ([\d,]+) \| ([\d.]+) \|$", README, re.MULTILINE) == expected
