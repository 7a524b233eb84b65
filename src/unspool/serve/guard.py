"""Who may speak to the server: a token, and no page of another site."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from unspool.errors import bad_parameter
from unspool.serve.errors import RequestError

#: A token goes into a header, and from browsers into the name of a WebSocket's protocol.
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")
PROTOCOL, BEARER = "unspool.v1", "bearer."


def check_token(token: str | None, host: str) -> str | None:
    """`token` if it is one, and there where `host` is not this machine alone; else `InvalidParameterError`."""
    if token is not None and not TOKEN.fullmatch(token):
        expected = "16 to 256 letters, digits and . _ ~ -"
        bad_parameter("unspool serve", "token", expected, "another", "openssl rand -hex 24 makes one.")
    if token is None and not is_loopback(host):
        hint = "Others could use the models. Pass --token, or set UNSPOOL_TOKEN."
        bad_parameter("unspool serve", "host", "127.0.0.1, ::1 or localhost without a token", host, hint)
    return token


def is_loopback(host: str | None) -> bool:
    """Whether a host or an address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Guard:
    """Checks the headers of a request. token: what each must bear; None: the server is for this machine alone."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def check(self, headers: Mapping[str, str], open_to_all: bool) -> None:
        """headers: by lower-case names. open_to_all: a path that needs no token.

        Raises `RequestError`, 401 without the token, 403 for a request that a page of another site has sent, or, where
        there is no token, one by another name of this machine (which such a page could have it given).
        """
        host = headers.get("host", "")
        name = _name_of(host)
        if self.token is None and not is_loopback(name):
            raise RequestError(
                403, f"Without a token this server answers to localhost alone. Got the host {name!r:.80}."
            )
        origin = headers.get("origin")
        if origin is not None and _netloc(origin).lower() != host.lower():
            raise RequestError(403, "Pages of another site may not use this server.")
        if self.token is not None and not open_to_all and not self._borne(headers):
            raise RequestError(401, "This server needs the header 'Authorization: Bearer TOKEN'.")

    def _borne(self, headers: Mapping[str, str]) -> bool:
        assert self.token is not None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            offered = headers.get("sec-websocket-protocol", "").split(",")
            given = next((o.strip()[len(BEARER) :] for o in offered if o.strip().startswith(BEARER)), "")
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def _netloc(origin: str) -> str:
    """Host and port of an Origin header; "" where there is none, or what is there is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name_of(host: str) -> str:
    """The name in a Host header, without the port and the brackets of IPv6; "" for what is none."""
    try:
        return "" if "@" in host else urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
