"""The errors a user can cause and mend; anything else is a bug and keeps its traceback."""


class UserError(Exception):
    """What the user can mend. Each line says where, what is valid and what to do; the command line exits with 2."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class ModelUnavailableError(UserError):
    """The weights of a model can't be had (gated, no network, no disk, wrong revision) or can't be loaded."""


class ModelTooLargeError(ModelUnavailableError):
    """The weights of a model don't fit in a machine's memory; on another they may."""
