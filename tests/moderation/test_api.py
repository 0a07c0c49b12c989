"""Releases, cases, reports, findings and the log for programs."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from hub.repos.models import RepoCollaborator
from moderation.cases.queue import decide_case
from moderation.models import Case, Release
from tests.moderation.scenes import SECRET, Workshop, bring, make_repo
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = "repos/models/alice/tide-assistant"
Api = Callable[..., tuple[int, Any]]


@pytest.fixture
def api() -> Api:
    """`api("GET", "audit", by=alice)` -> (status, JSON)."""

    def call(method: str, path: str, by: Person | None = None, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {by.token}"} if by else {}
        data = None if body is None else json.dumps(body)
        response = Client().generic(method, f"/api/v1/{path}", data or "", "application/json", headers=headers)
        return response.status_code, json.loads(response.content)

    return call


@pytest.fixture
def held(alice: Person, bob: Person, mona: Person) -> Case:
    repo = make_repo("dataset", "tides", alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    return Case.objects.get()


def test_a_release_from_proposal_to_yank(
    releasable: Workshop, alice: Person, bob: Person, charlie: Person, dora: Person, mona: Person, api: Api
) -> None:
    status, gate = api("GET", f"{MODEL}/gate", alice)
    states = {row["name"]: row["state"] for row in gate}
    assert status == 200 and states.pop("reproducibility") == "warning" and set(states.values()) == {"passed"}
    assert api("GET", f"{MODEL}/gate", charlie)[0] == 403
    assert api("POST", f"{MODEL}/releases", None, {"version": "1.0.0"})[0] == 401
    assert api("POST", f"{MODEL}/releases", charlie, {"version": "1.0.0"})[0] == 403
    assert api("POST", f"{MODEL}/releases", alice, {"version": "one"})[0] == 400
    status, made = api("POST", f"{MODEL}/releases", alice, {"version": "1.0.0", "notes": "The first."})
    assert (status, made["tag"], made["state"]) == (201, "v1.0.0", "proposed")
    assert made["why_not_approve"].startswith("You proposed") and made["signature"] == {}
    assert api("GET", f"{MODEL}/releases", None) == (200, [])
    assert api("GET", f"{MODEL}/releases/v1.0.0", charlie)[0] == 404
    approve = f"{MODEL}/releases/v1.0.0/approve"
    assert api("POST", approve, bob, {})[0] == 400  # the digest must be stated
    assert api("POST", approve, bob, {"digest": "sha256:0"})[0] == 409
    assert api("POST", approve, alice, {"digest": made["digest"]})[0] == 403
    status, after = api("POST", approve, bob, {"digest": made["digest"], "text": "Good."})
    assert (status, after["state"], after["valid_approvals"]) == (200, "proposed", 1)
    status, after = api("POST", approve, mona, {"digest": made["digest"]})
    assert (status, after["state"], after["is_reviewed"]) == (200, "published", True)
    assert [row["by"] for row in after["approvals"]] == ["bob", "mona"] and after["signature"]["algorithm"] == "ed25519"
    status, listed = api("GET", f"{MODEL}/releases", None)
    assert status == 200 and [row["tag"] for row in listed] == ["v1.0.0"]

    release = f"{MODEL}/releases/v1.0.0"
    assert api("POST", f"{release}/yank", alice, {})[0] == 400
    assert api("POST", f"{release}/quarantine", alice, {"reason": "Bad."})[0] == 403
    assert api("POST", f"{release}/yank", alice, {"reason": "Bad."})[1]["state"] == "yanked"
    assert api("POST", f"{release}/quarantine", mona, {"reason": "Worse."})[1]["state"] == "quarantined"
    assert api("POST", f"{release}/lift", alice, {"reason": "Fine."})[0] == 403
    assert api("POST", f"{release}/lift", mona, {"reason": "Fine."})[1]["state"] == "published"
    assert api("POST", f"{release}/refuse", alice, {"reason": "No."})[0] == 409


def test_what_fails_at_the_gate_is_listed(releasable: Workshop, alice: Person, api: Api) -> None:
    bring(releasable.model, alice.user, {"README.md": b"# No licence\n"})
    status, refusal = api("POST", f"{MODEL}/releases", alice, {"version": "1.0.0"})
    assert status == 409 and refusal["reasons"] == [
        "The card names no licence; add 'license:' to the top of README.md."
    ]


def test_a_proposal_is_taken_back(releasable: Workshop, alice: Person, bob: Person, api: Api) -> None:
    api("POST", f"{MODEL}/releases", alice, {"version": "1.0.0"})
    status, after = api("POST", f"{MODEL}/releases/v1.0.0/refuse", bob, {"reason": "Too early."})
    assert (status, after["state"], after["state_reason"]) == (200, "refused", "Too early.")


def test_nobody_publishes_alone_where_others_could_approve(releasable: Workshop, alice: Person, api: Api) -> None:
    api("POST", f"{MODEL}/releases", alice, {"version": "1.0.0"})
    assert api("POST", f"{MODEL}/releases/v1.0.0/publish", alice)[0] == 403
    assert Release.objects.get().state == "proposed"


def test_a_read_token_approves_nothing(releasable: Workshop, alice: Person, bob: Person, api: Api) -> None:
    from hub.accounts.tokens import create_token

    status, made = api("POST", f"{MODEL}/releases", alice, {"version": "1.0.0"})
    _, token = create_token(user=bob.user, name="reads", role="read")
    reading = Person(bob.user, token)
    assert api("POST", f"{MODEL}/releases/v1.0.0/approve", reading, {"digest": made["digest"]})[0] == 403
    assert api("POST", f"{MODEL}/releases/v1.0.0/refuse", reading, {"reason": "No."})[0] == 403


def test_datasets_have_no_releases(held: Case, alice: Person, api: Api) -> None:
    assert api("GET", "repos/datasets/alice/tides/releases", alice)[0] == 400


def test_moderators_list_and_decide_cases(held: Case, alice: Person, bob: Person, mona: Person, api: Api) -> None:
    assert api("GET", "moderation/cases")[0] == 401
    assert api("GET", "moderation/cases", alice)[0] == 403
    status, cases = api("GET", "moderation/cases?state=open&kind=content", mona)
    assert status == 200 and [case["id"] for case in cases] == [held.pk] and cases[0]["severity"] == 3
    assert api("GET", "moderation/cases?kind=report", mona) == (200, [])
    assert api("GET", "moderation/cases?state=odd", mona)[0] == 400
    status, case = api("GET", f"moderation/cases/{held.pk}", mona)
    assert status == 200 and case["findings"][0]["where"] == "notes.txt:1" and case["why_not_decide"] == ""
    assert SECRET not in json.dumps(case)
    decide = f"moderation/cases/{held.pk}/decide"
    assert api("POST", decide, bob, {"state": "allowed", "reason": "Mine."})[0] == 403
    assert api("POST", decide, mona, {"state": "allowed"})[0] == 400
    assert api("POST", decide, mona, {"state": "allowed", "reason": "Fine.", "clause": "weather"})[0] == 400
    assert api("POST", decide, mona, {"state": "sold", "reason": "Fine."})[0] == 400
    status, after = api("POST", decide, mona, {"state": "allowed", "reason": "From a manual.", "clause": "secrets"})
    assert (status, after["state"], after["decided_by"]) == (200, "allowed", "mona")
    assert api("POST", decide, mona, {"state": "refused", "reason": "No."})[0] == 409


def test_a_moderator_withholds_a_reported_file(held: Case, charlie: Person, mona: Person, api: Api) -> None:
    body = {"repo": "alice/tides", "type": "dataset", "text": "Copied.", "subject": {"path": ".gitattributes"}}
    number = api("POST", "reports", charlie, body)[1]["id"]
    address = f"moderation/cases/{number}/file"
    act = {"act": "withhold", "reason": "It is copied."}
    assert api("POST", address, charlie, act)[0] == 403
    status, case = api("POST", address, mona, act)
    assert (status, case["kind"], case["state"]) == (201, "content", "refused")
    again = api("POST", f"moderation/cases/{case['id']}/file", mona, {"act": "restore", "reason": "It is not."})
    assert (again[0], again[1]["state"]) == (201, "allowed")


def test_a_case_is_for_its_people(held: Case, alice: Person, charlie: Person, api: Api) -> None:
    assert api("GET", f"moderation/cases/{held.pk}")[0] == 401
    assert api("GET", f"moderation/cases/{held.pk}", charlie)[0] == 404
    status, case = api("GET", f"moderation/cases/{held.pk}", alice)
    assert status == 200 and case["why_not_decide"] == "A moderator decides about this."
    assert api("GET", f"moderation/cases/{10**17}", alice)[0] == 404


def test_another_look_is_asked_for_once(held: Case, alice: Person, charlie: Person, mona: Person, api: Api) -> None:
    decide_case(case=held, by=mona.user, state="refused", reason="It is real.")
    appeal = f"moderation/cases/{held.pk}/appeal"
    assert api("POST", appeal, charlie, {"text": "Me too."})[0] == 404
    status, again = api("POST", appeal, alice, {"text": "It is from a manual."})
    assert status == 201 and again["subject"]["appeal_of"] == held.pk
    assert api("POST", appeal, alice, {"text": "Again."})[0] == 403


def test_a_report_carries_the_answer(held: Case, alice: Person, charlie: Person, mona: Person, api: Api) -> None:
    repo = make_repo("model", "talker", alice.user, {"README.md": b"# Talker\n"})
    subject = {"prompt": "Tide?", "answer": "Never.", "settings": {"seed": 3}, "release": "v1.0.0", "odd": 1}
    body = {"repo": repo.full_name, "text": "Wrong.", "subject": subject}
    assert api("POST", "reports", None, body)[0] == 401
    status, case = api("POST", "reports", charlie, body)
    assert status == 201 and case["kind"] == "report" and case["opened_by"] == "charlie"
    seen = api("GET", f"moderation/cases/{case['id']}", mona)[1]["subject"]
    assert seen == {
        "prompt": "Tide?",
        "answer": "Never.",
        "settings": {"seed": 3},
        "release": "v1.0.0",
        "text": "Wrong.",
    }
    assert api("POST", "reports", charlie, {**body, "repo": "alice/none"})[0] == 404
    assert api("POST", "reports", charlie, {**body, "text": ""})[0] == 400
    assert api("POST", "reports", charlie, {**body, "subject": [1]})[0] == 400
    status, case = api("POST", "reports", charlie, {"repo": "alice/tides", "type": "dataset", "text": "Mine."})
    assert status == 201 and case["repo_type"] == "dataset"


def test_a_report_of_any_text_is_stored(held: Case, charlie: Person, api: Api) -> None:
    subject = {
        "prompt": "\ud800\0",
        "answer": "a\0b",
        "settings": {"\udfff": "\ud800", "n": float("inf"), "deep": {"a": [1]}},
    }
    body = {"repo": "alice/tides", "type": "dataset", "text": "Wrong.", "subject": subject}
    status, case = api("POST", "reports", charlie, body)
    assert status == 400 or case["subject"]["answer"] == "ab"
    subject["settings"].pop("n")
    status, case = api("POST", "reports", charlie, body)
    assert (
        status == 201
        and case["subject"]["prompt"] == "?"
        and case["subject"]["settings"] == {"?": "?", "deep": "{'a': [1]}"}
    )


def test_members_read_the_findings_of_their_files(held: Case, alice: Person, charlie: Person, api: Api) -> None:
    status, findings = api("GET", "repos/datasets/alice/tides/findings?severity=block", alice)
    assert status == 200 and [row["path"] for row in findings] == ["notes.txt"]
    assert findings[0]["clearance"] == "withheld" and SECRET not in json.dumps(findings)
    assert api("GET", "repos/datasets/alice/tides/findings?path=other.txt", alice) == (200, [])
    assert api("GET", "repos/datasets/alice/tides/findings?severity=odd", alice)[0] == 400
    assert api("GET", "repos/datasets/alice/tides/findings", charlie)[0] == 403
    hidden = make_repo("dataset", "hidden", alice.user, is_private=True)
    assert api("GET", f"repos/datasets/{hidden.full_name}/findings", charlie)[0] == 404


def test_the_log_is_public_where_its_entries_are(held: Case, mona: Person, api: Api) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    status, rows = api("GET", "audit")
    assert status == 200 and [row["action"] for row in rows] == ["case.allowed"]
    assert len(api("GET", "audit", mona)[1]) == 2
    head = api("GET", "audit/head")[1]
    assert head["hash"] == rows[0]["hash"] and head["problem"] == ""


def test_pages_of_a_list_are_linked(held: Case, charlie: Person, mona: Person) -> None:
    from moderation.cases.reports import open_report

    for number in range(3):
        open_report(repo=held.repo, by=charlie.user, text=f"Wrong {number}.")
    headers = {"Authorization": f"Bearer {mona.token}"}
    first = Client().get("/api/v1/moderation/cases?limit=2", headers=headers)
    link = first["Link"].split("<")[1].split(">")[0]
    rest = Client().get(link, headers=headers)
    ids = [row["id"] for row in [*first.json(), *rest.json()]]
    assert ids == sorted(ids, reverse=True) and len(ids) == 4


def test_every_address_is_described(db: None) -> None:
    text = Client().get("/api/schema").content.decode()
    for name in (
        "propose_release approve_release act_on_release look_at_gate list_cases decide_case judge_file appeal_case report "
        "list_findings list_audit_entries show_audit_head"
    ).split():
        assert f"operationId: {name}\n" in text, name
