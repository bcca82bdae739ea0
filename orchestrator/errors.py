"""Errors that a user can cause and mend; anything else is a bug and keeps its traceback."""


class UserError(Exception):
    """What the user can mend: each line says where, what is valid and what to do.

    The command line exits with 2.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class ModelUnavailableError(UserError):
    """A model's weights can't be had or loaded.

    They are gated, have another revision, or network or disk are missing.
    """


class ModelTooLargeError(ModelUnavailableError):
    """The weights of a model don't fit in a machine's memory; on another they may."""


class TryAgainError(UserError):
    """What may go well the next time, such as a Ray that started too slowly.

    The command line exits with 75.
    """
