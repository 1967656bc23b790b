"""The one exception a user can cause: a line that says what is wrong, where, and what to do."""


class UserError(Exception):
    """Printed as a single line by the command line, which then exits with code 2."""
