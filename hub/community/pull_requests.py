"""Pull requests: opened by anybody who may read, judged as a candidate, merged by compare-and-swap."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.community.candidates import build_candidate, is_in_target, makes_weights, members_of, target_head
from hub.community.checks import blocking_checks
from hub.community.discussions import add_event, check_comment, check_title, find_discussion, take_number
from hub.community.events import pull_request_updated
from hub.community.models import Discussion, PullRequest, Review
from hub.community.reviews import needed_approvals, standing_reviews, valid_approvals
from hub.repos.commits import move_ref, noted
from hub.repos.lifecycle import keep_for_release
from hub.repos.models import Content, PendingWrite, Repo, Revision, RevisionContent
from hub.repos.places import pair
from hub.storage.git import ANY

MERGE_TRIES = 3  # somebody else may move the target between our look and our move
UNTOLD = "What it found is told when the files of the proposal are cleared."
NEEDS_APPROVAL = "It needs an approval of this candidate by somebody else with write access."
STATE_VERBS = {
    "waiting": "waits",
    "running": "is running",
    "held": "waits for a moderator",
    "cancelled": "was cancelled",
}


# Further rules of the rooms above: (pull request, who would merge) -> what stands against it, one sentence each.
MergeRule = Callable[[PullRequest, Any], list[str]]
_merge_rules: list[MergeRule] = []


def add_merge_rule(rule: MergeRule) -> None:
    if rule not in _merge_rules:
        _merge_rules.append(rule)


def start_point(repo: Repo, by: User, target: str) -> str:
    """Where a pull request begins: the target as its author sees it, so that nothing hidden rides along."""
    both = pair(repo)
    half = both.members if can(by, "read_members", repo) else both.public
    head = half.read_ref(f"refs/heads/{target}")
    if head is None:
        raise InvalidInput(f"There is no branch {target!r} in {repo.full_name} that you could propose a change to.")
    return head


def open_pull_request(
    *,
    repo: Repo,
    by: User,
    title: str,
    text: str = "",
    target: str | None = None,
    head: str | None = None,
    is_draft: bool = False,
) -> PullRequest:
    """Number, refs/pr/N at `head` (default: the target as the author sees it), and the row. Raises Forbidden, InvalidInput."""
    require(by, "propose", repo)
    target = target or repo.default_branch
    base = start_point(repo, by, target)
    head = head or base
    with transaction.atomic():
        discussion = Discussion.objects.create(
            repo=repo,
            number=take_number(repo),
            title=check_title(title),
            author=by,
            is_pull_request=True,
            status=Discussion.Status.DRAFT if is_draft else Discussion.Status.OPEN,
        )
        pull_request = PullRequest.objects.create(discussion=discussion, target=target, base=base, head=head)
        if text.strip():
            add_event(discussion, "comment", by, text=check_comment(text))
        note = PendingWrite.objects.create(repo=repo, ref=pull_request.ref, by=by, door="hub")
    move_ref(repo=repo, ref=pull_request.ref, new=head, expected=None, by=by, door="hub")
    note.delete()
    if head != base:
        note_commits(pull_request, base, by)
        refresh(pull_request, reason="opened")
    return pull_request


def discard(pull_request: PullRequest) -> None:
    """Take back a pull request that never got a commit; its number stays used."""
    members_of(pull_request).move_ref(pull_request.ref, None, ANY)
    pull_request.discussion.delete()


def find_pull_request(repo: Repo, number: int, user: Any) -> PullRequest:
    discussion = find_discussion(repo, number, user)
    if not discussion.is_pull_request:
        raise NotFound(f"{repo.full_name}#{number} is a discussion, not a pull request.")
    return PullRequest.objects.select_related("discussion__repo", "discussion__author").get(pk=discussion.pk)


def may_push(pull_request: PullRequest, by: Any) -> bool:
    """Its author and people with write access."""
    repo = pull_request.discussion.repo
    is_author = pull_request.discussion.author_id == getattr(by, "pk", None)
    return can(by, "propose", repo) and (is_author or can(by, "write", repo))


def check_accepts_push(pull_request: PullRequest, by: User) -> None:
    if not may_push(pull_request, by):
        raise Forbidden(f"{pull_request.ref} belongs to its author; open a pull request of your own.")
    if pull_request.discussion.status not in (Discussion.Status.OPEN, Discussion.Status.DRAFT):
        raise Forbidden(f"Pull request {pull_request} is {pull_request.discussion.status}; open a new one.")


def head_moved(pull_request: PullRequest, *, by: User) -> None:
    """Call after refs/pr/N moved: the row follows, the candidate is built anew, what was judged is stale."""
    new = members_of(pull_request).read_ref(pull_request.ref)
    with transaction.atomic():
        # Of two who pushed at once, one tells of both.
        old = PullRequest.objects.select_for_update().values_list("head", flat=True).get(pk=pull_request.pk)
        pull_request.head = new or old
        if new is None or new == old:
            return
        is_first = old == pull_request.base
        # Without its digest the old candidate cannot be merged, should the new one not come to be.
        PullRequest.objects.filter(pk=pull_request.pk).update(head=new, candidate_digest="")
        note_commits(pull_request, old, by)
        discussion = pull_request.discussion
        if discussion.status == Discussion.Status.DRAFT and is_first:
            Discussion.objects.filter(pk=discussion.pk).update(status=Discussion.Status.OPEN)
            discussion.status = Discussion.Status.OPEN
    refresh(pull_request, reason="opened" if is_first else "pushed")


def note_commits(pull_request: PullRequest, old: str, by: User) -> None:
    members = members_of(pull_request)
    excluded = [oid for oid in (old, target_head(pull_request)) if oid]
    for oid in members.ancestors_not_in(pull_request.head, excluded)[-50:]:
        add_event(pull_request.discussion, "commit", by, oid=oid, subject=members.commit_info(oid).title)


def refresh(pull_request: PullRequest, *, reason: str) -> None:
    """Bring candidate and requirements in line with head and target, then tell the rooms above."""
    is_trained = makes_weights(pull_request)
    PullRequest.objects.filter(pk=pull_request.pk).update(is_trained=is_trained)
    pull_request.is_trained = is_trained
    if is_trained:
        # Nothing judged so far speaks of the new candidate; training builds it and its checks run again.
        PullRequest.objects.filter(pk=pull_request.pk).update(candidate_digest="", conflict_paths=[])
    else:
        build_candidate(pull_request)
    pull_request.refresh_from_db()
    pull_request_updated.send(PullRequest, pull_request=pull_request, reason=reason)


def target_moved(repo: Repo, branch: str) -> None:
    """The target of open pull requests has moved: candidates that contain the old one are built again."""
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author").filter(
        discussion__repo=repo, target=branch, discussion__status__in=("open", "draft")
    )
    for pull_request in rows.order_by("-pk")[:100]:
        if is_in_target(pull_request):
            continue  # it is being merged: what was judged stays as it is
        if pull_request.is_trained:
            pull_request_updated.send(PullRequest, pull_request=pull_request, reason="target_moved")
        elif pull_request.head != pull_request.base:
            build_candidate(pull_request)


def uncleared_contents(pull_request: PullRequest) -> list[Content]:
    """What the pull request brings and moderation has not cleared."""
    members = members_of(pull_request)
    is_merged = pull_request.discussion.status == Discussion.Status.MERGED
    target = pull_request.candidate_target if is_merged else target_head(pull_request)
    commits = members.ancestors_not_in(pull_request.head, [oid for oid in [target] if oid])
    rows = RevisionContent.objects.filter(
        revision__repo=pull_request.discussion.repo, revision__commit__in=commits[-400:]
    ).exclude(content__clearance=Content.Clearance.CLEARED)
    return [row.content for row in rows.select_related("content")]


def may_see_inside(pull_request: PullRequest, user: Any) -> bool:
    """Whether this person may be told what follows from its files: members, its author, others when all is cleared and
    no gate keeps the files from them."""
    is_author = pull_request.discussion.author_id is not None and pull_request.discussion.author_id == getattr(
        user, "pk", None
    )
    repo = pull_request.discussion.repo
    if is_author or can(user, "read_members", repo):
        return True
    return can(user, "read_files", repo) and not uncleared_contents(pull_request)


def unmet_requirements(pull_request: PullRequest, by: Any) -> list[str]:
    """What blocks the merge, by name, one sentence each; empty when `by` may merge now."""
    discussion = pull_request.discussion
    if discussion.status == Discussion.Status.MERGED:
        return ["It is merged already."]
    if discussion.status == Discussion.Status.CLOSED:
        return ["It is closed; reopen it first."]
    if not target_head(pull_request):
        return [f"Its target {pull_request.target!r} does not exist any more; open a new one."]
    if is_in_target(pull_request):
        return [f"Its commits are in {pull_request.target} already; close it."]
    reasons: list[str] = []
    if discussion.status == Discussion.Status.DRAFT:
        reasons.append("It is a draft; its author marks it as ready by opening it.")
    if pull_request.head == pull_request.base:
        reasons.append("It has no commits yet.")
    if pull_request.conflict_paths:
        files = ", ".join(pull_request.conflict_paths[:5])
        reasons.append(f"It conflicts with {pull_request.target} in {files}; update the pull request.")
    reasons += describe_uncleared(pull_request, by)
    blocking = blocking_checks(pull_request)
    sees_inside = not blocking or may_see_inside(pull_request, by)
    for check in blocking:
        verb = STATE_VERBS.get(check.state, check.state)
        reasons.append(f"The check '{check.name}' {verb}: {check.summary if sees_inside else UNTOLD}")
    if pull_request.is_trained and not blocking and not is_candidate_current(pull_request):
        is_first = not pull_request.candidate_digest
        moved = f"{pull_request.target} has moved; the candidate is being built again."
        reasons.append("The candidate is being built." if is_first else moved)
    reasons += missing_approvals(pull_request, by)
    for rule in _merge_rules:
        reasons += rule(pull_request, by)
    if not can(by, "write", discussion.repo):
        reasons.append("Merging needs write access to this repository.")
    return reasons


def describe_uncleared(pull_request: PullRequest, by: Any) -> list[str]:
    """What moderation has not cleared, by name for those who may read it: a name and a reason can tell what is hidden."""
    contents = uncleared_contents(pull_request)
    if contents and not may_see_inside(pull_request, by):
        files = "1 file" if len(contents) == 1 else f"{len(contents):,} files"
        return [f"{files} of it {'is' if len(contents) == 1 else 'are'} not cleared by the screens yet."]
    reasons = []
    for content in contents[:5]:
        what = "is withheld" if content.clearance == Content.Clearance.WITHHELD else "waits for screening"
        reasons.append(f"{content.path} {what}{': ' + content.reason if content.reason else '.'}")
    return reasons


def missing_approvals(pull_request: PullRequest, by: Any) -> list[str]:
    reasons = [
        f"{row.by} requested changes."
        for row in standing_reviews(pull_request)
        if row.verdict == Review.Verdict.REQUEST_CHANGES and can(row.by, "write", pull_request.discussion.repo)
    ]
    if getattr(by, "is_authenticated", False):
        missing = needed_approvals(pull_request, by) - len(valid_approvals(pull_request))
    else:
        missing = int(pull_request.is_trained) - len(valid_approvals(pull_request))
    if missing > 0:
        reasons.append(NEEDS_APPROVAL)
    return reasons


def is_candidate_current(pull_request: PullRequest) -> bool:
    return bool(pull_request.candidate_digest) and pull_request.candidate_target == target_head(pull_request)


def merge(*, pull_request: PullRequest, by: User, text: str = "") -> Revision:
    """Move the target to the candidate. Raises Forbidden, Conflict (412-like) naming every unmet requirement."""
    repo = pull_request.discussion.repo
    require(by, "read", repo)
    require(by, "write", repo)
    text = check_comment(text) if text.strip() else ""
    for _ in range(MERGE_TRIES):
        pull_request.refresh_from_db()
        pull_request.discussion.refresh_from_db()
        if not pull_request.is_trained and not is_candidate_current(pull_request):
            build_candidate(pull_request)
        reasons = unmet_requirements(pull_request, by)
        if reasons:
            forget_merge(pull_request)
            raise Conflict("This pull request cannot be merged yet. " + " ".join(reasons), reasons=reasons)
        if pull_request.is_trained:
            keep_for_release(repo)
        intend_merge(pull_request, by)
        with noted(repo=repo, ref=f"refs/heads/{pull_request.target}", by=by, door="hub"):
            if move_target(pull_request, by):
                return record_merge(pull_request, by, text)
    forget_merge(pull_request)
    raise Conflict(f"{pull_request.target} keeps moving; try to merge again.")


def intend_merge(pull_request: PullRequest, by: User) -> None:
    """Noted before the target moves: a crash in between is finished as a merge of just this candidate. A candidate that
    came into the target in any other way was not merged, whoever pushed it there."""
    PullRequest.objects.filter(pk=pull_request.pk).update(merge_commit=pull_request.candidate, merged_by=by)


def forget_merge(pull_request: PullRequest) -> None:
    PullRequest.objects.filter(pk=pull_request.pk, merged_at=None).update(merge_commit="", merged_by=None)


def move_target(pull_request: PullRequest, by: User) -> bool:
    """The target becomes the candidate. False when somebody moved it meanwhile."""
    ref = f"refs/heads/{pull_request.target}"
    expected = pull_request.candidate_target
    try:
        move_ref(
            repo=pull_request.discussion.repo, ref=ref, new=pull_request.candidate, expected=expected, by=by, door="hub"
        )
    except Conflict:
        return False
    return True


def record_merge(pull_request: PullRequest, by: User, text: str) -> Revision:
    """The merge of the candidate as this object knows it; the row may have been built anew meanwhile."""
    discussion, merged = pull_request.discussion, pull_request.candidate
    with transaction.atomic():
        if Discussion.objects.select_for_update().get(pk=discussion.pk).status == Discussion.Status.MERGED:
            return Revision.objects.get(repo=discussion.repo, commit=merged)  # told already, after an interruption
        PullRequest.objects.filter(pk=pull_request.pk).update(
            merge_commit=merged,
            merged_by=by,
            merged_at=timezone.now(),
            merged_unreviewed=count_active_people() == 1,
        )
        Discussion.objects.filter(pk=discussion.pk).update(status=Discussion.Status.MERGED)
        if text.strip():
            add_event(discussion, "comment", by, text=text)
        add_event(discussion, "status-change", by, status="merged")
        add_event(discussion, "merge", by, oid=merged)
    discussion.status = Discussion.Status.MERGED
    pull_request.refresh_from_db()
    pull_request_updated.send(PullRequest, pull_request=pull_request, reason="merged")
    return Revision.objects.get(repo=discussion.repo, commit=merged)
