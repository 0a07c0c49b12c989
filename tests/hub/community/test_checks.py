"""Checks of a pull request: one sentence each, with evidence and with the digest of what they judged."""

import pytest

from tests.hub.scenes import propose

pytestmark = pytest.mark.django_db


@pytest.fixture
def proposal(charlie, tides):
    return propose(tides, charlie.user, {"a.txt": "one"})


def test_a_check_begins_runs_and_ends_with_its_times(proposal):
    from hub.community.checks import set_check

    check = set_check(proposal, "train", state="waiting", summary="Its turn comes.", position=2)
    assert (check.started_at, check.finished_at, check.is_required, check.position) == (None, None, True, 2)
    check = set_check(proposal, "train", state="running", summary="Step 1 of 9.", evidence={"run": 3})
    began = check.started_at
    assert began and not check.finished_at
    check = set_check(proposal, "train", state="running", summary="Step 2 of 9.")
    assert check.started_at == began
    check = set_check(proposal, "train", state="passed", summary="Done.", evidence={"loss": 2.5}, digest="sha256:ab")
    assert check.finished_at >= began and check.position == 2
    assert (check.evidence, check.digest) == ({"run": 3, "loss": 2.5}, "sha256:ab")
    assert proposal.checks.count() == 1


def test_a_summary_does_not_grow_with_what_it_quotes(proposal):
    from hub.community.checks import MAX_SUMMARY_CHARACTERS, set_check

    check = set_check(proposal, "prepare", state="failed", summary="x" * 1_000_000)
    (event,) = proposal.discussion.events.filter(kind="check")
    assert check.summary == event.data["summary"] == "x" * MAX_SUMMARY_CHARACTERS + "…"


def test_each_end_and_each_hold_is_an_entry_of_the_timeline_once(proposal):
    from hub.community.checks import set_check

    for state in ("waiting", "running", "held", "held", "passed", "passed", "running", "failed"):
        set_check(proposal, "screen", state=state, summary=f"It {state}.")
    entries = [event.data["state"] for event in proposal.discussion.events.filter(kind="check")]
    assert entries == ["held", "passed", "failed"]


def test_others_hear_of_a_change_after_it_is_certain(proposal, django_capture_on_commit_callbacks):
    from hub.community.checks import set_check
    from hub.community.events import check_changed

    heard = []

    def hear(check, **_):
        heard.append((check.name, check.state))

    check_changed.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            set_check(proposal, "train", state="running", summary="Step 1.")
            assert heard == []
    finally:
        check_changed.disconnect(hear)
    assert heard == [("train", "running")]


def test_a_new_candidate_makes_the_named_checks_wait_again_and_removes_the_others(proposal):
    from hub.community.checks import blocking_checks, reset_checks, set_check

    for name in ("old", "train", "evaluate"):
        set_check(proposal, name, state="passed", summary="Fine.", evidence={"run": 1}, digest="sha256:ab")
    reset_checks(proposal, ["prepare", "train", "evaluate"], "Its turn comes.")
    rows = [
        (check.name, check.state, check.evidence, check.digest, check.finished_at) for check in proposal.checks.all()
    ]
    assert rows == [(name, "waiting", {}, "", None) for name in ("prepare", "train", "evaluate")]
    assert [check.name for check in blocking_checks(proposal)] == ["prepare", "train", "evaluate"]


@pytest.mark.parametrize("state", ["waiting", "running", "failed", "held", "cancelled"])
def test_a_required_check_blocks_in_every_state_but_passed(proposal, state):
    from hub.community.checks import blocking_checks, set_check

    set_check(proposal, "train", state=state, summary="See there.")
    set_check(proposal, "style", state=state, summary="See there.", is_required=False)
    assert [check.name for check in blocking_checks(proposal)] == ["train"]
    set_check(proposal, "train", state="passed", summary="Fine.")
    assert blocking_checks(proposal) == []


def test_who_proposed_is_told_once_of_a_required_check_that_fails(proposal, charlie, alice):
    """A proposal by the stock client opens although its recipe has a typo, which its page alone told."""
    from hub.community.checks import set_check

    for state in ("failed", "waiting", "failed"):
        set_check(proposal, "prepare", state=state, summary="recipe.yaml:6:32: unknown key 'epoch'")
    set_check(proposal, "extra", state="failed", summary="Nobody needs it.", is_required=False)
    told = charlie.user.notifications.filter(path=proposal.discussion.path)
    assert [row.text for row in told] == ["alice/tides#1 failed 'prepare': recipe.yaml:6:32: unknown key 'epoch'"]
    assert not alice.user.notifications.filter(text__contains="failed").exists()
