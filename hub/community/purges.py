"""Pull requests follow a purge of their repository: their commits have other ids, and who works on them is told."""

from typing import Any

from django.dispatch import receiver

from hub.accounts.people import hub_account
from hub.community.candidates import build_candidate
from hub.community.discussions import add_event
from hub.community.events import pull_request_updated
from hub.community.models import Discussion, Event, PullRequest
from hub.repos.events import history_purged, history_purging
from hub.repos.models import Repo
from hub.repos.purge_models import Purge

COMMITS = ("base", "head", "candidate", "candidate_target", "merge_commit")
OPEN = (Discussion.Status.OPEN, Discussion.Status.DRAFT)


@receiver(history_purging)
def move_pull_requests(sender: type, repo: Repo, commits: dict[str, str], holding: set[str], **_: Any) -> None:
    """In the transaction that moves all rows. What was judged stays judged where the judged files are the same."""
    for row in PullRequest.objects.select_related("discussion").filter(discussion__repo=repo):
        changed = {name: commits[oid] for name in COMMITS if (oid := getattr(row, name)) in commits}
        if row.candidate in holding and row.discussion.status in OPEN:
            changed["candidate_digest"] = ""
        if changed:
            PullRequest.objects.filter(pk=row.pk).update(**changed)
    told = Event.objects.filter(discussion__repo=repo, kind__in=("commit", "merge"))
    moved = [event for event in told if event.data.get("oid") in commits]
    for event in moved:
        event.data = {**event.data, "oid": commits[event.data["oid"]]}
    Event.objects.bulk_update(moved, ["data"], batch_size=100)


@receiver(history_purged)
def refresh_pull_requests(sender: type, purge: Purge, repo: Repo, commits: dict[str, str], **_: Any) -> None:
    """Tell the people of open ones, and build again what held a file that is gone."""
    present = set(commits.values())
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author")
    for row in rows.filter(discussion__repo=repo, discussion__status__in=OPEN):
        if row.head not in present:
            continue
        if not row.discussion.events.filter(kind="comment", data__purge=purge.key).exists():
            text = (
                "Files were purged from the history of this repository, so the commits of this proposal have new ids. "
                f"Fetch `{row.ref}` anew before you push to it; a push of the old commits is refused."
            )
            add_event(row.discussion, "comment", hub_account(), text=text, purge=purge.key)
        if row.candidate_digest or row.conflict_paths or row.head == row.base:
            continue
        if row.is_trained:
            pull_request_updated.send(PullRequest, pull_request=row, reason="target_moved")
        else:
            build_candidate(row)
