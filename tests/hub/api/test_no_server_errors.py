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
from django.urls.converters import IntConverter
from django.urls.resolvers import RegexPattern, RoutePattern
from django.utils import timezone

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
    "key": ["a" * 24],
    "delivery": ["b" * 32],
    "slug": ["shelf-" + "1" * 24],
    "item": ["2" * 24],
}
QUERY = (
    "after seen p page limit cursor q search sort direction full expand recursive diff filter author type status kind state branch "
    "folder path size modified number job previous revision next code user_code s ticket include_prs create_pr service "
    "pull_request repo owner show from format start end lines view show_all tag licence task days item"
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


def usual_addresses() -> list[tuple[str, str]]:
    """(pattern, address) of each pattern as it is meant."""
    found = [(route, fill(route, usual_values(route, names))) for route, names in walk(get_resolver())]
    return list(dict.fromkeys(found))


def usual_values(route: str, converters: dict[str, Any]) -> dict[str, str]:
    usual = {name: USUAL.get(name, ["1"])[0] for name in converters}
    return usual | ({"type": "dataset"} if route.startswith("new/") else {})


def addresses() -> list[tuple[str, str]]:
    """The same with hostile values in each of their parameters in turn. Names of repositories are looked up in one place,
    and the pages of the three types are the same: these share the values among them."""
    found = usual_addresses()
    for turn, (route, converters) in enumerate(walk(get_resolver())):
        usual = usual_values(route, converters)
        for name, converter in converters.items():
            values = [*USUAL.get(name, []), *HOSTILE]
            if isinstance(converter, IntConverter):
                values = ["0", BEYOND, DIGITS, "²", "１２"]
            elif name in ("namespace", "name", "type", "kind", "prefix") or route.startswith(("datasets/", "spaces/")):
                values = values[turn % 8 :: 8]
            found += [(route, fill(route, usual | {name: value})) for value in values]
    return list(dict.fromkeys(found))


@pytest.fixture
def town(cleared_at_once: None, alice: Any, bob: Any) -> dict[str, Any]:
    """alice/poems with a README, a discussion (1) and a pull request (2), of a model and of a dataset; a webhook of Bob's."""
    from hub.community.contributions import commit
    from hub.community.discussions import create_discussion
    from hub.community.social_models import Collection, CollectionItem
    from hub.community.webhooks.models import Delivery, Webhook
    from hub.repos.lifecycle import create_repo
    from hub.storage.git import AddFile

    for type in ("model", "dataset"):
        repo = create_repo(type=type, owner=alice.user, name="poems", by=alice.user)
        readme = [AddFile("README.md", b"---\nlicense: mit\n---\n# Poems\n")]
        commit(repo=repo, by=alice.user, revision="main", operations=readme, title="Add a card", door="api")
        create_discussion(repo=repo, by=bob.user, title="A question", text="Why?")
        change = [AddFile("README.md", b"# Better poems\n")]
        commit(repo=repo, by=bob.user, revision="main", operations=change, title="Better", create_pr=True, door="api")
    shelf = Collection.objects.create(owner_user=alice.user, title="Shelf", key="1" * 24)
    CollectionItem.objects.create(collection=shelf, repo=repo, key="2" * 24)
    webhook = Webhook.objects.create(key=USUAL["key"][0], owner=bob.user, url="https://example.org/hook")
    event = {"scope": "repo", "action": "create", "repo": repo.pk, "was_private": False}
    now = timezone.now()
    Delivery.objects.create(key=USUAL["delivery"][0], webhook=webhook, event=event, event_key="1", next_at=now)
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


def is_fault(status: int) -> bool:
    """What is not offered (501) and what is busy (503) are answers, too."""
    return status >= 500 and status not in (501, 503)


def is_repeated(route: str) -> bool:
    """The pages of datasets and spaces are those of models, once more."""
    return route.startswith(("datasets/", "spaces/"))


def assert_no_fault(faults: list[tuple[Any, ...]]) -> None:
    shown = "\n".join(str(tuple(str(part)[:160] for part in fault)) for fault in faults[:40])
    assert not faults, f"{len(faults)} faults:\n{shown}"


@pytest.mark.slow  # thousands of requests
def test_no_address_breaks_on_hostile_parameters(town: dict[str, Any]) -> None:
    faults = []
    for turn, (route, address) in enumerate(addresses()):
        for who in ("nobody", "browser") if turn % 5 == 0 else ("browser",):
            status = ask(town[who], "GET", address)
            if is_fault(status):
                faults.append((status, who, "GET", route, address))
    assert_no_fault(faults)


@pytest.mark.slow  # thousands of requests
def test_no_address_breaks_on_a_hostile_query(town: dict[str, Any]) -> None:
    from urllib.parse import quote_from_bytes, urlencode

    faults = []
    values = [value.encode("utf-8", "surrogatepass") for value in (*HOSTILE, "x" * 3000)] + [b"\xff\xfe", b"%ff"]
    for turn, (route, address) in enumerate(usual_addresses()):
        for value in values[turn % 12 :: 12] if is_repeated(route) else values[turn % 3 :: 3]:
            query = "&".join(f"{name}={quote_from_bytes(value)}" for name in QUERY)
            status = ask(town["browser"], "GET", address, QUERY_STRING=query)
            if is_fault(status):
                faults.append((status, "GET", route, f"?={value!r}"))
        every = [(name, value) for name in QUERY for value in ("1", BEYOND)]
        status = ask(town["token"], "GET", address, QUERY_STRING=urlencode(every))
        if is_fault(status):
            faults.append((status, "GET", route, "?all"))
    assert_no_fault(faults)


FIELDS = (
    "name organization type private visibility gated description title text comment status verdict digest path paths content "
    "parent files sha256 size modified branch goes_to message objects operation oid hash_algo transfers repo recipe question "
    "revision previous temperature max_new_tokens seed tag startingPoint fromRepo toRepo summary user_code act device_code "
    "grant_type username email password fullname bio role days current new to typed_name q next owner sample gitIgnore "
    "lfsFiles deletedFiles expand repoType pullRequest draft reason clause state version notes commit subject settings "
    "answer prompt folder data columns base suite steps rank learning_rate action key value item id note namespace theme position "
    "url watched domains secret jobSourceId webhook"
).split()


def bodies() -> list[Any]:
    """Values of every JSON field at once."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    texts: list[Any] = ["\0", "a\0b", "\ud800", "x" * 100_000, DIGITS, "²", "", " ", "../..", "f" * 40, "0" * 64]
    others: list[Any] = [
        None,
        True,
        -1,
        2**64,
        1e308,
        [],
        {},
        [None],
        [{}],
        {"a": {"b": []}},
        [[1]],
        deep,
        ["\ud800"],
        [2**64],
    ]
    return texts + others


@pytest.mark.slow  # thousands of requests
def test_no_door_breaks_on_a_hostile_json_body(town: dict[str, Any]) -> None:
    faults = []
    raw = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'{"a": NaN}',
    ]
    sent = [json.dumps({field: value for field in FIELDS}).encode() for value in bodies()]
    for route, address in usual_addresses():
        if (
            not address.startswith(("/api", "/oauth", "/lfs", "/xet"))
            and "upload" not in address
            and ".git" not in address
        ):
            continue
        if is_repeated(route):
            continue
        for method, body in itertools.product(("POST", "PUT", "DELETE"), raw + sent):
            status = ask(town["token"], method, address, data=body, content_type="application/json")
            if is_fault(status):
                faults.append((status, method, route, body[:80]))
            if method != "POST" and status == 405:
                break
    assert_no_fault(faults)


@pytest.mark.slow  # thousands of requests
def test_no_page_breaks_on_a_hostile_form(town: dict[str, Any]) -> None:
    from urllib.parse import quote_from_bytes

    faults = []
    values = [value.encode("utf-8", "surrogatepass") for value in HOSTILE] + [b"\xff"]
    for turn, (route, address) in enumerate(usual_addresses()):
        if address.startswith(("/api", "/xet", "/lfs", "/logout")) or is_repeated(route):
            continue
        for value in [*values[turn % 5 :: 5], b"x" * 100_000]:
            body = "&".join(f"{field}={quote_from_bytes(value)}" for field in FIELDS).encode()
            status = ask(town["browser"], "POST", address, data=body, content_type="application/x-www-form-urlencoded")
            if is_fault(status):
                faults.append((status, route, value[:80]))
    assert_no_fault(faults)


@pytest.mark.parametrize("host", ["evil.example:99999/x", "a b", "", "[", "x" * 400, "\xff", "a@b"])
def test_no_page_breaks_on_a_hostile_host(town: dict[str, Any], host: str) -> None:
    """The page that tells of the refusal built its links from the refused header, too."""
    for address in ("/", "/alice/poems", "/no/such/page", "/api/models", "/alice/poems/resolve/main/README.md"):
        assert not is_fault(ask(town["nobody"], "GET", address, headers={"Host": host}))


@pytest.mark.parametrize(
    "name", ["Authorization", "Range", "If-None-Match", "If-Range", "X-Request-Id", "Git-Protocol", "Cookie"]
)
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
        if is_fault(status):
            faults.append((status, address, name, value))
    assert_no_fault(faults)


def test_a_commit_into_a_repository_that_is_deleted_meanwhile_is_refused() -> None:
    """Its rows found no repository any more, and the database's complaint came out as a fault of ours."""
    from django.db import IntegrityError

    from hub.api.error_responses import as_hub_error

    for sentence in ("FOREIGN KEY constraint failed", 'insert on "x" violates foreign key constraint "y"'):
        refusal = as_hub_error(IntegrityError(sentence))
        assert refusal is not None and refusal.status == 409
    assert as_hub_error(IntegrityError("UNIQUE constraint failed: x")) is None  # that one is a fault of ours


def test_what_a_database_does_not_keep_is_refused_and_no_fault() -> None:
    """PostgreSQL complains of more than SQLite: each of these came from what somebody had typed."""
    from django.db import DataError

    from hub.api.error_responses import as_hub_error

    problems: list[Exception] = [
        DataError("value too long for type character varying(300)"),
        DataError("bigint out of range"),
        ValueError("A string literal cannot contain NUL (0x00) characters."),
    ]
    try:
        "\ud800".encode()
    except UnicodeEncodeError as problem:
        problems.append(problem)
    assert [refusal.status for problem in problems if (refusal := as_hub_error(problem))] == [400] * 4
    assert as_hub_error(ValueError("some other")) is None
