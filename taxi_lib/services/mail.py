"""A mail server on this machine, and the messages that it has received."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taxi_lib.errors import TaxiError
from taxi_lib.services.loopback import HOST
from taxi_lib.services.ports import free_port
from taxi_lib.services.waiting import wait_for

if TYPE_CHECKING:
    from email.message import EmailMessage


@dataclass
class Inbox:
    """A mail server's address (plain SMTP, no login) and the messages, in order of arrival."""

    host: str
    port: int
    messages: "list[EmailMessage]" = field(default_factory=list)

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        """Keep a message; aiosmtpd calls this for each."""
        from email import message_from_bytes, policy

        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 Kept"

    def wait(self, count: int, seconds: float = 60) -> "list[EmailMessage]":
        """Return the messages as soon as this many have arrived.

        Raises
        ------
        TaxiError
            When they do not arrive in time.
        """
        try:
            wait_for(lambda: len(self.messages) >= count, seconds, pause=0.1)
        except TaxiError:
            raise TaxiError(
                f"{len(self.messages)} of {count} messages came within {seconds:.0f} seconds: "
                "look at what should have sent them."
            ) from None
        return self.messages


@contextmanager
def mail_server() -> Iterator[Inbox]:
    """Receive e-mail, of which nothing leaves this machine; yield the inbox."""
    from aiosmtpd.controller import Controller

    inbox = Inbox(HOST, free_port())
    where = {"hostname": inbox.host, "port": inbox.port, "server_hostname": "localhost"}
    controller = Controller(inbox, ready_timeout=60, **where)
    try:
        controller.start()
        yield inbox
    finally:
        controller.stop()
