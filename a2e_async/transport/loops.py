"""What is said to who uses a client where it cannot work: each text once."""

from a2e_async.errors import ClientClosed, ConfigurationError


def wrong_loop() -> ConfigurationError:
    """Return the error of a use on another event loop than the first one's."""
    return ConfigurationError(
        "This client was used on another event loop. Make one A2E() per loop and keep it open."
    )


def forked() -> ConfigurationError:
    """Return the error of a use in a child of the process that the client belongs to."""
    return ConfigurationError(
        "This client was used before the process was forked. Its connections belong to the "
        "parent; make a new A2E() in the child."
    )


def closed_error(what: str = "") -> ClientClosed:
    """Return the error of every call that finds the client closed."""
    before = f"{what}: the" if what else "The"
    return ClientClosed(f"{before} client is closed. Make a new A2E(), or close it later.")
