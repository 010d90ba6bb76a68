"""Errors in a user's input, which are shown as a message without a traceback."""


class UserError(ValueError):
    """The user's input is wrong. The message says what came, what was expected and what to do next.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingSplitError(UserError):
    """A data folder does not hold the requested split, such as `val`."""
