"""Which part of an answer is right: for answers with two mistakes at once, which no hint knows.

A check asks such an answer again, where only some of its steps count: the loss at alpha = 0 is its
first term alone. What is wrong there may be one known mistake, and then has that mistake's hint.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong


@dataclass(frozen=True, eq=False)
class Part:
    """Arguments at which only a part of the answer counts.

    `name` is how that is said after "right" or "wrong", as "at alpha = 0". `view` is what of a
    result counts; without it, all that the check looks at.
    """

    name: str
    args: tuple
    view: Callable[[Any], Any] | None = None


@dataclass(frozen=True, eq=False)
class Asking:
    """How a check judges a part: the arguments of `by_cases`, of the same meaning."""

    right: Callable[..., Any]
    compare: Callable[..., Wrong | None]
    mistakes: Sequence[Mistake]
    alike: Callable[[Any], Any]
    copied: Callable[[tuple], tuple]

    def told(self, answer: Attempt, parts: Iterable[Part]) -> list[str]:
        """Lines about what is right and what is wrong; none where there is no more to say."""
        verdicts, hints = {}, {}
        for part in parts:
            expected = self.right(*part.args)
            given = answer.ask(part.args)
            verdicts[part.name] = self._is_right(part, given, expected)
            if not verdicts[part.name] and (hint := self._hint(part, given)):
                hints.setdefault(hint, part.name)
        if not hints and not any(verdicts.values()):
            return []
        said = (f"{'right' if right else 'wrong'} {name}" for name, right in verdicts.items())
        named = (f"            {name}: {hint}" for hint, name in hints.items())
        return [f"  in parts: {', '.join(said)}", *named]

    def _is_right(self, part: Part, given: Any, expected: Any) -> bool:
        try:
            if part.view is not None:
                return bool(part.view(given) == part.view(expected))
            return self.compare(given, expected, *part.args) is None
        except Exception:  # an answer may give anything
            return False

    def _hint(self, part: Part, given: Any) -> str | None:
        """That of the one known mistake that gives the same there."""
        view = part.view or self.alike
        alike = [m.hint for m in self.mistakes if self._gives(m, part, view, given)]
        return alike[0] if len(alike) == 1 else None

    def _gives(self, mistake: Mistake, part: Part, view: Callable, given: Any) -> bool:
        try:
            return bool(view(mistake(*self.copied(part.args))) == view(given))
        except Exception:
            return False
