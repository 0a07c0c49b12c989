"""What a crash left between git and the rows of pull requests. `hub.repos.commits.reconcile` finished the commits and
hands on its notes; here the conversation catches up."""

from collections.abc import Iterable

from hub.accounts.models import User
from hub.community.candidates import members_of, target_head
from hub.community.models import Discussion, PullRequest
from hub.community.pull_requests import head_moved, record_merge, refresh
from hub.repos.models import PendingWrite, Repo

OPEN = (Discussion.Status.OPEN, Discussion.Status.DRAFT)


def finish_interrupted(notes: Iterable[PendingWrite]) -> int:
    """Bring the open pull requests of these repositories in line with git; returns how many had to be."""
    people: dict[int, dict[str, User | None]] = {}
    for note in notes:
        people.setdefault(note.repo_id, {})[note.ref] = note.by
    return sum(finish_in(repo, people[repo.pk]) for repo in Repo.everything.for_listing().filter(pk__in=people))


def finish_in(repo: Repo, people: dict[str, User | None]) -> int:
    """`people`: ref -> who was writing it when the process died."""
    rows = PullRequest.objects.filter(discussion__repo=repo, discussion__status__in=OPEN)
    return sum(
        finish_one(pull_request, people)
        for pull_request in rows.select_related("discussion__repo", "discussion__author").order_by("pk")
    )


def finish_one(pull_request: PullRequest, people: dict[str, User | None]) -> bool:
    discussion = pull_request.discussion
    head = members_of(pull_request).read_ref(pull_request.ref)
    if head is None:  # its ref never came to be: whoever opened it got no answer and opens it again
        if pull_request.head != pull_request.base:
            return False
        discussion.delete()
    elif head != pull_request.head:
        head_moved(pull_request, by=people.get(pull_request.ref) or discussion.author)  # type: ignore[arg-type]
    elif head == pull_request.base and discussion.status == Discussion.Status.OPEN:
        # Opened for a commit that did not arrive; the author may still push to it.
        Discussion.objects.filter(pk=discussion.pk).update(status=Discussion.Status.DRAFT)
    elif head != pull_request.base and lacks_candidate(pull_request):
        refresh(pull_request, reason="pushed")
    elif is_merged_in_git(pull_request):
        record_merge(pull_request, pull_request.merged_by, "")  # type: ignore[arg-type]  # None: that account is gone
    else:
        return False
    return True


def lacks_candidate(pull_request: PullRequest) -> bool:
    is_known = pull_request.is_trained or pull_request.candidate_digest or pull_request.conflict_paths
    return not is_known


def is_merged_in_git(pull_request: PullRequest) -> bool:
    """`merge` was about to move the target to this candidate, and the target holds it."""
    head, candidate = target_head(pull_request), pull_request.candidate
    if not head or not candidate or not pull_request.candidate_digest or candidate != pull_request.merge_commit:
        return False
    return head == candidate or members_of(pull_request).is_ancestor(candidate, head)
