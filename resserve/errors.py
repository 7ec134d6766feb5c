"""The one error that people see: a sentence that says what is wrong and what to do."""


class ResServeError(Exception):
    """Something the user can mend. The message is one complete sentence or two, ready to be printed as it is."""
