"""What can go wrong with a server of our own."""

from __future__ import annotations

from towline.domain.errors import SetupError


class EmbeddedServerError(SetupError):
    """The embedded server could not be made, started or reached; nothing of it is left running."""

    code = "EMBEDDED_SERVER"
    remedy = "Read the end of the server's log in the message; check free disk space and memory."
