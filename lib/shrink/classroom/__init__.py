"""What turns the techniques into a course: data, models, training, explorers, exercises."""


class CourseError(Exception):
    """Something a person can mend; the message is one line and says how."""
