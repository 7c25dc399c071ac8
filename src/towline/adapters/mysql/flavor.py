"""Which product a server is, and what follows from its version. Pure.

MySQL and MariaDB share a protocol and most of SQL.  Where they part, code asks here rather than comparing versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Old clients refuse a major version above 5, so MariaDB puts this in front of its own in the handshake.
_MARIADB_MASK = "5.5.5-"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A server's product and version. `text` is `VERSION()` as the server says it."""

    is_mariadb: bool
    version: tuple[int, int, int]
    text: str

    @classmethod
    def parse(cls, text: str) -> Flavor:
        """Raises ValueError unless the text begins with a version number."""
        is_mariadb = "mariadb" in text.lower()
        match = _NUMBERS.match(text.removeprefix(_MARIADB_MASK) if is_mariadb else text)
        if match is None:
            raise ValueError(f"not a server version: {text!r}")
        return cls(is_mariadb, (int(match[1]), int(match[2]), int(match[3])), text)

    @property
    def product(self) -> str:
        return "MariaDB" if self.is_mariadb else "MySQL"

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def is_mysql_from(self, *version: int) -> bool:
        return not self.is_mariadb and self.version >= version

    def is_mariadb_from(self, *version: int) -> bool:
        return self.is_mariadb and self.version >= version

    @property
    def source_status_statement(self) -> str:
        """What shows file and offset of the binlog; its first two columns are the same everywhere."""
        return "SHOW BINARY LOG STATUS" if self.is_mysql_from(8, 2) else "SHOW MASTER STATUS"

    @property
    def statement_time_limit(self) -> str:
        """The variable that ends long SELECTs; 0 means never in both products."""
        return "max_statement_time" if self.is_mariadb else "max_execution_time"

    @property
    def snapshot_status_has_position(self) -> bool:
        """Whether a session's consistent snapshot knows its own place in the binlog."""
        return self.is_mariadb
