"""The errors that a person sees: one line that names the value, the limit and the mend."""


class ZooError(Exception):
    """A run that failed: shown as one line on stderr, exit status 1."""

    exit_code = 1


class UserError(ZooError):
    """A user's mistake (a bad value, name, file or option): shown as one line on stderr, exit status 2."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration key or value that is refused."""


class DamagedError(UserError):
    """A state or release whose content is not what its manifest promises."""


class MissingDataError(UserError):
    """A data file that is neither in ZOO_DATA_DIR nor in the cache and could not be fetched."""


def one_line(text: str) -> str:
    """Fold an exception's text, which may span lines, into a single line."""
    return " ".join(text.split())
