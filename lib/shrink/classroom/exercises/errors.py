"""What a check raises; apart from it, so that what shows errors need not import torch."""


class ExerciseError(AssertionError):
    """Raised by `Exercise.check`: the exercise is not done yet, or its answer is wrong."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()
