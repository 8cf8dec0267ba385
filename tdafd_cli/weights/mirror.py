"""A mirror: the server or the folder that weights are fetched from."""

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from platformdirs import user_config_path

from tdafd_cli.configuration import read_configuration
from tdafd_cli.errors import WeightsError
from tdafd_cli.weights.registry import Entry

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int], None]
"""Called with the number of bytes received and the number of all."""

URL_VARIABLE = "TDAFD_WEIGHTS_URL"
OFFLINE_VARIABLE = "TDAFD_OFFLINE"
TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})  # RFC 9110, RFC 6585, RFC 8470
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Mirror:
    """Where to fetch from, with time limits and retries.

    Attributes
    ----------
    url : str, optional
        Address below which an entry's sources are: http, https or file.
    offline : bool
        Whether the network must not be touched; a folder may be.
    timeout : float
        Seconds to wait for a connection, or for the next bytes.
    attempts : int
        How often to try what may succeed later.
    pause : float
        Seconds before the second attempt; doubled before each one after it.
    """

    url: str | None = None
    offline: bool = False
    timeout: float = 30.0
    attempts: int = 4
    pause: float = 1.0


class _TemporaryError(WeightsError):
    """A failure that may not happen again a little later."""


class _Receiver:
    """File-like, as pooch wants it: counts and hashes what arrives, and refuses a surplus."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self.file, self.size, self.progress = file, size, progress
        self.received = 0
        self.digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.received > self.size:
            raise WeightsError(f"is larger than the {self.size} bytes of the registry")
        self.digest.update(chunk)
        self.file.write(chunk)
        if self.progress is not None:
            self.progress(self.received, self.size)

    def flush(self) -> None:
        """Leave the buffer alone: pooch asks after every chunk."""


def configured_mirror() -> Mirror:
    """Mirror that the environment names, or else the user's configuration file.

    Raises
    ------
    WeightsError
        If the configuration file or the address is unusable.
    """
    url = os.environ.get(URL_VARIABLE)
    origin = URL_VARIABLE
    if not url:
        url, origin = _url_in_configuration(), str(configuration_path())
    if url and not _is_address(url):
        raise WeightsError(
            f"{origin}: not the address of a mirror; give one such as https://host/folder or "
            "file:///folder"
        )
    offline = os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")
    return Mirror(url or None, offline)


def configuration_path() -> Path:
    """The user's configuration file; it need not exist."""
    return user_config_path("tdafd", appauthor=False) / "config.toml"


def check_mirror(entry: Entry, mirror: Mirror) -> None:
    """Raise `WeightsError`, with advice, if nothing can be fetched from a mirror."""
    if mirror.url is None:
        raise WeightsError(
            f"{entry.name}: no mirror to download from is known; set {URL_VARIABLE} to the "
            f"address of one (https://, http:// or file://), or url under [weights] in "
            f"{configuration_path()}, or give a .safetensors file"
        )
    if mirror.offline and urlsplit(mirror.url).scheme != "file":
        raise WeightsError(
            f"{entry.name}: {OFFLINE_VARIABLE} forbids to download it; unset that, or set "
            f"{URL_VARIABLE} to a folder's file:// address"
        )


def fetch(
    entry: Entry, mirror: Mirror, file: BinaryIO, *, progress: Progress | None = None
) -> None:
    """Write an entry's file, whose size and SHA-256 are checked, into an open one.

    Parameters
    ----------
    entry : Entry
        Its sources are tried in their order.
    mirror : Mirror
    file : binary file
        Emptied before every attempt; after a failure it holds anything.
    progress : callable, optional

    Raises
    ------
    WeightsError
        In one line, why the last source failed.
    OSError
        If ``file`` cannot be written.

    Notes
    -----
    Proxies and certificates are those of the usual variables: ``HTTPS_PROXY``, ``HTTP_PROXY``,
    ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``.
    """
    check_mirror(entry, mirror)
    assert mirror.url is not None
    for number, source in enumerate(entry.sources, start=1):
        url = _joined(mirror.url, source)
        try:
            _fetch_patiently(entry, url, mirror, file, progress)
        except WeightsError as error:
            if number == len(entry.sources):
                raise WeightsError(
                    f"{entry.name}: {shown_address(url)}: {error}; see to the mirror, or set "
                    f"{URL_VARIABLE} to another"
                ) from error
        else:
            return


def _fetch_patiently(
    entry: Entry, url: str, mirror: Mirror, file: BinaryIO, progress: Progress | None
) -> None:
    for attempt in range(1, mirror.attempts):
        try:
            _fetch_once(entry, url, mirror.timeout, file, progress)
        except _TemporaryError:
            time.sleep(mirror.pause * 2 ** (attempt - 1))
        else:
            return
    _fetch_once(entry, url, mirror.timeout, file, progress)


def _fetch_once(
    entry: Entry, url: str, timeout: float, file: BinaryIO, progress: Progress | None
) -> None:
    file.seek(0)
    file.truncate()
    receiver = _Receiver(file, entry.size, progress)
    if urlsplit(url).scheme == "file":
        _copy(url, receiver)
    else:
        _download(url, timeout, receiver)
    if receiver.received < entry.size:
        raise _TemporaryError(
            f"sent {receiver.received} bytes, not the {entry.size} of the registry"
        )
    if receiver.digest.hexdigest() != entry.sha256:
        raise WeightsError(f"has not the SHA-256 {entry.sha256} of the registry")


def _copy(url: str, receiver: _Receiver) -> None:
    for chunk in _chunks(Path(url2pathname(urlsplit(url).path))):
        receiver.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}") from error


def _download(url: str, timeout: float, receiver: _Receiver) -> None:
    import pooch  # brings requests, which takes half a second

    with _translated(timeout), ExitStack() as answers:  # which pooch leaves open if it fails

        def keep(answer: "requests.Response", *_: object, **__: object) -> None:
            answers.callback(answer.close)

        hooks = {"response": keep}
        pooch.HTTPDownloader(chunk_size=CHUNK_BYTES, timeout=timeout, hooks=hooks)(
            url, receiver, None
        )


@contextmanager
def _translated(timeout: float) -> Iterator[None]:
    """Turn the errors of requests into those of weights, temporary or not."""
    import requests
    from requests.exceptions import ChunkedEncodingError, SSLError

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        kind = _TemporaryError if status in TEMPORARY_STATUSES else WeightsError
        raise kind(f"answered {status} {_phrase(status)}".rstrip()) from error
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        kind = WeightsError if isinstance(error, SSLError) else _TemporaryError
        raise kind(_reason(error, timeout)) from error
    except (requests.RequestException, ValueError) as error:  # such as an impossible length
        raise WeightsError(f"cannot be used ({type(error).__name__})") from error


def _phrase(status: int) -> str:
    """Standard phrase for a status, as the server's own may be any text."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def _reason(error: Exception, timeout: float) -> str:
    """Why a connection failed, from the error and its causes."""
    from requests.exceptions import ProxyError, Timeout
    from urllib3.exceptions import ReadTimeoutError

    causes = list(_causes(error))
    if any(isinstance(cause, Timeout | ReadTimeoutError) for cause in causes):
        return f"no answer within {timeout:g} s"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its certificate is not trusted; REQUESTS_CA_BUNDLE can name the trusted ones' file"
    if isinstance(error, ProxyError):
        return "the proxy that HTTPS_PROXY or HTTP_PROXY names does not help"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "no such host"
    reasons = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return reasons[-1] if reasons else "the connection broke"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost")
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _joined(base: str, source: str) -> str:
    """Address of a source, with the base's query, if any, at its end."""
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{source}").geturl()


def shown_address(url: str) -> str:
    """An address without the password or the token that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _url_in_configuration() -> str | None:
    path = configuration_path()
    url = read_configuration(path, WeightsError).get("weights", {}).get("url")
    if url is not None and not isinstance(url, str):
        raise WeightsError(
            f"{path}: url under [weights] must be text, got {url!r}; put it in quotes"
        )
    return url
