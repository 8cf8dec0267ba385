import gzip
import io
import os
import shutil
import socket
import ssl
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tdafd_cli.errors import WeightsError
from tdafd_cli.weights.mirror import Mirror, configuration_path, configured_mirror, fetch


@pytest.fixture
def mirror(site):
    """Mirror that is asked in quick succession."""
    return Mirror(site.server.url, timeout=5, pause=0.01)


def fetched(site, mirror, **options):
    file = io.BytesIO()
    fetch(site.entry, mirror, file, **options)
    return file.getvalue()


def refusal(site, mirror):
    with pytest.raises(WeightsError) as caught:
        fetched(site, mirror)
    message = str(caught.value)
    assert message.startswith("tdafd-x3: ")
    assert "\n" not in message
    assert "TDAFD_WEIGHTS_URL" in message
    return message


def status(number):
    return lambda handler, content: handler.send_error(number)


def cut(handler, content):
    handler.answer(content[:1000], length=len(content))


def cut_without_length(handler, content):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content[:1000])


def body(content):
    return lambda handler, _: handler.answer(content)


def redirect(target):
    def answer(handler, content):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_good_file_arrives_with_one_request(site, mirror):
    told = []
    assert fetched(site, mirror, progress=lambda *bytes_: told.append(bytes_)) == site.content
    assert site.server.asked == ["/tdafd-x3/1.2/tdafd-x3.safetensors"]
    assert told == sorted(told)
    assert told[-1] == (300_000, 300_000)


def test_a_missing_file_is_told_at_once(site, mirror):
    site.server.files.clear()
    assert "/tdafd-x3.safetensors: answered 404 Not Found; " in refusal(site, mirror)
    assert len(site.server.asked) == 1


@pytest.mark.parametrize("number", [403, 410, 501])
def test_a_lasting_refusal_is_not_asked_again(site, mirror, number):
    site.server.script = [status(number)]
    assert f"answered {number} " in refusal(site, mirror)
    assert len(site.server.asked) == 1


@pytest.mark.parametrize(
    "failure", [status(500), status(503), status(429), cut, cut_without_length]
)
def test_what_fails_for_a_while_is_asked_again(site, mirror, failure):
    site.server.script = [failure, failure]
    assert fetched(site, mirror) == site.content
    assert len(site.server.asked) == 3


def test_what_goes_on_failing_is_told(site, mirror):
    site.server.script = [status(500)] * 9
    assert "answered 500 Internal Server Error" in refusal(site, mirror)
    assert len(site.server.asked) == mirror.attempts
    site.server.script = [cut] * 9
    assert "the connection broke; " in refusal(site, mirror)
    site.server.script = [cut_without_length] * 9
    assert "sent 1000 bytes, not the 300000" in refusal(site, mirror)


def test_pauses_double(site, mirror, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    site.server.script = [status(500)] * 3
    fetched(site, replace(mirror, pause=1.0))
    assert pauses == [1, 2, 4]


def test_a_wrong_hash_is_told_at_once(site, mirror):
    site.server.script = [body(site.content[:-1] + b"?")]
    assert f"has not the SHA-256 {site.entry.sha256}" in refusal(site, mirror)
    assert len(site.server.asked) == 1


def test_a_surplus_is_refused_before_it_fills_the_disk(site, mirror):
    def endless(handler, content):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(bytes(1 << 16))
        pytest.fail("131 MB were taken")

    site.server.script = [endless]
    file = io.BytesIO()
    with pytest.raises(WeightsError, match="is larger than the 300000 bytes of the registry"):
        fetch(site.entry, mirror, file)
    assert file.tell() <= site.entry.size


def test_an_empty_file_is_told(site, mirror):
    site.server.script = [body(b"")] * 9
    assert "sent 0 bytes, not the 300000" in refusal(site, mirror)


def test_redirection_is_followed(site, mirror):
    site.server.files["/moved"] = site.content
    site.server.script = [redirect("/moved")]
    assert fetched(site, mirror) == site.content


def test_endless_redirection_is_told(site, mirror):
    site.server.script = [redirect(f"/{site.entry.place}")] * 99
    assert "cannot be used (TooManyRedirects)" in refusal(site, mirror)


def test_redirection_to_a_local_file_is_refused(site, mirror, tmp_path):
    (tmp_path / "secret").write_bytes(site.content)
    site.server.script = [redirect((tmp_path / "secret").as_uri())]
    assert "cannot be used (InvalidSchema)" in refusal(site, mirror)


def test_headers_that_make_no_sense_are_told(site, mirror):
    def nonsense(handler, content):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: much\r\n\r\nabc")

    site.server.script = [nonsense]
    assert "cannot be used (ValueError)" in refusal(site, mirror)


def test_a_compressing_server_changes_nothing(site, mirror):
    def compressed(handler, content):
        packed = gzip.compress(content)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    site.server.script = [compressed]
    assert fetched(site, mirror) == site.content


def test_refused_connection_is_told(site, mirror):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    assert f"{url}/tdafd-x3/1.2/tdafd-x3.safetensors: Connection refused; " in refusal(
        site, replace(mirror, url=url)
    )


def test_unknown_host_is_told(site, mirror):
    assert "no such host" in refusal(site, replace(mirror, url="http://mirror.invalid"))


@pytest.mark.parametrize("sent", [0, 1000])
def test_slow_server_is_given_up(site, mirror, sent):
    released = threading.Event()

    def stall(handler, content):
        if sent:
            handler.answer(content[:sent], length=len(content))
        released.wait(10)

    site.server.script = [stall] * 2
    try:
        message = refusal(site, replace(mirror, timeout=0.2, attempts=2))
    finally:
        released.set()
    assert "no answer within 0.2 s" in message
    assert len(site.server.asked) == 2


def test_later_sources_are_tried(site, mirror):
    entry = replace(site.entry, sources=(site.entry.place, "flat.safetensors"))
    site.server.files = {"/flat.safetensors": site.content}
    file = io.BytesIO()
    fetch(entry, mirror, file)
    assert file.getvalue() == site.content


def test_address_may_have_a_folder_and_a_query(site, mirror):
    site.server.files = {f"/weights/{site.entry.place}": site.content}
    url = f"{site.server.url}/weights/?token=1"
    assert fetched(site, replace(mirror, url=url)) == site.content
    assert site.server.asked == [f"/weights/{site.entry.place}?token=1"]


def test_passwords_and_tokens_are_not_told(site, mirror):
    site.server.files.clear()
    url = site.server.url.replace("//", "//user:secret@") + "/?token=secret"
    assert "secret" not in refusal(site, replace(mirror, url=url))


def test_a_folder_is_a_mirror(site, tmp_path):
    folder = tmp_path / "a folder"
    mirror = Mirror(folder.as_uri(), offline=True)
    assert "cannot be read: No such file or directory" in refusal(site, mirror)
    path = folder / site.entry.place
    path.parent.mkdir(parents=True)
    path.write_bytes(site.content)
    assert fetched(site, mirror) == site.content
    path.write_bytes(site.content[::-1])
    assert "has not the SHA-256" in refusal(site, mirror)


def test_offline_means_no_request(site, mirror):
    message = refusal(site, replace(mirror, offline=True))
    assert "TDAFD_OFFLINE forbids" in message
    assert not site.server.asked


def test_without_a_mirror_it_is_told_how_to_name_one(site):
    message = refusal(site, Mirror())
    assert "no mirror to download from is known; set TDAFD_WEIGHTS_URL" in message
    assert f"url under [weights] in {configuration_path()}" in message


def test_proxy_of_the_environment_is_used(site, mirror, monkeypatch):
    url = "http://mirror.invalid"
    monkeypatch.setenv("http_proxy", site.server.url)
    assert fetched(site, replace(mirror, url=url)) == site.content
    assert site.server.asked == [f"{url}/{site.entry.place}"]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    message = refusal(site, replace(mirror, url=url, attempts=1))
    assert "the proxy that HTTPS_PROXY or HTTP_PROXY names" in message


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates_of_the_environment_are_used(site, mirror, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    mirror = replace(mirror, url=site.server.url.replace("http:", "https:"))
    assert "its certificate is not trusted; REQUESTS_CA_BUNDLE" in refusal(site, mirror)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert fetched(site, mirror) == site.content


def test_mirror_is_that_of_the_environment_or_else_of_the_configuration(site, monkeypatch):
    assert configured_mirror() == Mirror(site.server.url)
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    assert configured_mirror() == Mirror(None)
    path = configuration_path()
    path.parent.mkdir(parents=True)
    path.write_text('[weights]\nurl = "https://host/folder"\n')
    assert configured_mirror() == Mirror("https://host/folder")
    monkeypatch.setenv("TDAFD_WEIGHTS_URL", "file:///folder")
    assert configured_mirror() == Mirror("file:///folder")


@pytest.mark.parametrize(
    ("text", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_offline_is_asked_for_by_the_environment(site, monkeypatch, text, offline):
    monkeypatch.setenv("TDAFD_OFFLINE", text)
    assert configured_mirror().offline is offline


@pytest.mark.parametrize(
    "url",
    ["/mnt/mirror", "host/folder", "ftp://host", "file://mnt/mirror", "https://", "http://[::1"],
)
def test_address_that_is_none_is_told(site, monkeypatch, url):
    monkeypatch.setenv("TDAFD_WEIGHTS_URL", url)
    with pytest.raises(WeightsError, match="TDAFD_WEIGHTS_URL: not the address of a mirror"):
        configured_mirror()


@pytest.mark.parametrize("text", ["[", "weights = 1", "[weights]\nurl = 1", "[weights]\nurl = 'x'"])
def test_configuration_that_is_none_is_told(site, monkeypatch, text):
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    path = configuration_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"config\.toml: ") as caught:
        configured_mirror()
    assert "\n" not in str(caught.value)


def test_configuration_is_where_the_platform_keeps_it(site):
    if os.name == "posix":
        assert configuration_path().parts[-2:] == ("tdafd", "config.toml")
    assert isinstance(configuration_path(), Path)
