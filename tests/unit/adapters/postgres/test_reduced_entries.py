"""What is taken out of a dump for an older target."""

from __future__ import annotations

import pytest

from tests.unit.adapters.postgres.test_structure_items import entry
from towline.adapters.postgres.reduced_entries import fit_entries


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("GRANT SELECT,MAINTAIN ON TABLE a TO b;\n", "GRANT SELECT ON TABLE a TO b;\n"),
        ("GRANT MAINTAIN ON TABLE a TO b WITH GRANT OPTION;\n", ""),
        (
            "REVOKE GRANT OPTION FOR MAINTAIN,UPDATE ON TABLE a FROM b;\n",
            "REVOKE GRANT OPTION FOR UPDATE ON TABLE a FROM b;\n",
        ),
        ('GRANT ALL ON TABLE "MAINTAIN" TO b;\n', 'GRANT ALL ON TABLE "MAINTAIN" TO b;\n'),
        ("GRANT MAINTAIN ON TABLE a TO b;\nGRANT SELECT(c) ON TABLE a TO b;\n", "GRANT SELECT(c) ON TABLE a TO b;\n"),
        (
            'ALTER DEFAULT PRIVILEGES FOR ROLE "a ""b" IN SCHEMA s GRANT INSERT,MAINTAIN ON TABLES TO b;\n',
            'ALTER DEFAULT PRIVILEGES FOR ROLE "a ""b" IN SCHEMA s GRANT INSERT ON TABLES TO b;\n',
        ),
    ],
)
def test_only_maintain_is_taken_from_grants(text: str, fitted: str) -> None:
    (kept,), reports = fit_entries([entry(1, "ACL", "TABLE a", text)], target_major=16)
    assert kept.definition == fitted
    assert len(reports) == (text != fitted)
