"""A notebook of an earlier Shrink says in one line what to do; other imports are as ever."""

import subprocess
import sys

import pytest

from shrink import earlier

# What notebooks imported before their modules moved, a name that never was, and a misspelt one.
GONE = {
    "from shrink import pruning, codec": "shrink.codec",
    "from shrink.classroom import experiments, models": "shrink.classroom.experiments",
    "from shrink.classroom.checks.prune import magnitude_mask": "shrink.classroom.checks",
    "import shrink.classroom.reproduce": "shrink.classroom.reproduce",
    "from shrink.pruning import moon": "shrink.pruning.moon",
    "from shrink import prunning": "shrink.prunning",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What an IPython shows of a cell, each in the same shell."""
    folder = tmp_path_factory.mktemp("cells")
    (folder / "ours.py").write_text("from shrink import moon\n")

    def run(*cells):
        code = (
            "import sys; from IPython.core.interactiveshell import InteractiveShell as Shell\n"
            f"sys.path.append({str(folder)!r}); shell = Shell.instance(colors='NoColor')\n"
            f"for cell in {cells!r}: shell.run_cell(cell); print('=====')"
        )
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return [text.strip() for text in ended.stdout.split("=====\n")[:-1]]

    return run


def test_a_cell_that_imports_what_is_gone_shows_one_line(shown):
    for name, text in zip(GONE.values(), shown(*GONE), strict=True):
        assert text == f"this Shrink has no {name}: {earlier.ADVICE}, then open it again"


def test_other_errors_of_imports_are_shown_as_ever(shown):
    texts = shown("import shrink", "import moon", "from math import moon", "import ours")
    assert texts[0] == ""
    for text in texts[1:]:
        assert "Traceback" in text and "moon" in text and "update" not in text
    assert "ours.py" in texts[3]


def test_the_import_system_is_left_alone(shown):
    (text,) = shown(
        "import importlib.util, shrink\n"
        "print(importlib.util.find_spec('shrink.moon'), hasattr(shrink, 'moon'))\n"
        "try:\n    import shrink.moon\nexcept ModuleNotFoundError as error:\n    print(error)\n"
        "try:\n    from shrink import moon\nexcept ImportError:\n    print('caught')"
    )
    assert text == "None False\nNo module named 'shrink.moon'\ncaught"


def test_without_ipython_nothing_is_changed():
    code = "import sys, shrink; print('IPython' in sys.modules, shrink.earlier.running_shell())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False None\n"
