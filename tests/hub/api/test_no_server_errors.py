"""Whatever a stranger types into an address, a query, a form or a JSON body, the answer is a refusal, never a fault.

Every address that the site knows is asked with hostile values in each of its parameters, by every method, as nobody and
signed in; then the services' own inputs (JSON, forms, headers) get the same values."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

pytestmark = pytest.mark.django_db(transaction=True)

DIGITS = "9" * 5000  # more than Python turns into a number
BEYOND = str(2**64)  # more than a database column holds
HOSTILE = [
    "0", "-1", BEYOND, DIGITS, "²", "１２", "1e9", "nan", "x" * 3000, "\0", "a\0b", "\ud800", "\udcff", "\x1b[2J", "\r\nX: y",
    "..", "../../etc/passwd", "main/../../x", ".git/config", "refs/heads/main", "refs/pr/1", "refs/pr/²", "refs/pr/" + BEYOND,
    "refs/convert/candidate_1", "refs/for/../main", "main~1", "main^{tree}", "@{u}", ":/x", "HEAD", "0" * 40, "f" * 40,
    "%", "%00", "%2e%2e%2f", "%zz", "'\"><script>alert(1)</script>", "{{7*7}}", "${x}", "\u202egpj", "é" * 300, "[]", "{}", "null",
    "main:" + BEYOND, "f" * 40 + ":²", "=?utf-8?", "a b", "~", "*", "", " ",
]  # fmt: skip
# What addresses call their parts -> values that lead somewhere.
USUAL: dict[str, list[str]] = {
    "type": ["model", "models"],
    "kind": ["models"],
    "prefix": ["datasets"],
    "namespace": ["alice"],
    "name": ["poems"],
    "rest": ["main", "main/README.md", "refs/pr/2/README.md"],
    "revision": ["main"],
    "number": ["1", "2"],
    "direction": ["read", "write"],
    "who": ["alice"],
    "check": ["prepare"],
    "act": ["run"],
}
QUERY = (
    "after seen p page limit cursor q search sort direction full expand recursive diff filter author type status kind state branch "
    "folder path size modified number job previous revision next code user_code s ticket include_prs create_pr service "
    "pull_request repo owner show from format start end lines view show_all tag licence task days"
).split()


def walk(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(address with {names} for its parameters, converters) of every pattern."""
    for pattern in resolver.url_patterns:
        route = pattern.pattern
        if isinstance(pattern, URLResolver):
            yield from walk(pattern, before + str(route))
        elif isinstance(pattern, URLPattern) and isinstance(route, RoutePattern):
            yield before + str(route), dict(route.converters)
        elif isinstance(route, RegexPattern):
            yield before + str(route).strip("^$").split("(")[0], {}


def fill(route: str, values: dict[str, str]) -> str:
    """The address with each <converter:name> replaced; not quoted: the test client hands over the path as it is."""
    for part in [piece.split(">")[0] for piece in route.split("<")[1:]]:
        route = route.replace(f"<{part}>", values[part.rpartition(":")[2]])
    return "/" + route


def addresses() -> list[tuple[str, str]]:
    """(pattern, address): each pattern as it is meant, and with every hostile value in each of its parameters in turn."""
    found: list[tuple[str, str]] = []
    for route, converters in walk(get_resolver()):
        usual = {name: USUAL.get(name, ["1"])[0] for name in converters}
        usual |= {name: "dataset" for name in converters if name == "type" and route.startswith("new/")}
        for name in converters:
            found += [(route, fill(route, usual | {name: value})) for value in USUAL.get(name, [])]
            found += [(route, fill(route, usual | {name: value})) for value in HOSTILE]
        found.append((route, fill(route, usual)))
    return list(dict.fromkeys(found))


@pytest.fixture
def town(cleared_at_once: None, alice: Any, bob: Any) -> dict[str, Any]:
    """alice/poems with a README, a discussion (1) and a pull request (2), of a model and of a dataset."""
    from hub.community.contributions import commit
    from hub.community.discussions import create_discussion
    from hub.repos.lifecycle import create_repo
    from hub.storage.git import AddFile

    for type in ("model", "dataset"):
        repo = create_repo(type=type, owner=alice.user, name="poems", by=alice.user)
        readme = [AddFile("README.md", b"---\nlicense: mit\n---\n# Poems\n")]
        commit(repo=repo, by=alice.user, revision="main", operations=readme, title="Add a card", door="api")
        create_discussion(repo=repo, by=bob.user, title="A question", text="Why?")
        change = [AddFile("README.md", b"# Better poems\n")]
        commit(repo=repo, by=bob.user, revision="main", operations=change, title="Better", create_pr=True, door="api")
    return {"nobody": Client(raise_request_exception=False), "token": signed_in(bob), "browser": in_browser(bob)}


def signed_in(person: Any) -> Client:
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {person.token}"})


def in_browser(person: Any) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person.user)
    return client


def ask(client: Client, method: str, address: str, **more: Any) -> int:
    """The status of the answer, read to its end: a stream may break on the way."""
    path = address.encode("utf-8", "surrogatepass").decode("latin-1")  # as WSGI hands bytes over
    answer = client.generic(method, "/", PATH_INFO=path, **more)
    if answer.streaming:
        b"".join(answer.streaming_content)
    return answer.status_code


def sample(items: list[Any], *, every: int, start: int = 0) -> list[Any]:
    return list(itertools.islice(items, start, None, every))


def assert_no_fault(faults: list[tuple[Any, ...]]) -> None:
    shown = "\n".join(str(tuple(str(part)[:160] for part in fault)) for fault in faults[:40])
    assert not faults, f"{len(faults)} faults:\n{shown}"


def test_no_address_breaks_on_hostile_parameters(town: dict[str, Any]) -> None:
    faults = []
    for route, address in addresses():
        for who in ("nobody", "browser"):
            status = ask(town[who], "GET", address)
            if status >= 500 and status not in (501, 503):
                faults.append((status, who, "GET", route, address))
    assert_no_fault(faults)


def test_no_address_breaks_on_a_hostile_query(town: dict[str, Any]) -> None:
    from urllib.parse import quote_from_bytes, urlencode

    faults = []
    values = [value.encode("utf-8", "surrogatepass") for value in (*HOSTILE, "x" * 3000)] + [b"\xff\xfe", b"%ff"]
    pages = [(route, fill(route, {n: USUAL.get(n, ["1"])[0] for n in names})) for route, names in walk(get_resolver())]
    for route, address in dict.fromkeys(pages):
        for value in values:
            query = "&".join(f"{name}={quote_from_bytes(value)}" for name in QUERY)
            status = ask(town["browser"], "GET", address, QUERY_STRING=query)
            if status >= 500 and status not in (501, 503):
                faults.append((status, "GET", route, f"?={value!r}"))
        every = [(name, value) for name in QUERY for value in ("1", BEYOND)]
        status = ask(town["token"], "GET", address, QUERY_STRING=urlencode(every))
        if status >= 500 and status not in (501, 503):
            faults.append((status, "GET", route, "?all"))
    assert_no_fault(faults)


FIELDS = (
    "name organization type private visibility gated description title text comment status verdict digest path paths content "
    "parent files sha256 size modified branch goes_to message objects operation oid hash_algo transfers repo recipe question "
    "revision previous temperature max_new_tokens seed tag startingPoint fromRepo toRepo summary user_code act device_code "
    "grant_type username email password fullname bio role days current new to typed_name q next owner sample gitIgnore "
    "lfsFiles deletedFiles expand repoType pullRequest draft reason clause state version notes commit subject settings "
    "answer prompt folder data columns base suite steps rank learning_rate action key value"
).split()


def bodies() -> list[Any]:
    """Values of every JSON field at once."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    texts: list[Any] = ["\0", "a\0b", "\ud800", "x" * 100_000, DIGITS, "²", "", " ", "../..", "f" * 40, "0" * 64]
    others: list[Any] = [None, True, -1, 2**64, 1e308, [], {}, [None], [{}], {"a": {"b": []}}, [[1]], deep, ["\ud800"], [2**64]]
    return texts + others


def test_no_door_breaks_on_a_hostile_json_body(town: dict[str, Any]) -> None:
    faults = []
    usual = [(route, fill(route, {n: USUAL.get(n, ["1"])[0] for n in names})) for route, names in walk(get_resolver())]
    raw = [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b'{"a": NaN}']
    sent = [json.dumps({field: value for field in FIELDS}).encode() for value in bodies()]
    for route, address in dict.fromkeys(usual):
        if not address.startswith(("/api", "/oauth", "/lfs", "/xet")) and "upload" not in address and ".git" not in address:
            continue
        for method, body in itertools.product(("POST", "PUT", "DELETE"), raw + sent):
            status = ask(town["token"], method, address, data=body, content_type="application/json")
            if status >= 500 and status not in (501, 503):
                faults.append((status, method, route, body[:80]))
            if method != "POST" and status == 405:
                break
    assert_no_fault(faults)


def test_no_page_breaks_on_a_hostile_form(town: dict[str, Any]) -> None:
    from urllib.parse import quote_from_bytes

    faults = []
    usual = [(route, fill(route, {n: USUAL.get(n, ["1"])[0] for n in names})) for route, names in walk(get_resolver())]
    values = [value.encode("utf-8", "surrogatepass") for value in HOSTILE] + [b"\xff", b"x" * 100_000]
    for route, address in dict.fromkeys(usual):
        if address.startswith(("/api", "/xet", "/lfs", "/logout")):
            continue
        for value in values:
            body = "&".join(f"{field}={quote_from_bytes(value)}" for field in FIELDS).encode()
            status = ask(town["browser"], "POST", address, data=body, content_type="application/x-www-form-urlencoded")
            if status >= 500 and status not in (501, 503):
                faults.append((status, route, value[:80]))
    assert_no_fault(faults)


@pytest.mark.parametrize("name", ["Authorization", "Range", "If-None-Match", "If-Range", "X-Request-Id", "Git-Protocol", "Cookie"])
def test_no_door_breaks_on_a_hostile_header(town: dict[str, Any], name: str) -> None:
    values = [
        "Bearer \xff", "Bearer ²", "Basic ////", "Basic AAAA", "bytes=-0", f"bytes={DIGITS}-", "bytes=²-", "bytes=5-1",
        "bytes=0-0,5-6", f"bytes=-{BEYOND}", '"', "W/", "version=9", "x" * 8000, "a\tb", "=;=;", "\xff\xfe",
    ]  # fmt: skip
    doors = [
        "/", "/alice/poems", "/alice/poems/resolve/main/README.md", "/alice/poems/raw/main/README.md", "/api/whoami-v2",
        "/api/models/alice/poems", "/alice/poems.git/info/refs", "/xet/v1/reconstructions/" + "0" * 64, "/lfs/download/x",
        "/api/v1/me",
    ]  # fmt: skip
    faults = []
    for address, value in itertools.product(doors, values):
        status = ask(town["nobody"], "GET", address, headers={name: value})
        if status >= 500 and status not in (501, 503):
            faults.append((status, address, name, value))
    assert_no_fault(faults)
