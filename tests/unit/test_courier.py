"""Messages that cannot be sent are a failure that time may heal, never a defect that ends the server."""

from __future__ import annotations

import pytest

from towline.domain.errors import NotDelivered
from towline.outbound.courier import OutsideCourier
from towline.outside_config import SmtpConfig
from towline.service.ports import Message

MESSAGE = Message("job-1", "orders", "project-1", "failed", False, 1_700_000_000_000_000, "it failed")


@pytest.mark.parametrize("address", ["a@", "a@[", "a@b\nBcc: c@d", "ä@b"])
async def test_a_text_that_is_no_address_is_not_delivered(address: str):
    # Nobody listens there: an address that the library takes ends as not delivered, too.
    courier = OutsideCourier(SmtpConfig(host="127.0.0.1", sender="towline@here.example", port=1, timeout_s=1.0), {})
    with pytest.raises(NotDelivered):
        await courier.send_mail([address], MESSAGE)
