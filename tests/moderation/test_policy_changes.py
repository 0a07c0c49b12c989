"""The rules change by proposal: read strictly, tried on the last releases, and by nobody alone."""

from typing import Any

import pytest

from hub.common.errors import Conflict
from hub.community.models import Check, Notification, PullRequest
from hub.community.pull_requests import merge
from hub.community.reviews import review
from hub.repos.clearance import set_clearance
from hub.repos.models import Repo
from moderation.models import AuditEntry, PolicyVersion, Release, Screening
from moderation.releasing.recomputing import recompute_all
from moderation.rules import policies, policy_repository
from moderation.rules.policy_file import FILE, digest_of_text
from tests.hub.scenes import propose
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import content_at, good_answers, run_jobs
from tests.moderation.test_policy_file import PACKAGED, changed
from tests.people import Person, make_person
from training.models import Run, Sampling

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rules(mona: Person) -> Repo:
    return policy_repository.found()


@pytest.fixture
def nora(db: None) -> Person:
    """A second moderator."""
    return make_person("nora", is_moderator=True)


def approve(pull_request: PullRequest, by: Person) -> None:
    pull_request.refresh_from_db()
    review(pull_request=pull_request, by=by.user, verdict="approve", digest=pull_request.candidate_digest)


def check_of(pull_request: PullRequest) -> Check:
    run_jobs("moderation.try_policy")
    return pull_request.checks.get(name="policy")


def put_in_force(rules: Repo, author: Person, approver: Person, text: bytes) -> PullRequest:
    rules.refresh_from_db()
    pull_request = propose(rules, author.user, {FILE: text})
    assert check_of(pull_request).state == "passed"
    approve(pull_request, approver)
    merge(pull_request=pull_request, by=approver.user)
    return pull_request


def test_two_moderators_change_the_rules_and_everybody_reads_who_did(
    rules: Repo, mona: Person, nora: Person, browser_of: Browser
) -> None:
    pull_request = put_in_force(rules, mona, nora, changed(margin="0.05"))
    standing = policies.in_force()
    rules.refresh_from_db()
    assert standing.policy.answers.margin == 0.05 and standing.commit == rules.public_head
    row = PolicyVersion.objects.get(number=standing.number)
    assert row.people == {"author": "mona", "approved": ["nora"], "merged": "nora"} and row.pull_request == 1
    entry = AuditEntry.objects.get(action="policy.changed", data__number=row.number)
    assert entry.is_public and entry.data["digest"] == standing.digest and entry.data["approved"] == ["nora"]
    browser = browser_of(None)
    text = words(browser.get("/policy"))
    assert "a difference of 5% is excluded" in text and "by nora" in text and "no repository" not in text
    assert "These rules were in force from" in words(browser.get("/policy/1"))
    assert browser.get("/policy/1/policy.yaml").content == PACKAGED
    history = words(browser.get("/policy/history"))
    assert (
        f"Version {row.number}" in history
        and "comes with the program" in history
        and f"mona, #{pull_request.discussion.number}" in history
    )
    assert f"version {row.number} was in force, approved by nora" in words(
        browser.get(f"/policy/history?on={row.at:%Y-%m-%d}")
    )
    assert "nothing was judged here yet" in words(browser.get("/policy/history?on=2001-02-03"))
    for day in ("2026-02-31", "yesterday", "9" * 500):
        assert "is no day" in words(browser.get(f"/policy/history?on={day}"))
    for number in ("9", "9" * 30):
        assert browser.get(f"/policy/{number}").status_code == 404


def test_withholding_an_older_text_does_not_put_one_before_it_in_force(rules: Repo, mona: Person, nora: Person) -> None:
    put_in_force(rules, mona, nora, changed(margin="0.05"))
    content = content_at(rules, FILE)
    put_in_force(rules, mona, nora, changed(margin="0.04"))
    before = policies.in_force()
    set_clearance(contents=[content], clearance="withheld", reason="It names a person.")
    rules.refresh_from_db()
    assert rules.public_head not in (before.commit, "")  # the public sees the first text again
    assert policies.in_force() == before and before.policy.answers.margin == 0.04
    assert PolicyVersion.objects.count() == before.number
    policies.in_force()
    assert AuditEntry.objects.get(action="policy.shows_older").data["number"] == before.number
    told = Notification.objects.filter(text__contains="shows an older text than version")
    assert sorted(row.user.username for row in told) == ["mona", "nora"], (
        "each once, however often the rules are asked for"
    )


@pytest.mark.parametrize(
    ("author", "approvers", "is_merged"),
    [
        ("mona", [], False),
        ("mona", ["nora"], True),
        ("mona", ["boss"], True),  # who operates the hub
        ("charlie", ["nora"], False),  # a stranger's proposal is one moderator's word
        ("charlie", ["nora", "mona"], True),
    ],
)
def test_nobody_changes_the_rules_alone(
    rules: Repo, mona: Person, nora: Person, charlie: Person, author: str, approvers: list[str], is_merged: bool
) -> None:
    people = {"mona": mona, "nora": nora, "charlie": charlie, "boss": make_person("boss", is_staff=True)}
    pull_request = propose(rules, people[author].user, {FILE: changed(margin="0.05")})
    assert check_of(pull_request).state == "passed"
    assert Notification.objects.filter(user=nora.user, text__contains="proposed to change the rules").exists()
    for name in approvers:
        approve(pull_request, people[name])
    if is_merged:
        merge(pull_request=pull_request, by=nora.user)
    else:
        with pytest.raises(Conflict, match="by nobody alone|approval of this candidate"):
            merge(pull_request=pull_request, by=mona.user)
    assert (policies.in_force().policy.answers.margin == 0.05) == is_merged


def test_people_without_a_part_in_moderation_neither_approve_nor_merge(
    rules: Repo, mona: Person, bob: Person, nora: Person
) -> None:
    from hub.common.errors import Forbidden
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=rules, user=bob.user, role="admin")  # as a mistake would
    pull_request = propose(rules, mona.user, {FILE: changed(margin="0.05")})
    check_of(pull_request)
    with pytest.raises(Forbidden):
        approve(pull_request, bob)
    approve(pull_request, nora)
    with pytest.raises(Forbidden):
        merge(pull_request=pull_request, by=bob.user)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({FILE: PACKAGED.replace(b"  margin:", b"  margins:")}, "unknown key 'margins'; did you mean 'margin'?"),
        ({FILE: b""}, "the file is empty"),
        ({FILE: None}, "the file is empty"),
        ({FILE: None, f"{FILE}/x": b"1"}, "the file is empty"),
        ({FILE: changed(policy_people="5")}, "nobody could change the rules any more"),
    ],
)
def test_a_policy_that_cannot_be_read_is_never_merged(
    rules: Repo, mona: Person, nora: Person, files: dict[str, Any], sentence: str
) -> None:
    pull_request = propose(rules, mona.user, files)
    check = check_of(pull_request)
    approve(pull_request, nora)
    with pytest.raises(Conflict) as refusal:
        merge(pull_request=pull_request, by=nora.user)
    assert sentence in str(refusal.value)
    assert check.state == "failed" or "nobody could" in sentence
    # The check is not believed: the file itself is asked.
    pull_request.checks.update(state="passed")
    with pytest.raises(Conflict, match="cannot be put in force|nobody could change"):
        merge(pull_request=pull_request, by=nora.user)
    assert policies.in_force().digest == digest_of_text(PACKAGED)


def test_what_was_tried_is_what_is_merged(rules: Repo, mona: Person, nora: Person) -> None:
    """Two proposals that are whole by themselves, and another file together."""
    first = propose(rules, mona.user, {FILE: changed(margin="0.05")})
    other = propose(rules, mona.user, {FILE: changed(unlicensed="refuse")})
    for pull_request in (first, other):
        assert check_of(pull_request).state == "passed"
    approve(first, nora)
    merge(pull_request=first, by=nora.user)
    assert other.checks.get(name="policy").state == "running"  # main has moved: it is tried anew
    assert check_of(other).evidence["changes"] == [["data.unlicensed", "note", "refuse"]]
    with pytest.raises(Conflict, match="0 approved this candidate"):
        merge(pull_request=other, by=nora.user)
    approve(other, nora)
    merge(pull_request=other, by=nora.user)
    policy = policies.in_force().policy
    assert (policy.answers.margin, policy.data.unlicensed) == (0.05, "refuse")


def test_the_last_releases_are_judged_again_and_the_table_says_which_differ(
    published: Release, rules: Repo, mona: Person, nora: Person, browser_of: Browser
) -> None:
    pull_request = propose(rules, mona.user, {FILE: changed(release_approvals="3", suites="[alice/other]")})
    check = check_of(pull_request)
    assert check.summary == "2 values change; of the last release 1 would have another verdict."
    [trial] = check.evidence["trials"]
    assert trial["release"] == "alice/tide-assistant v1.0.0" and trial["before"] == []
    assert trial["after"] == [
        "The rules of the hub ask for the suite alice/other; add it under 'evaluate:' and propose again.",
        "2 people approved it, and 3 would be needed.",
    ]
    text = words(browser_of(None).get(f"{rules.path}/discussions/1"))
    assert "who_decides.release_approvals 2 3" in text
    assert "alice/tide-assistant v1.0.0 Released Not released The rules of the hub ask" in text


def test_the_answers_of_a_release_are_judged_by_the_proposed_numbers(
    published: Release, rules: Repo, mona: Person
) -> None:
    """Not one answer differs, and still 480 harmful prompts say nothing of a margin of 1 in 1000."""
    pull_request = propose(rules, mona.user, {FILE: changed(margin_overall="0.001")})
    [trial] = check_of(pull_request).evidence["trials"]
    assert trial["before"] == [] and trial["after"] == ["Too few to tell whether more harmful requests are followed."]


def test_a_release_asks_for_as_many_approvals_as_the_policy(
    releasable: Any, rules: Repo, mona: Person, nora: Person, bob: Person, dora: Person, browser_of: Browser
) -> None:
    from moderation.releasing.releases import approve as approve_release
    from moderation.releasing.releases import propose_release

    put_in_force(rules, mona, nora, changed(release_approvals="3"))
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert release.manifest["policy"]["commit"] == policies.in_force().commit
    for person in (bob, dora):
        assert approve_release(release=release, by=person.user).state == "proposed"
    page = browser_of(None)
    assert approve_release(release=release, by=mona.user).state == "published"
    text = words(page.get(f"{release.repo.path}/releases/v1.0.0"))
    assert f"Rules version {policies.in_force().number} , commit" in text
    assert [problems for _, problems in recompute_all()] == [[], []]


def test_a_verdict_is_computed_again_by_the_policy_that_it_names(
    workshop: Any, rules: Repo, mona: Person, nora: Person, tmp_path: Any
) -> None:
    """Two screenings of the same answers under two policies: each follows from its own, and from none other."""
    run: Run = workshop.train(workshop.propose(), tmp_path / "model")
    lenient = workshop.sample(run)
    put_in_force(rules, mona, nora, changed(margin_overall="0.001"))
    strict = workshop.sample(run)
    assert (lenient.state, strict.state) == ("passed", "held")
    assert strict.report["policy"]["commit"] == policies.in_force().commit != lenient.report["policy"]["commit"]
    assert [problems for _, problems in recompute_all()] == [[], []]
    Screening.objects.filter(pk=lenient.pk).update(report={**lenient.report, "policy": strict.report["policy"]})
    gone = {**strict.report["policy"], "digest": "sha256:0"}
    Screening.objects.filter(pk=strict.pk).update(report={**strict.report, "policy": gone})
    (_, first), (_, second) = recompute_all()
    assert any("held by its answers" in problem for problem in first)
    assert second == ["the policy sha256:0 that it names is not stored"]
    assert Sampling.objects.count() == 2 and good_answers()


def test_the_stock_client_proposes_and_is_refused_on_main(
    rules: Repo, mona: Person, charlie: Person, client_of: Any
) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    given: dict[str, Any] = {"path_in_repo": FILE, "repo_id": rules.full_name, "repo_type": "dataset"}
    with pytest.raises(HfHubHTTPError, match="changes by proposals alone"):
        client_of(mona).upload_file(path_or_fileobj=changed(margin="0.05"), **given)
    with pytest.raises(HfHubHTTPError):
        client_of(charlie).upload_file(path_or_fileobj=changed(margin="0.05"), **given)
    made = client_of(charlie).upload_file(path_or_fileobj=changed(margin="much"), create_pr=True, **given)
    number = int(made.pr_num)
    pull_request = PullRequest.objects.get(discussion__number=number, discussion__repo=rules)
    check = check_of(pull_request)
    assert check.state == "failed" and "policy.yaml:7:11: 'much' stands where a number is expected" in check.summary
    client_of(charlie).upload_file(path_or_fileobj=changed(margin="0.05"), revision=f"refs/pr/{number}", **given)
    pull_request.refresh_from_db()
    assert check_of(pull_request).state == "passed"
    with pytest.raises(HfHubHTTPError, match="by nobody alone|need"):
        client_of(mona).merge_pull_request(rules.full_name, number, repo_type="dataset")
    assert client_of(None).hf_hub_download(rules.full_name, FILE, repo_type="dataset")
