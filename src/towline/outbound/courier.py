"""Messages by mail and to webhooks."""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import msgspec
import structlog

from towline.domain.errors import NotDelivered
from towline.outbound.http import HttpFailed, send
from towline.outbound.threads import RECEIVERS, run_in
from towline.outside_config import SmtpConfig, TopicConfig
from towline.service.ports import Message

log = structlog.get_logger(__name__)

SIGNATURE_HEADER = "X-Towline-Signature"


class OutsideCourier:
    """`service.ports.Courier` by SMTP and HTTP."""

    def __init__(self, smtp: SmtpConfig | None, topics: Mapping[str, TopicConfig]) -> None:
        self._smtp = smtp
        self._topics = topics

    async def send_mail(self, recipients: Sequence[str], message: Message) -> None:
        if self._smtp is None:
            # A modification may name addresses anywhere, so that clients work unchanged; see the page of the API.
            log.warning("mail_not_configured", job_id=message.job_id, kind=message.kind)
            return
        try:
            mail = render_mail(self._smtp.sender, recipients, message)
        except (ValueError, LookupError, AttributeError) as error:
            # What the library makes of a text that is no address.
            raise NotDelivered(f"an address cannot be used ({type(error).__name__})") from None
        try:
            await run_in(RECEIVERS, _send_mail, self._smtp, mail)
        except (OSError, ValueError, smtplib.SMTPException) as error:
            # I7: the text may hold what the mail server was told.
            raise NotDelivered(f"the mail server did not take a message ({type(error).__name__})") from None

    async def publish(self, topic: str, message: Message) -> None:
        config = self._topics.get(topic)
        if config is None:
            raise NotDelivered(f"the server has no topic {topic} in its configuration")
        body = render_message(topic, message)
        headers = {"Content-Type": "application/json"}
        if config.secret:
            digest = hmac.new(config.secret.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE_HEADER] = f"sha256={digest}"
        try:
            answer = await send(
                "POST",
                config.webhook,
                headers=headers,
                body=body,
                timeout_s=config.timeout_s,
                ca_file=config.ca_file,
            )
        except HttpFailed as error:
            raise NotDelivered(f"the webhook of topic {topic} does not answer ({error})") from None
        if answer.status >= 300:
            raise NotDelivered(f"the webhook of topic {topic} answers with status {answer.status}")


def render_message(topic: str, message: Message) -> bytes:
    """The body of a webhook call."""
    return msgspec.json.encode(
        {
            "topic": topic,
            "job_id": message.job_id,
            "job_name": message.job_name,
            "project_id": message.project_id,
            "kind": message.kind,
            "state": "over" if message.is_over else "raised",
            "time": datetime.fromtimestamp(message.at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "text": message.text,
        }
    )


def render_mail(sender: str, recipients: Sequence[str], message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    state = "over" if message.is_over else "raised"
    mail["Subject"] = f"[Towline] {message.job_name}: {message.kind} {state}"
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_us / 1_000_000, UTC))
    mail["Message-ID"] = make_msgid(domain="towline.invalid")
    mail.set_content(f"{message.text}\n\nJob {message.job_name} ({message.job_id})\n")
    return mail


def _send_mail(config: SmtpConfig, mail: EmailMessage) -> None:
    with smtplib.SMTP(config.host, config.port, timeout=config.timeout_s) as session:
        if config.starttls:
            session.starttls(context=ssl.create_default_context())
        if config.user:
            session.login(config.user, config.password)
        session.send_message(mail)
