"""One POST: pinned to the judged address, no redirect followed, bounded in bytes and time."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from hub.community.webhooks import posting
from hub.community.webhooks.addresses import NotReachable
from hub.community.webhooks.posting import MAX_EXCERPT_CHARACTERS, post
from tests.hub.receivers import serve


def send(url: str, **more):
    return post(url, headers={"Content-Type": "application/json"}, body=b"{}", **more)


def test_the_connection_goes_to_the_address_that_was_judged_and_names_the_host(receiver, names):
    """Rebinding: the name leads elsewhere a moment later."""
    names.table["hooks.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    assert send(f"http://hooks.example:{receiver.port}/hook?a=1").status == 200
    ((headers, body),) = receiver.requests
    assert (headers["Host"], body) == (f"hooks.example:{receiver.port}", b"{}")
    assert names.asked == ["hooks.example"]  # once: nothing looks the name up again to connect
    with pytest.raises(NotReachable, match="public address"):
        send(f"http://hooks.example:{receiver.port}/hook")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(receiver, status):
    receiver.statuses = [status]
    receiver.headers = {"Location": f"http://127.0.0.1:{receiver.port}/inside", "Content-Length": "0"}
    assert send(receiver.url).status == status
    assert len(receiver.requests) == 1


def test_the_second_address_of_a_name_is_taken_when_the_first_does_not_answer(receiver, names, settings):
    from hub.site.env import env_networks

    settings.WEBHOOK_ALLOWED_NETWORKS = env_networks("NO_SUCH_VARIABLE", "127.0.0.0/8")
    names.table["hooks.example"] = [["127.0.0.9", "127.0.0.1"]]  # nothing listens at the first
    assert send(f"http://hooks.example:{receiver.port}/").status == 200


def test_an_answer_is_kept_as_an_excerpt_without_signs_that_act(receiver):
    receiver.body = b"\x1b[2Jno\0 \xff<b>" + b"x" * 100_000
    answer = send(receiver.url)
    assert len(answer.excerpt) == MAX_EXCERPT_CHARACTERS
    assert answer.excerpt.startswith("[2Jno \ufffd<b>xxx")


def test_a_receiver_that_drips_is_cut_off_in_time(receiver):
    receiver.drips = True
    started = time.monotonic()
    with pytest.raises(NotReachable, match="did not answer within 0.2 seconds"):
        send(receiver.url, timeout_s=0.2)
    assert time.monotonic() - started < 5


def test_what_speaks_no_http_takes_no_connection_or_breaks_off_is_told_apart(settings, receiver):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer_once(words: bytes) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(words)

        for words, sentence in ((b"220 mail.example ESMTP\r\n", "not in HTTP"), (b"", "broke off")):
            thread = threading.Thread(target=answer_once, args=(words,), daemon=True)
            thread.start()
            with pytest.raises(NotReachable, match=sentence):
                send(f"http://127.0.0.1:{port}/")
            thread.join(5)
    with pytest.raises(NotReachable, match="takes no connection"):
        send(f"http://127.0.0.1:{port}/")
    with pytest.raises(NotReachable, match="does not speak TLS"):
        send(receiver.url.replace("http:", "https:"))


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate for hooks.example, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    path = tmp_path / "hooks.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_with_https_the_certificate_is_checked_against_the_name_although_the_address_is_pinned(
    receiver, names, certificate, monkeypatch
):
    names.table |= {"hooks.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}
    asked: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: asked.append(name)
    secured = serve(lambda sock: context.wrap_socket(sock, server_side=True))
    tls = next(secured)
    with pytest.raises(NotReachable, match="certificate of hooks.example is not accepted"):
        send(f"https://hooks.example:{tls.port}/")
    trust = ssl.create_default_context
    monkeypatch.setattr(posting.ssl, "create_default_context", lambda: trust(cafile=str(certificate)))
    assert send(f"https://hooks.example:{tls.port}/").status == 200
    with pytest.raises(NotReachable, match="certificate of other.example is not accepted"):
        send(f"https://other.example:{tls.port}/")
    assert asked == ["hooks.example", "hooks.example", "other.example"]
    assert [headers["Host"] for headers, _ in tls.requests] == [f"hooks.example:{tls.port}"]
    assert next(secured, None) is None
