"""Pictures behind URLs, fetched here from public addresses alone, so that no server behind fetches any.

The name is looked up once, every address must be public, and the connection goes to the one that was
looked at: a name that changes its address meanwhile changes nothing. Redirects are not followed, and
proxies not used.
"""

import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from foveate.serving.asgi import Refusal

PORTS = {"http": 80, "https": 443}
HEADERS = {"User-Agent": "foveate", "Accept": "image/*, video/*", "Connection": "close"}
NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 addresses in IPv6 ones


def is_url(text: str) -> bool:
    """Whether it is a URL of http or https."""
    return text[:8].lower().startswith(("http://", "https://"))


def fetched(url: str, most: int, seconds: float) -> bytes:
    """What is behind a URL.

    Args:
        url: of http or https.
        most: bytes that it may have.
        seconds: for all of it.

    Raises:
        Refusal: 400, an address that is not public, no answer in time, a redirect, or too many bytes.
    """
    where = _split(url)
    port = where.port or PORTS[where.scheme]
    address = public_address(where.hostname or "", port)
    deadline = _Deadline(seconds)
    try:
        with deadline:
            deadline.line = socket.create_connection((address, port), seconds)
            data = _got(deadline, where, most)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, Refusal) and not deadline.passed:
            raise
        late = f"it took more than {seconds:.0f} seconds"
        why = late if deadline.passed else str(error)[:200]
        raise Refusal(400, f"cannot fetch {url[:80]!r}: {why}") from None
    return data


class _Deadline:
    """Shuts a connection some time after the `with` began, and raises a `TimeoutError` at its end then.

    A server that sends a byte now and then never runs into a socket's own timeout.
    """

    def __init__(self, seconds: float) -> None:
        self.line: socket.socket | None = None
        self.passed = False
        self._timer = threading.Timer(seconds, self._shut)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self.line is not None:
            self.line.close()
        if self.passed:
            raise TimeoutError

    def _shut(self) -> None:
        self.passed = True
        if self.line is not None:
            with suppress(OSError):
                # that of TLS would forget its state under the reader
                socket.socket.shutdown(self.line, socket.SHUT_RDWR)


def public_address(host: str, port: int) -> str:
    """The address of a host.

    Args:
        host: name or address.
        port: to be connected.

    Raises:
        Refusal: 400, an unknown host, or one that has an address that is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refusal(400, f"cannot find the host {host[:80]!r}: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not all(map(is_public, addresses)):
        raise Refusal(400, f"the host {host[:80]!r} is not public; its pictures are not fetched")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is of the public internet, and stands for no other."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in NAT64:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _split(url: str) -> SplitResult:
    try:
        where = urlsplit(url)
        known = where.scheme in PORTS and where.hostname and where.port != 0
    except ValueError:
        known, where = False, SplitResult("", "", "", "", "")
    if not known or where.username is not None or where.password is not None:
        raise Refusal(
            400, f"a URL must be http(s)://HOST/PATH without a password, got {url[:80]!r}"
        )
    return where


def _got(deadline: _Deadline, where: SplitResult, most: int) -> bytes:
    line = deadline.line
    assert line is not None
    if where.scheme == "https":
        line = deadline.line = ssl.create_default_context().wrap_socket(
            line, server_hostname=where.hostname, do_handshake_on_connect=False
        )
        line.do_handshake()
    connection = HTTPConnection(where.netloc)
    connection.sock = line
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    connection.request("GET", target, headers=HEADERS)
    with connection.getresponse() as answer:
        if answer.status != 200:
            more = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise Refusal(400, f"{where.hostname} answered {answer.status}{more}")
        data = answer.read(most + 1)
        if len(data) > most:
            raise Refusal(400, f"what {where.hostname} sends has more than {most:,} bytes")
        if answer.length:
            raise Refusal(400, f"what {where.hostname} sends is cut short")
    return data
