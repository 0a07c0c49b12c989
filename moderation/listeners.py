"""moderation listens to what the rooms below announce: it screens, judges, and remembers what people decided."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.dispatch import receiver

from hub.accounts.events import member_changed
from hub.accounts.models import Organization, User
from hub.community.events import pull_request_updated, review_given
from hub.community.models import PullRequest, Review
from hub.community.pull_requests import add_merge_rule
from hub.repos.events import (
    branch_moved,
    clearance_changed,
    collaborator_changed,
    history_purging,
    public_half_moved,
    revision_created,
)
from hub.repos.models import Content, Repo, Revision
from hub.repos.purge_models import Purge
from moderation import audit
from moderation.cases import report_tests
from moderation.releasing import withdrawals
from moderation.rules import policies, policy_changes
from moderation.rules.policy_repository import is_about_policy
from moderation.screening import outputs, purges
from moderation.screening.screening import screen_quickly
from training.events import candidate_trained, evaluation_finished, replay_told, run_steered, sampling_finished
from training.models import Evaluation, Replay, Run, Sampling
from training.running import audience


@receiver(revision_created)
def screen_new_content(sender: type, revision: Revision, contents: list[Content], **_: Any) -> None:
    screen_quickly(revision, contents)


@receiver(candidate_trained)
def sample_candidate(sender: type, run: Run, **_: Any) -> None:
    outputs.start(run)


@receiver(sampling_finished)
def judge_samples(sender: type, sampling: Sampling, run: Run | None, problem: str = "", **_: Any) -> None:
    if run is None:
        outputs.could_not(sampling, problem)
    else:
        outputs.judge(sampling, run)


@receiver(evaluation_finished)
def close_fixed_reports(sender: type, evaluation: Evaluation, **_: Any) -> None:
    report_tests.settle(evaluation)


@receiver(run_steered)
def remember_run(sender: type, run: Run, act: str, by: User, **_: Any) -> None:
    number = run.pull_request.discussion.number if run.pull_request else None
    audit.record(f"run.{act}", str(run.repo), by=by, is_public=not run.repo.is_private, run=run.pk, pull_request=number)


@receiver(replay_told)
def remember_replay(sender: type, replay: Replay, act: str, by: User | None, **_: Any) -> None:
    run = replay.run
    outcome: dict[str, Any] = {}
    if act == "ended":
        outcome = {"outcome": replay.state, "sentence": replay.sentence}
    if comparison := replay.report.get("comparison"):
        outcome["digests"] = {key: comparison[key] for key in ("recorded_tensors", "remade_tensors")}
    actor = by if act == "asked" else None  # the hub compares, not who asked for it
    is_public = not run.repo.is_private and is_open(run)
    audit.record(f"replay.{act}", str(run.repo), by=actor, is_public=is_public, run=run.pk, replay=replay.pk, **outcome)


def is_open(run: Run) -> bool:
    """Whether strangers see the run: a reason may quote its recipe."""
    return audience.may_see(AnonymousUser(), run)


@receiver(review_given)
def remember_review(sender: type, review: Review, **_: Any) -> None:
    repo = review.pull_request.discussion.repo
    number = review.pull_request.discussion.number
    given = {"pull_request": number, "verdict": review.verdict, "digest": review.digest}
    audit.record("review.given", str(repo), by=review.by, is_public=not repo.is_private, **given)


@receiver(pull_request_updated)
def remember_merge(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    if reason != "merged":
        return
    discussion = pull_request.discussion
    merge = {"pull_request": discussion.number, "commit": pull_request.merge_commit}
    is_public = not discussion.repo.is_private
    audit.record("proposal.merged", str(discussion.repo), by=pull_request.merged_by, is_public=is_public, **merge)


@receiver(history_purging)
def follow_purge(
    sender: type, purge: Purge, repo: Repo, commits: dict[str, str], contents: list[Content], **_: Any
) -> None:
    purges.settle(purge, repo, commits, contents)
    withdrawals.renew_for(repo, [content.digest for content in contents])


@receiver(clearance_changed)
def follow_withdrawal(sender: type, repo: Repo, contents: list[Content], **_: Any) -> None:
    withdrawals.renew_for(repo, withdrawals.list_concerned(contents))


@receiver(pull_request_updated)
def try_policy(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    policy_changes.look_at(pull_request)
    if reason == "opened" and is_about_policy(pull_request):
        policy_changes.tell_deciders(pull_request)


@receiver(branch_moved)
def try_policies_again(sender: type, repo: Repo, ref: str, **_: Any) -> None:
    """After hub.community has built the candidates of open proposals anew."""
    if repo.is_policy and ref == f"refs/heads/{repo.default_branch}":
        policy_changes.look_again(repo)


add_merge_rule(policy_changes.rule_of_file)
add_merge_rule(policy_changes.rule_of_people)


@receiver(public_half_moved)
def note_policy(sender: type, repo: Repo, **_: Any) -> None:
    """As soon as a change of the rules is public it is in force, and the day is noted."""
    if repo.is_policy:
        policies.in_force()


# Who has which role is for the people of a repository or an organization: not public.


@receiver(collaborator_changed)
def remember_collaborator(sender: type, repo: Repo, user: User, role: str, by: User, **_: Any) -> None:
    audit.record("collaborator.changed", str(repo), by=by, person=user.username, role=role)


@receiver(member_changed)
def remember_member(sender: type, organization: Organization, user: User, role: str, by: User | None, **_: Any) -> None:
    audit.record("member.changed", str(organization), by=by, person=user.username, role=role)
