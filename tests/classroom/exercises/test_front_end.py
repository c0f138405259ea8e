"""A check shows a panel where a person sits and raises where a program judges, in a real kernel.

The messages are those that front ends send; what they leave in the environment is set in the
kernel. JupyterLab, Notebook and Voilà themselves run in the browser tests.
"""

import json

import nbclient
import nbformat
import pytest
from jupyter_client import BlockingKernelClient, KernelManager

SETUP = """
import json, os
from ipywidgets import Button
from shrink.classroom.exercises.exercise import Exercise
double = Exercise("double", lambda answer, rng: None, core=True, minutes=1)
button = Button()
button.on_click(lambda _: double.check())
def leave(**names):
    for name in ("JPY_SESSION_NAME", "VOILA_PREHEAT", "PYTEST_VERSION"):
        os.environ.pop(name, None)
    os.environ.update(names)
"""
CHECK = "double.check()"
IN_JUPYTER = {"JPY_SESSION_NAME": "/home/ada/work/02_prune.ipynb"}


class Kernel:
    """A kernel with the exercise `double`, which nobody has answered."""

    def __init__(self):
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = BlockingKernelClient()  # its session is not that of the manager's clients
        self.client.load_connection_info(self.manager.get_connection_info())
        self.client.start_channels()
        self.client.wait_for_ready()
        self.outputs(SETUP)

    def leave(self, **environment):
        self.outputs(f"leave(**{environment!r})")

    def outputs(self, code, **asked):
        """What a cell shows that a front end sends so."""
        return self.answers(self.client.execute(code, **asked))

    def answers(self, message):
        """What is shown on behalf of a message: the outputs, each as its type and its content."""
        found = []
        while True:
            said = self.client.get_iopub_msg(timeout=60)
            if said["parent_header"].get("msg_id") != message:
                continue
            if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
                return found
            if said["msg_type"] in ("display_data", "error", "stream"):
                found.append((said["msg_type"], said["content"]))

    def press(self):
        """What a press on the button shows."""
        ((_, said),) = self.outputs("print(json.dumps(button.comm.comm_id))")
        data = {"method": "custom", "content": {"event": "click"}}
        content = {"comm_id": json.loads(said["text"]), "data": data}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)
        return self.answers(message["header"]["msg_id"])


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def shows_a_panel(outputs):
    ((kind, content),) = outputs
    return kind == "display_data" and "not done yet" in content["data"]["text/html"]


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        pytest.param(IN_JUPYTER, {}, id="JupyterLab and Notebook"),
        pytest.param({"VSCODE_PID": "1"}, {"stop_on_error": False}, id="VS Code"),
        pytest.param({}, {}, id="Colab and others"),
    ],
)
def test_at_a_live_front_end_a_panel_is_shown_and_nothing_raised(kernel, left, asked):
    kernel.leave(**left)
    assert shows_a_panel(kernel.outputs(CHECK, allow_stdin=True, **asked))


def test_a_console_shows_the_message_as_text(kernel):
    kernel.leave()
    ((_, content),) = kernel.outputs(CHECK)
    assert content["data"]["text/plain"] == "double: not done yet"


def test_a_check_behind_a_button_shows_its_panel(kernel):
    kernel.leave()
    assert shows_a_panel(kernel.press())


def run_as_nbconvert_does(kernel):
    """The outputs of the check under nbclient, which nbconvert and Voilà run notebooks with."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CHECK)])
    nbclient.NotebookClient(notebook, km=kernel.manager).execute()
    return [(output.output_type, output) for output in notebook.cells[0].outputs]


@pytest.mark.parametrize("inherited", [{}, IN_JUPYTER])
def test_where_a_program_judges_a_check_raises(kernel, inherited):
    """Also where the program was started from a terminal in JupyterLab."""
    kernel.leave(**inherited)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="double: not done yet"):
        run_as_nbconvert_does(kernel)
    ((kind, error),) = kernel.outputs(CHECK, allow_stdin=False)  # as nbval asks
    assert kind == "error" and error["evalue"] == "double: not done yet"


def test_pytest_that_runs_in_a_notebooks_own_process_is_no_person(kernel):
    kernel.leave(PYTEST_VERSION="9", **IN_JUPYTER)
    ((kind, _),) = kernel.outputs(CHECK, allow_stdin=True)
    assert kind == "error"


def test_voila_shows_the_panel_for_its_page_would_end_at_an_exception(kernel):
    kernel.leave(VOILA_PREHEAT="False")
    assert shows_a_panel(run_as_nbconvert_does(kernel))
