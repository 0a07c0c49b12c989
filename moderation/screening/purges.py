"""What moderation remembers when files leave a history: the log, cases that nobody has to decide any more, proposals of
releases that stood on commits which are gone, and screenings under their present ids."""

from hub.repos.models import Content, Repo
from hub.repos.purge_models import Purge
from moderation import audit
from moderation.cases.queue import State, resolve_case
from moderation.models import Case, Release, Screening

GONE = (
    "The history of the repository was purged of files, and this commit is gone with them; propose the release again."
)


def settle(purge: Purge, repo: Repo, commits: dict[str, str], contents: list[Content]) -> None:
    """In the transaction that brings the rows in line. The log names no file: names and digests can tell a secret."""
    audit.record(
        "history.purged", str(repo), by=purge.by, is_public=not repo.is_private, purge=purge.key,
        files=len(purge.blobs) + len(purge.files), commits=len(commits),
    )  # fmt: skip
    for case in Case.objects.filter(content__in=[row.pk for row in contents]).select_related("repo"):
        if case.state == State.OPEN:
            resolve_case(case, f"{purge.by} purged the file from the history.")
    Case.objects.filter(content__in=[row.pk for row in contents]).update(content=None)
    proposed = Release.objects.filter(repo=repo, state=Release.State.PROPOSED, commit__in=list(commits))
    for release in proposed:
        release.state, release.state_reason = Release.State.REFUSED, GONE
        release.save(update_fields=["state", "state_reason"])
        audit.record("release.refused", f"{repo}@{release.tag}", is_public=True, reason=GONE)
    for row in Screening.objects.filter(repo=repo).exclude(commit="").only("pk", "commit"):
        if row.commit in commits:
            Screening.objects.filter(pk=row.pk).update(commit=commits[row.commit])
