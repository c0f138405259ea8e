"""What teachers read names what is there; the hand-out of its command holds no solution."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shrink.cli import main
from tests import CHAPTERS, ROOT

TEACHING = ROOT / "course" / "teaching.md"
PAGES = sorted((ROOT / "course" / "teaching").glob("*.md"))


def hand_out():
    """The paths that the command in teaching.md puts into the archive."""
    text = TEACHING.read_text(encoding="utf-8")
    command = re.search(r"git archive .*?(?=\n\s*```)", text, re.DOTALL)[0]
    words = shlex.split(command.replace("\\\n", " "))
    return words[words.index("HEAD") + 1 :]


def test_each_chapter_has_a_page_and_each_page_a_chapter():
    assert [page.stem for page in PAGES] == CHAPTERS
    text = TEACHING.read_text(encoding="utf-8")
    assert [chapter for chapter in CHAPTERS if f"(teaching/{chapter}.md)" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_plan_runs_through_90_minutes_and_asks_three_questions(page):
    text = page.read_text(encoding="utf-8")
    minutes = [int(m) for m in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert minutes[0] == 0 and minutes == sorted(set(minutes)) and 80 <= minutes[-1] < 90
    asked = re.split(r"^\*\*\d\. ", text, flags=re.MULTILINE)[1:]
    assert len(asked) == 3
    for question in asked:
        wrong, right = question.split("\n- Right: ")
        assert len(re.findall(r'^- \*"', wrong, re.MULTILINE)) >= 2 and right


@pytest.mark.parametrize("page", [TEACHING, *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "//" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [TEACHING, *PAGES], ids=lambda page: page.stem)
def test_commands_are_there(page, capsys):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?:^|`)shrink ([a-z]+)((?: --[a-z]+)*)", text, re.MULTILINE)
    assert found or page != TEACHING
    for command, options in found:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        said = capsys.readouterr().out
        assert ended.value.code == 0, command
        assert [option for option in options.split() if option not in said] == []


def test_the_hand_out_can_be_installed_and_updated_and_holds_no_solution(tmp_path):
    for name in hand_out():
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    named = [*project["license-files"], project["readme"], "requirements.lock", "Makefile"]
    assert [name for name in named if not (tmp_path / name).is_file()] == []
    code = "import shrink; from shrink.cli import main; print(shrink.__file__); "
    told = subprocess.check_output(
        [sys.executable, "-c", code + "main(['update'])"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")},
        text=True,
    )
    library, *copied = told.splitlines()
    assert Path(library) == tmp_path / "lib" / "shrink" / "__init__.py"
    assert copied == [f"{chapter}: copied" for chapter in CHAPTERS]
    texts = [path for path in tmp_path.rglob("*") if path.suffix in (".ipynb", ".md", ".toml")]
    assert len(texts) > len(CHAPTERS)
    for path in texts:
        assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8"), path
    assert not list((tmp_path / "course").rglob("*.py"))


def test_nothing_is_left_to_fill_in():
    for page in (TEACHING, *PAGES):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"\b[A-Z]+_(?:LIMIT|TOTAL|MB)\w*", text), page
