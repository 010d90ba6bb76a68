"""The error a person is shown as one clear sentence: their input was wrong, not the program."""


class UserError(ValueError):
    """Bad input from a person. The message says what came, what was expected and what to do next.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingSplitError(UserError):
    """A folder of data without the split that was asked for, such as `val`."""
