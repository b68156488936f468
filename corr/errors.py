"""The one exception whose text is meant for the user."""


class UserError(Exception):
    """The input cannot work as given; the message is one line that says what to change.

    Commands print it without a traceback and exit with status 1.
    """
