"""Attacks on where a delivery may go: nothing inside the hub's own network is ever reached, however it is named."""

import ipaddress

import pytest

from hub.common.errors import InvalidInput
from hub.community.webhooks.addresses import NotReachable, look_up, may_reach, read_url
from hub.site.env import EnvError, env_networks

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "3fff::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "2001:0:53aa:64c::1",
]  # fmt: skip
OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::808:808",
]
# As a URL writes them: the system's resolver takes each of these for an address inside.
DISGUISED = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0", "0x0", "127.0.0.1.",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[fe80::1%25eth0]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "ⓛocalhost", "127。0。0。1", "１２７.0.0.1", "2852039166",
    "metadata.google.internal", "printer.local", "10.0.0.1", "169.254.169.254",
]  # fmt: skip
MALFORMED = [
    "", "example.org/hook", "//example.org", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "javascript:alert(1)",
    "http://", "http:///hook", "http://?", "http://user@example.org/", "http://user:word@example.org/", "http://@example.org/",
    "http://example.org:0/", "http://example.org:65536/", "http://example.org:x/", "http://exa mple.org/", "http://example.org/a b",
    "http://example.org/\r\nX-Evil: 1", "http://example.org\\@127.0.0.1/", "http://example.org/\x00",
    "http://example.org/\ud800", "http://example.org/\u202egpj", "http://[::1", "http://[zz]/",
    "http://exa%6dple.org/", "http://-example.org/", "http://example..org#@127.0.0.1:80\\/", "http://" + "x" * 300 + ".org/",
    "https://example.org/" + "x" * 2000, "http://127.0.0.1#@example.org/", "http://a\ud800.org/",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_allowed(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = []


def test_addresses_inside_are_not_reached_and_public_ones_are():
    wrong = [text for text in INSIDE if may_reach(ipaddress.ip_address(text))]
    wrong += [text for text in OUTSIDE if not may_reach(ipaddress.ip_address(text))]
    assert wrong == []


def test_an_address_in_disguise_is_refused_when_it_is_given():
    for host in DISGUISED:
        with pytest.raises(InvalidInput) as refusal:
            read_url(f"http://{host}:8080/hook")
        assert "public address" in refusal.value.message or "give a public one" in refusal.value.message, host


def test_what_is_no_url_for_a_delivery_is_refused_with_a_sentence():
    for text in MALFORMED:
        with pytest.raises(InvalidInput) as refusal:
            read_url(text)
        assert refusal.value.message.endswith("."), text


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("https://example.org", "example.org", 443, "/"),
        ("http://Example.ORG./a%20b?x=1&y=é#part", "example.org.", 80, "/a%20b?x=1&y=%C3%A9"),
        ("https://bücher.example:8443/ü", "xn--bcher-kva.example", 8443, "/%C3%BC"),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111", 81, "/"),
        ("http://8.8.8.8/", "8.8.8.8", 80, "/"),
    ],
)
def test_a_good_url_is_read(text, host, port, path):
    target = read_url(text)
    assert (target.host, target.port, target.path) == (host, port, path)


def test_a_name_that_leads_inside_looks_like_an_unknown_one(names):
    names.table |= {
        "inside.example": [["10.0.0.1"]],
        "mixed.example": [["8.8.8.8", "127.0.0.1"]],
        "empty.example": [[]],
    }
    sentences = set()
    for name in ("inside.example", "mixed.example", "empty.example", "unknown.example"):
        with pytest.raises(NotReachable) as refusal:
            look_up(read_url(f"http://{name}/"))
        sentences.add(str(refusal.value).replace(name, "NAME"))
    assert len(sentences) == 1, "the words tell which names exist inside"


def test_every_address_that_a_name_may_have_is_judged(names):
    for text in INSIDE:
        names.table["hooks.example"] = [[text]]
        with pytest.raises(NotReachable):
            look_up(read_url("http://hooks.example/"))
    names.table["hooks.example"] = [["2606:4700::1111", "8.8.8.8"]]
    assert [place[0] for _, place in look_up(read_url("http://hooks.example/"))] == ["2606:4700::1111", "8.8.8.8"]


def test_an_operator_allows_networks_and_nothing_beside_them(settings, monkeypatch):
    monkeypatch.setenv("WEBHOOK_ALLOWED_NETWORKS", "10.1.0.0/16, 127.0.0.1,fd00:1::/32")
    settings.WEBHOOK_ALLOWED_NETWORKS = env_networks("WEBHOOK_ALLOWED_NETWORKS", "")
    allowed = ["10.1.2.3", "127.0.0.1", "fd00:1::5", "::ffff:10.1.2.3", "8.8.8.8"]
    refused = ["10.2.0.1", "127.0.0.2", "::1", "fd00:2::5", "169.254.169.254", "::ffff:10.2.0.1"]
    assert [may_reach(ipaddress.ip_address(text)) for text in allowed + refused] == [True] * 5 + [False] * 6
    assert read_url("http://localhost:9000/hook").port == 9000  # judged by what it leads to


def test_a_network_that_cannot_be_read_stops_the_start_with_a_sentence(monkeypatch):
    for text in ("10.1.0.0/99", "10.1.0.1/16", "inside"):
        monkeypatch.setenv("WEBHOOK_ALLOWED_NETWORKS", text)
        with pytest.raises(EnvError, match="WEBHOOK_ALLOWED_NETWORKS"):
            env_networks("WEBHOOK_ALLOWED_NETWORKS", "")
