"""A Campaign session: log in, renew in time, once more when it is refused, log out.

It may not show the session id or the password in any text.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from etl.errors import EtlError, FarSideRefused, FarSideUnavailable
from etl.ports import Clock
from etl.wire import answers
from etl.wire.answers import Answer
from etl.wire.faults import SessionLost
from etl.wire.soap import Call, Soap
from etl.wire.transport import Limits, Post

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CampaignAccess:
    """Who logs in where, and the limits of every call."""

    mandator: int
    user: str
    password: str = field(repr=False)
    endpoint: str
    """Like https://api.campaign.episerver.net/soap11/; plain http to loopback addresses only."""
    ca_file: Path | None = None
    """Authorities to trust instead of the system's, PEM."""
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    call_seconds: float = 120.0
    session_minutes: float = 15.0
    """A session dies 20 minutes after its login, used or not."""
    media_type: str = "EMAIL"
    live_check_rows: int = 1000
    """Ids or addresses in one containsAll or areBlacklisted call."""
    short_items: bool = False
    """Send array items without their type: shorter, not yet seen on a real account."""


@dataclass(frozen=True, slots=True)
class _Login:
    """A session id and when it was asked for, by the monotonic clock."""

    id: str = field(repr=False)
    since: float


class CampaignSession:
    """One login of one client (mandator), shared by whatever calls Campaign for it."""

    def __init__(self, access: CampaignAccess, clock: Clock) -> None:
        """Load the WSDLs and check the endpoint; ValueError when one is wrong. Calls nothing."""
        limits = Limits(access.connect_seconds, access.read_seconds, access.call_seconds)
        self.access = access
        self._clock = clock
        self._soap = Soap(
            Post(access.endpoint, access.ca_file, limits), short_items=access.short_items
        )
        self._login: _Login | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"CampaignSession(mandator={self.access.mandator}, soap={self._soap!r})"

    def ask(self, call: Call, read: Callable[[Answer], T]) -> T:
        """Make a call and read its answer; the session id is put before its values.

        Made once more with a new session if the session id was refused: that means that the call
        was not carried out, so even clear may follow it.
        """
        login = self._current()
        try:
            return self._soap.ask(_with_id(call, login), read)
        except SessionLost:
            self._forget(login)
        login = self._current()
        try:
            return self._soap.ask(_with_id(call, login), read)
        except SessionLost as lost:
            refusal = lost.refusal
        self._forget(login)
        raise refusal

    def close(self) -> None:
        """Log out, if that can be done, and close the connections; the next call logs in anew."""
        with self._lock:
            login, self._login = self._login, None
        if login is not None:
            # The session ends by itself in minutes; a far side that is away is no trouble here.
            with suppress(EtlError, SessionLost):
                self._soap.ask(Call("Session", "logout", (login.id,)), answers.nothing)
        self._soap.close()

    def _current(self) -> _Login:
        """Return a login that is young enough, a new one if need be."""
        with self._lock:
            now = self._clock.monotonic()
            login = self._login
            if login is None or now - login.since >= self.access.session_minutes * 60:
                self._login = None
                login = self._login = self._log_in(now)
            return login

    def _forget(self, login: _Login) -> None:
        with self._lock:
            if self._login is login:
                self._login = None

    def _log_in(self, now: float) -> _Login:
        """Log in; whatever fails here, the call that needs the login was not sent."""
        lost: FarSideRefused | FarSideUnavailable
        try:
            return _Login(self._new_id(), now)
        except FarSideUnavailable as unavailable:
            unavailable.in_doubt = False
            raise
        except FarSideRefused as refused:
            if refused.code != "call-refused":
                raise
            # Whatever the words: this user cannot log in from this address.
            lost = FarSideRefused("campaign-login", **refused.facts)
        except SessionLost as session:
            lost = session.refusal
        raise lost

    def _new_id(self) -> str:
        """Ask for a session and choose the media type, by which Campaign checks recipients."""
        access = self.access
        login = Call("Session", "login", (access.mandator, access.user, access.password))
        identity = self._soap.ask(login, answers.text)
        if not identity:
            raise FarSideUnavailable("campaign-answer", call="login", detail="no session id")
        channel = Call("Session", "setMediaType", (identity, access.media_type))
        self._soap.ask(channel, answers.nothing)
        return identity


def _with_id(call: Call, login: _Login) -> Call:
    return replace(call, values=(login.id, *call.values))
