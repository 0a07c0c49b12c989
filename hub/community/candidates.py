"""The candidate: target + pull request, which is what gets judged and merged.

Here it is built for pull requests that change files only. Where weights have to be made, training builds it
(training.proposals.candidates) and tells us with `set_candidate`."""

from django.db import transaction

from hub.accounts.people import hub_account
from hub.community.models import Discussion, PullRequest
from hub.repos.commits import SQL_BATCH, author_of, register_commits
from hub.repos.models import Revision
from hub.repos.places import pair
from hub.storage.errors import MergeConflict
from hub.storage.git import ANY, GitRepo, Resolver

RECIPE = "recipe.yaml"


def target_head(pull_request: PullRequest) -> str:
    head = members_of(pull_request).read_ref(f"refs/heads/{pull_request.target}")
    return head or ""


def members_of(pull_request: PullRequest) -> GitRepo:
    return pair(pull_request.discussion.repo).members


def changed_paths(pull_request: PullRequest) -> list[str]:
    """What the pull request itself changes, against the point where it left the target."""
    members = members_of(pull_request)
    target = target_head(pull_request)
    base = (members.merge_base(target, pull_request.head) if target else None) or pull_request.base
    return [change.path for change in members.changes(base, pull_request.head)]


def makes_weights(pull_request: PullRequest) -> bool:
    """Whether weights follow from this change: it touches the recipe of a model."""
    return pull_request.discussion.repo.type == "model" and RECIPE in changed_paths(pull_request)


def is_in_target(pull_request: PullRequest) -> bool:
    """Whether the target holds its commits already: merged a moment ago, or pushed there by hand."""
    target, head = target_head(pull_request), pull_request.head
    return bool(target) and head != pull_request.base and members_of(pull_request).is_ancestor(head, target)


def people_behind(pull_request: PullRequest) -> set[int]:
    """Keys of all whose work it brings: its author and everybody who pushed to it. Credit goes by who was signed in,
    whatever git's author field says."""
    members = members_of(pull_request)
    is_merged = pull_request.discussion.status == Discussion.Status.MERGED
    # A merged head is part of its target: what it brought is told against the target that it was merged with.
    target = pull_request.candidate_target if is_merged else target_head(pull_request)
    known = [oid for oid in {target, pull_request.base} if oid and members.has_commit(oid)]
    commits = members.ancestors_not_in(pull_request.head, known)
    people = {pull_request.discussion.author_id}
    for start in range(0, len(commits), SQL_BATCH):
        rows = Revision.objects.filter(
            repo=pull_request.discussion.repo, commit__in=commits[start : start + SQL_BATCH], author__is_system=False
        )
        people |= set(rows.values_list("author_id", flat=True))
    return {key for key in people if key is not None}


def merge_into_candidate(pull_request: PullRequest, resolve: Resolver | None = None) -> tuple[str, str] | None:
    """A merge commit of target and head, and the target head it contains; None after noting a conflict that `resolve`
    (asked about each file whose lines clash) could not end."""
    members = members_of(pull_request)
    target = target_head(pull_request)
    number = pull_request.discussion.number
    try:
        commit = members.merge(
            target,
            pull_request.head,
            author=author_of(hub_account()),
            message=f"Merge pull request #{number}: {pull_request.discussion.title}",
            resolve=resolve,
        )
    except MergeConflict as conflict:
        PullRequest.objects.filter(pk=pull_request.pk).update(
            conflict_paths=conflict.paths, candidate="", candidate_digest="", candidate_target=target
        )
        pull_request.refresh_from_db()
        return None
    return commit, target


def build_candidate(pull_request: PullRequest) -> None:
    """Build it again from the present target and head. Only for pull requests that change files.

    Where there is nothing to build, what was built before stays: the target is gone, or holds it all."""
    if not target_head(pull_request) or is_in_target(pull_request):
        return
    merged = merge_into_candidate(pull_request)
    if merged is None:
        return
    commit, target = merged
    tree = members_of(pull_request).tree_id(commit)
    set_candidate(pull_request, commit=commit, target=target, digest=f"git:{tree}")


def set_candidate(pull_request: PullRequest, *, commit: str, target: str, digest: str) -> None:
    """Point refs/convert/candidate_N at `commit` and bind checks and approvals to `digest`."""
    repo = pull_request.discussion.repo
    members = members_of(pull_request)
    old = members.read_ref(pull_request.candidate_ref)
    members.move_ref(pull_request.candidate_ref, commit, ANY)
    register_commits(
        repo=repo,
        ref=pull_request.candidate_ref,
        old=old,
        new=commit,
        by=hub_account(),
        door="hub",
        held=[target, pull_request.head],
    )
    with transaction.atomic():
        PullRequest.objects.filter(pk=pull_request.pk).update(
            candidate=commit, candidate_target=target, candidate_digest=digest, conflict_paths=[]
        )
    pull_request.refresh_from_db()


def is_open(pull_request: PullRequest) -> bool:
    return pull_request.discussion.status in (Discussion.Status.OPEN, Discussion.Status.DRAFT)
