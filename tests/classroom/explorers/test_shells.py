"""Front ends are answered while cells run, by whatever ipykernel is there."""

import ipywidgets as widgets
import pytest
from ipykernel.comm.comm import BaseComm

from shrink.classroom.explorers.shells import hear_beside_cells


@pytest.fixture
def box():
    inner = widgets.VBox([widgets.IntSlider(), widgets.Button()])
    outer = widgets.VBox([inner, widgets.Label()])
    for widget in (outer, inner, *inner.children, outer.children[1]):
        widget.comm = BaseComm(primary=False)
    return outer


def test_messages_go_to_the_shell_that_they_name(box):
    if not hasattr(BaseComm, "_reply_subshell_for"):
        pytest.skip("this ipykernel changes no routes")
    inner, label = box.children
    every = (box, inner, *inner.children, label)
    for widget in every:
        widget.comm._reply_subshell_id = None  # as after a message from the shell of the cells
        assert widget.comm._reply_subshell_for({}, "named") is None
    hear_beside_cells(box)
    for widget in every:
        widget.comm._reply_subshell_id = None
        assert widget.comm._reply_subshell_for({}, "named") == "named"


@pytest.mark.parametrize("comm", [None, BaseComm(primary=False), object()])
def test_other_comms_are_left_alone(comm, monkeypatch):
    monkeypatch.delattr(BaseComm, "_reply_subshell_for", raising=False)
    slider = widgets.IntSlider()
    slider.comm = None
    monkeypatch.setattr(type(slider), "comm", comm)
    hear_beside_cells(slider)
    assert not hasattr(comm, "_reply_subshell_for")
