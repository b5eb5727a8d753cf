"""What a call can end in instead of an answer, in the server's own words.

Only values; how a fault looks on the wire is axis_write's.
"""

from dataclasses import dataclass


class Refused(Exception):  # noqa: N818  # a refusal is what it is; "Error" says nothing more
    """The server refuses the call with words of its own (a SOAP fault)."""

    def __init__(self, kind: str, message: str, *, bare: bool = False) -> None:
        """Take a short kind for the call log and the words for the caller.

        `bare` leaves out the bracket with session, client and user, and the arguments.
        """
        super().__init__(kind)
        self.kind = kind
        self.message = message
        self.bare = bare


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP fault ready for writing."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A plain HTTP answer in place of SOAP, such as a proxy's error page."""

    status: int
    body: str


def absent(recipient: str = "Recipient does not exist") -> Refused:
    """Return the refusal for a recipient id that is not in the list."""
    return Refused("absent-recipient", recipient)


def no_such_list() -> Refused:
    """Return the refusal for a list that the client does not have (words are a guess)."""
    return Refused("unknown-list", "Recipient list does not exist")
