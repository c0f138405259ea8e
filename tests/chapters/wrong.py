"""How a chapter's `answers.py` makes wrong answers: from right ones, and from known mistakes."""

CHANGED = "your function changed its input"


def changed(function, change):
    """What the function returns, changed."""
    return lambda *args: change(function(*args))


def in_each(change):
    """A change of a dict: of each of its values."""
    return lambda found: {name: change(value) for name, value in found.items()}


def given_as(kind, exercise, mistake):
    """A row of DISGUISED: a known mistake that returns what it does as another type."""
    (known,) = (m for m in exercise.mistakes if m.name == mistake)
    return exercise.name, mistake, changed(known, kind)
