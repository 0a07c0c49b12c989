"""A proposed release with all that the gate would have written down, and writes to its rows."""

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from hub.accounts.models import User
from hub.community.models import Discussion, PullRequest
from hub.repos.models import Content, Repo, RepoRelease
from moderation.models import Release, ReleaseApproval, ReleaseBasis, ReleaseStake, Screening
from moderation.rules.reasons import AWAITS_RELEASE
from training.models import Run

DIGEST, MODEL = "sha256:approved", "sha256:model"
FREE = ("bob", "dora", "emil")  # without a stake
MAKERS = ("alice", "charlie", "teacher", "pusher")  # proposed it, brought data, proposed the run, pushed to it
GATE_WRITES = ["state", "manifest", "signature", "published_at"]
SIGNED = {"algorithm": "ed25519", "signature": "AAAA", "public_key": "AAAA"}


@dataclass
class World:
    """A proposed release with all that the gate would have written down, as rows alone."""

    people: dict[str, User]
    release: Release
    files: list[Content]
    rows: Content

    @classmethod
    def build(cls) -> "World":
        names = (*FREE, *MAKERS, "gone")
        people = {name: User.objects.create(username=name, is_active=name != "gone") for name in names}
        model, data = (
            Repo.objects.create(type=kind, name=kind, owner_user=people[owner])
            for kind, owner in (("model", "alice"), ("dataset", "charlie"))
        )
        files = [
            Content.objects.create(repo=model, digest="sha256:w", path="w", reason=AWAITS_RELEASE),
            Content.objects.create(repo=model, digest="git:card", path="README.md", clearance="cleared"),
        ]
        rows = Content.objects.create(repo=data, digest="git:rows", path="rows.jsonl", clearance="cleared")
        talk = Discussion.objects.create(
            repo=model, number=1, title="Learn", author=people["teacher"], is_pull_request=True
        )
        proposal = PullRequest.objects.create(discussion=talk, base="0" * 40, head="0" * 40)
        run = Run.objects.create(pull_request=proposal, repo=model, proposed_by=people["pusher"], model_digest=MODEL)
        screen(model, "passed")
        release = Release.objects.create(
            repo=model, version="1.0.0", commit="c" * 40, digest=DIGEST, proposed_by=people["alice"],
            manifest={
                "version": "1.0.0", "run": run.pk, "model_digest": MODEL, "gate": [{"name": "data", "state": "passed"}],
                "contributors": [{"name": "charlie", "roles": ["brought data of charlie/dataset"]}],
            },
        )  # fmt: skip
        ReleaseStake.objects.bulk_create(
            ReleaseStake(release=release, user=people[name], reason="You made it.") for name in MAKERS
        )
        ReleaseBasis.objects.bulk_create(
            ReleaseBasis(release=release, repo=content.repo, digest=content.digest) for content in (*files, rows)
        )
        return cls(people, release, files, rows)

    def approve(self, *names: str, digest: str = DIGEST) -> None:
        for name in names:
            ReleaseApproval.objects.create(release=self.release, by=self.people[name], digest=digest)

    def published(self, **changes: Any) -> dict[str, Any]:
        """The columns that the gate writes."""
        manifest = {**self.release.manifest, "approved_digest": DIGEST, "approvals": [], "reviewed": True}
        manifest["published_at"] = "2026-11-28T12:00:00+00:00"
        row = {"state": "published", "manifest": manifest, "signature": SIGNED, "published_at": timezone.now()}
        return {**row, "is_reviewed": True, **changes}

    def publish(self, **changes: Any) -> None:
        Release.objects.filter(pk=self.release.pk).update(**self.published(**changes))


def run_sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def decide(content: Content, clearance: str = "pending", reason: str = "") -> None:
    Content.objects.filter(pk=content.pk).update(clearance=clearance, reason=reason)


def screen(repo: Repo, state: str) -> None:
    Screening.objects.create(subject="output", repo=repo, digest=MODEL, state=state, finished_at=timezone.now())


def add_stake(world: World, name: str) -> None:
    ReleaseStake.objects.create(release=world.release, user=world.people[name], reason="You made it.")


def shown(world: World, tag: str = "v1.0.0") -> RepoRelease:
    return RepoRelease(repo=world.release.repo, tag=tag, commit="c" * 40)


def show(world: World, tag: str = "v1.0.0") -> RepoRelease:
    row = shown(world, tag)
    row.save()
    return row


def forged(world: World, **changes: Any) -> Release:
    row = {"repo": world.release.repo, "version": "2.0.0", "commit": "d" * 40, "digest": DIGEST, **changes}
    return Release(**{**world.published(), **row})


def change_manifest(world: World, **changes: Any) -> dict[str, Any]:
    return {**world.published()["manifest"], **changes}


def rows_of(world: World) -> Any:
    return Release.objects.filter(pk=world.release.pk)


def changed(row: Release, **changes: Any) -> Release:
    for name, value in changes.items():
        setattr(row, name, value)
    return row
