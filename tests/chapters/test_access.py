"""What a screen reader hears of an explorer, and what a keyboard moves, in three front ends."""

import re

import nbformat
import pytest

from tests.chapters import jupyter

pytestmark = pytest.mark.browser

EXPLORER = """
import ipywidgets
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

Explorer(
    lambda memory, share, kind: (memory, share, kind),
    lambda figure, shown: {"point": figure.subplots().plot([0], [0], "o")},
    lambda artists, shown: artists["point"][0].set_xdata([shown[0] / 1000]),
    lambda shown: f"memory {shown[0]:.6g}, share {shown[1]:.6g}, kind {shown[2]}",
    controls={
        "memory": ipywidgets.FloatLogSlider(
            64, base=2, min=3, max=12, step=0.25, description="on chip, KB"
        ),
        "share": ipywidgets.FloatSlider(0.9, min=-1, max=1, step=0.01, description="share"),
        "kind": toggle("kind", ["one", "two"]),
    },
    tries=[Try("little", "Does it fit?", memory=8, share=-0.5, kind="two")],
    hidden=lambda values: {"share"} if values["memory"] == 4096 else (),
    job=Job("Train", lambda *_: None),
    size=(4, 2),
    alt=lambda shown: f"A dot at {shown[0]:.6g} < 5,000 KB",
)
"""
HEARD = {"slider", "spinbutton", "button", "group", "status", "image", "progressbar"}


@pytest.fixture(scope="module")
def path(jupyterlab):
    """A notebook with the explorer alone, as the server has it."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(EXPLORER)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, jupyterlab.root / "access.ipynb")
    return "access.ipynb"


def heard(page):
    """(role, name, pressed) of everything in the explorer, of Chromium's accessibility tree."""
    session = page.context.new_cdp_session(page)
    (root,) = page.locator(".shrink-explorer").all()
    found = session.send(
        "Runtime.evaluate", {"expression": "document.querySelector('.shrink-explorer')"}
    )
    given = {"objectId": found["result"]["objectId"]}
    nodes = session.send("Accessibility.queryAXTree", given)["nodes"]
    assert root.is_visible()
    told = []
    for node in nodes:
        role = node["role"]["value"]
        if role in HEARD and not node["ignored"]:
            states = {p["name"]: p["value"].get("value") for p in node.get("properties", ())}
            told.append((role, node["name"]["value"], states.get("pressed")))
    return told


def handle(page, label):
    return page.get_by_role("slider", name=label)


def press(page, label, key, says):
    handle(page, label).press(key)
    page.get_by_text(says).wait_for()


@pytest.mark.parametrize("at", [jupyter.LAB, jupyter.NOTEBOOK, jupyter.VOILA])
def test_all_is_said_and_moved_by_keyboard(jupyterlab, chromium, path, tmp_path, at):
    with jupyter.browser(chromium, tmp_path) as (page, _):
        if at == jupyter.VOILA:
            page.goto(jupyterlab.url.format(path=f"{at}/{path}"))
        else:
            jupyter.open_notebook(page, jupyterlab.url, path, at)
            jupyter.run_all(page)
        page.get_by_role("img", name=re.compile("A dot at 64 < 5,000 KB")).wait_for()
        all_is_said(page)
        values_are_real(page)
        the_keyboard_moves(page)


def all_is_said(page):
    """Sliders and their boxes by the label, choices with what is pressed, the rest by name."""
    told = heard(page)
    for role, name in (
        ("slider", "on chip, KB"),
        ("spinbutton", "on chip, KB"),
        ("slider", "share"),
        ("spinbutton", "share"),
        ("group", "kind"),
        ("group", "what to try"),
        ("button", "little"),
        ("progressbar", "progress"),
        ("image", "A dot at 64 < 5,000 KB"),
    ):
        assert [name for r, n, _ in told if (r, n) == (role, name)] == [name], (role, name, told)
    assert {("button", "one", "true"), ("button", "two", "false")} <= set(told)
    assert any(role == "status" for role, *_ in told)


def values_are_real(page):
    """Not exponents, nor with zeros behind; a press is heard, and the picture's text changes."""
    says = [handle(page, n).get_attribute("aria-valuetext") for n in ("on chip, KB", "share")]
    assert says == ["64", "0.9"]
    page.get_by_role("button", name="little").click()
    page.get_by_text("memory 8, share -0.5, kind two").wait_for()
    page.get_by_role("img", name=re.compile("A dot at 8 < 5,000 KB")).wait_for()
    says = [handle(page, n).get_attribute("aria-valuetext") for n in ("on chip, KB", "share")]
    assert says == ["8", "-0.5"]
    assert {("button", "one", "false"), ("button", "two", "true")} <= set(heard(page))


def the_keyboard_moves(page):
    """Arrow keys and those to the ends, also where the notebook has them for itself."""
    press(page, "share", "ArrowRight", "share -0.49")
    press(page, "share", "ArrowDown", "share -0.5,")
    press(page, "on chip, KB", "ArrowUp", "memory 9.51366")
    press(page, "on chip, KB", "End", "memory 4096")
    page.get_by_role("slider", name="share").wait_for(state="hidden")
    assert ("spinbutton", "share", None) not in heard(page)
    press(page, "on chip, KB", "Home", "memory 8,")
    page.get_by_role("slider", name="share").wait_for()
