"""How a chapter's `answers.py` makes wrong answers: from right ones, and from known mistakes."""

CHANGED = "your function changed its input"


def changed(function, change):
    """What the function returns, changed."""
    return lambda *args: change(function(*args))


def in_each(change):
    """A change of a dict: of each of its values."""
    return lambda found: {name: change(value) for name, value in found.items()}


def mistake(exercise, name):
    """The exercise's known mistake of this name."""
    (known,) = (m for m in exercise.mistakes if m.name == name)
    return known


def given_as(kind, exercise, name):
    """A row of DISGUISED: a known mistake that returns what it does as another type."""
    return exercise.name, name, changed(mistake(exercise, name), kind)
