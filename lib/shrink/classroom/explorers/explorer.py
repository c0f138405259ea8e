"""The explorer frame: controls and one figure that keeps up with them.

Each change sends one PNG into an image of fixed size. Callbacks run on other threads than the main
one in JupyterLab, so an explorer has a lock of its own and touches no global state.
"""

import html
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from shrink.classroom.exercises.front_end import is_live
from shrink.classroom.explorers import actions as acting
from shrink.classroom.explorers import controls as boxes
from shrink.classroom.explorers import tries as buttons
from shrink.classroom.explorers.actions import Action
from shrink.classroom.explorers.busy import Busy
from shrink.classroom.explorers.errors import error_panel
from shrink.classroom.explorers.jobs import Job, Worker
from shrink.classroom.explorers.look import HEAD
from shrink.classroom.explorers.picture import Draw, Picture, Update
from shrink.classroom.explorers.results import Results
from shrink.classroom.explorers.shells import hear_beside_cells
from shrink.classroom.explorers.static import static_view
from shrink.classroom.explorers.tries import Try


def nothing(_values: Mapping[str, Any]) -> tuple[str, ...]:
    """No control is ever hidden."""
    return ()


def _is_slider(control: widgets.Widget) -> bool:
    return isinstance(control, boxes.SLIDERS)


class Explorer(widgets.VBox):
    """Controls, a figure, a summary in words.

    Args:
        compute: called with the controls' values by name; returns the result, which is remembered
            until a job ends (a student's own function is asked each time), and computed beforehand
            for the next stops of a slider that was moved.
        draw: called once with the figure and the first result; draws what never moves, and
            returns the artists that do, by name. Results of another type are another scene, for
            which it is called once more, with another figure.
        update: called with those artists and each new result; moves them.
        summary: the result in words (HTML), shown below the figure.
        alt: what the figure shows of a result, with its numbers, in a sentence or two for those who
            do not see it.
        controls: name → widget with a `value`; a slider gets a number box beside it.
        tries: what to try, as buttons beside the sliders.
        hidden: called with the values of all controls, the job's as well; the names of those that
            change nothing in that state, and which are hidden while it lasts.
        beside: names of controls that stand in a column to the right of the figure, where there is
            room, and not above it.
        actions: name → a button at the end of that column; `hidden` may name it, too.
        job: long work; its buttons, progress and messages are the explorer's `work`.
        size: of the figure, in inches at 100 dots per inch.

    Raises:
        ValueError: a try sets a control or a value that there is not.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        draw: Draw,
        update: Update,
        summary: Callable[[Any], str],
        *,
        alt: Callable[[Any], str],
        controls: Mapping[str, widgets.Widget],
        tries: Sequence[Try] = (),
        hidden: Callable[[Mapping[str, Any]], Collection[str]] = nothing,
        beside: Collection[str] = (),
        actions: Mapping[str, Action] | None = None,
        job: Job | None = None,
        size: tuple[float, float],
    ) -> None:
        self._summarise, self._describe = summary, alt
        self.controls, self.tries, self._without_effect = dict(controls), tuple(tries), hidden
        self.beside, self.actions = tuple(beside), dict(actions or {})
        self.work = Worker(job, lambda: self.values, self.refresh) if job else None
        self._picture = Picture(draw, update, size)
        self._lock, self._pending = threading.Lock(), False
        self._moving, self._held = threading.Lock(), False
        self._busy, self.results = Busy(self._dim), Results(compute)
        self._came: tuple[str, Any] | None = None  # the slider that moved last, and where from
        self.result: Any = None
        self.error: BaseException | None = None
        self.redraws = 0
        self._build()
        buttons.refuse_what_cannot_be_set(self.tries, self.every_control)
        self._first = {name: c.value for name, c in self.controls.items() if name != boxes.SOURCE}
        for name, control in self.controls.items():
            control.observe(partial(self._move_to, name), "value")
        for control in self.work.job.controls.values() if self.work else ():
            control.observe(self._hide, "value")
        self._show()

    def _build(self) -> None:
        self.image = widgets.Image(
            format="png",
            layout=widgets.Layout(
                width=f"{100 * self.figure.get_figwidth():.0f}px", height="auto", max_width="100%"
            ),
        )
        self.image.add_class("shrink-figure")
        self.message, self.text, self._alt = (widgets.HTML() for _ in range(3))
        self.message.add_class("shrink-error")
        self.text.add_class("shrink-summary")
        self._alt.add_class("shrink-alt")
        self._boxes = boxes.in_boxes(self.controls)
        above = {name: box for name, box in self._boxes.items() if name not in self.beside}
        sliders, others = boxes.in_rows(above)
        tries = [buttons.buttons(self.tries, self.press)] if self.tries else []
        self._buttons = {name: acting.button(one, self._act) for name, one in self.actions.items()}
        column = [*(self._boxes[name] for name in self.beside), *self._buttons.values()]
        wrapping = widgets.Layout(flex_flow="row wrap")
        super().__init__(
            [
                widgets.HTML(HEAD, layout=widgets.Layout(display="none")),
                widgets.HBox([widgets.VBox(sliders), *tries], layout=wrapping),
                others,
                boxes.with_column(self.image, column) if column else self.image,
                self._alt,
                *(self.work.rows if self.work else ()),
                self.text,
                self.message,
            ]
        )
        self.add_class("shrink-explorer")
        hear_beside_cells(self)

    @property
    def figure(self) -> Figure:
        """The figure on show."""
        return self._picture.figure

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def every_control(self) -> dict[str, widgets.Widget]:
        """The explorer's controls by name, and its job's."""
        return self.controls | dict(self.work.job.controls if self.work else {})

    @property
    def _sliders(self) -> dict[str, widgets.Widget]:
        """Those that are shown."""
        shown = self.controls.keys() - self.hidden
        return {n: c for n, c in self.controls.items() if n in shown and _is_slider(c)}

    @property
    def hidden(self) -> set[str]:
        """The names of the controls that are hidden now."""
        return {name for name, box in self._every_box.items() if box.layout.display == "none"}

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        return html.unescape(self._alt.value)

    def move(self, **values: Any) -> None:
        """Set several controls, the job's as well, and redraw once."""
        every = self.every_control
        with self._moving:
            self._held = True
            try:
                for name, value in values.items():
                    boxes.put(every[name], value)
            finally:
                self._held = False
        self._show()

    def press(self, one: Try) -> None:
        """Set the state of a try.

        What it does not name goes back to where it began, except the switch to mine and the job's.
        """
        self.move(**{n: v for n, v in self._first.items() if n not in one.values} | one.values)

    def _act(self, one: Action) -> None:
        """Set what the result on show says, unless an error is shown in its place."""
        if self.error is None:
            self.move(**one.values(self.result))

    def refresh(self) -> None:
        """Compute anew for the values of this moment, and redraw."""
        self.results.forget()
        self._show()

    def _move_to(self, name: str, change: Any) -> None:
        self._came = (name, change.old) if _is_slider(change.owner) else None
        self._show()

    def _show(self) -> None:
        """Redraw for the values of this moment; from any thread, and the latest wins.

        Whoever holds the lock redraws until nothing newer is pending, so a slow redraw is never
        queued up behind others.
        """
        self._pending = True
        while not self._held and self._pending and self._lock.acquire(blocking=False):
            try:
                self._pending = False
                with self.results.nothing_beforehand():
                    self._redraw(self.values)
            finally:
                self._lock.release()
            if not self._pending:
                self._prepare()

    def _prepare(self) -> None:
        """Have the next stops of the slider computed that moved last, if it is shown."""
        came, sliders = self._came, self._sliders  # another thread may change both meanwhile
        if came and came[0] in sliders:
            self.results.prepare(self.values, sliders, *came)

    def _redraw(self, values: dict[str, Any]) -> None:
        with self._busy.working():
            try:
                self._hide()
                result = self.results.of(values)
                self.image.value = self._picture.of(result)
                self._alt.value = html.escape(self._describe(result), quote=False)
                self.text.value = self._summarise(result)
                self.result, self.error = result, None
                self.redraws += 1
                self.message.value = ""
                self.remove_class("shrink-stale")
            except (Exception, SystemExit) as error:  # a student's exit() too
                self.error = error
                self.message.value = error_panel(error, values)
                self.add_class("shrink-stale")

    @property
    def _every_box(self) -> dict[str, widgets.Widget]:
        return self._boxes | self._buttons | (self.work.boxes if self.work else {})

    def _hide(self, _change: object = None) -> None:
        if self._held:
            return
        names = self._without_effect({n: c.value for n, c in self.every_control.items()})
        for name, box in self._every_box.items():
            boxes.show(box, name not in names)

    def _dim(self, busy: bool) -> None:
        (self.add_class if busy else self.remove_class)("shrink-busy")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, where a person can move it; and what is shown where there are no widgets."""
        widget = super()._repr_mimebundle_(**kwargs) if is_live() else {}
        data, metadata = static_view(
            self.image.value, self.alt, self.text.value, self.message.value
        )
        return widget | data, metadata
