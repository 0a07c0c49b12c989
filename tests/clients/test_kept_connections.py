"""A client that keeps its connection may ask on it again, also after an answer that was given before its body came: such a
connection used to be closed behind the answer without a word, and now and then a stock client's next request died of it
("Server disconnected without sending a response")."""

import http.client
import time

import pytest

from hub.site.bodies import DRAINED_BYTES
from tests.clients.running_hub import TOKENS, RunningHub

LATE_S = 0.1  # after the headers, when the answer is long known


def post_late(connection: http.client.HTTPConnection, body: bytes, **headers: str) -> http.client.HTTPResponse:
    connection.putrequest("POST", "/api/nothing/is/here")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.putheader("Authorization", f"Bearer {TOKENS['alice']}")
    connection.endheaders()
    time.sleep(LATE_S)
    connection.send(body)
    answer = connection.getresponse()
    answer.read()
    return answer


@pytest.mark.parametrize("how", ["announced", "chunked"])
def test_an_early_answer_keeps_the_connection(granian_server: RunningHub, how: str):
    connection = http.client.HTTPConnection("127.0.0.1", granian_server.port, timeout=20)
    body = b'{"name": "somewhere"}'
    if how == "announced":
        answer = post_late(connection, body, Content_Length=str(len(body)))
    else:
        answer = post_late(connection, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), Transfer_Encoding="chunked")
    assert answer.status == 404
    used = connection.sock
    time.sleep(LATE_S)  # so that a hang-up would have come
    connection.request("GET", "/api/whoami-v2", headers={"Authorization": f"Bearer {TOKENS['alice']}"})
    assert connection.getresponse().status == 200
    assert connection.sock is used


def test_clients_that_announce_bodies_and_send_none_keep_nobody_waiting(granian_server: RunningHub):
    """Each held a thread until it went away; there are 64."""
    silent = [http.client.HTTPConnection("127.0.0.1", granian_server.port, timeout=20) for _ in range(80)]
    try:
        for connection in silent:
            connection.putrequest("POST", "/api/nothing/is/here")
            connection.putheader("Content-Length", "1000")
            connection.endheaders()
        began = time.monotonic()
        assert granian_server.call("GET", "/api/whoami-v2", person="alice").status_code == 200
        assert time.monotonic() - began < 5
    finally:
        for connection in silent:
            connection.close()


def test_a_connection_that_ends_behind_an_answer_says_so(granian_server: RunningHub):
    connection = http.client.HTTPConnection("127.0.0.1", granian_server.port, timeout=20)
    answer = post_late(connection, b"{}", Content_Length=str(DRAINED_BYTES + 1))
    assert (answer.status, answer.headers["Connection"]) == (404, "close")


def test_who_waits_to_be_told_may_keep_the_body(granian_server: RunningHub):
    """`Expect: 100-continue`, of git and curl: the answer is enough, nothing is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", granian_server.port, timeout=20)
    answer = post_late(connection, b"", Content_Length="5", Expect="100-continue")
    assert (answer.status, answer.headers["Connection"]) == (404, "close")
