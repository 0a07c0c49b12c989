"""Import: an archive becomes a repository, all of it or nothing.

The stream is read once. Everything in it is checked against the manifest, the history as a push is, and each large file that
the history names must lie in the archive: naming a digest gives nobody the bytes of others. Until all is done the repository
looks missing to everybody, and what a kill leaves ends with a later collection (hub.repos.deleted). Contents are pending and
screened like any push, whatever was decided elsewhere; releases come as words and plain tags, since the gate alone makes them;
who brought it is credited, since who wrote it is known to the other hub only."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.accounts.names import check_name
from hub.accounts.permissions import require
from hub.common.errors import Conflict, InvalidInput, TooLarge
from hub.community.archives.manifest import Entry, Manifest, open_entry, read_manifest, take_entry
from hub.community.archives.records import Told, check_records, read_records
from hub.community.archives.tar import Readable, TarReader
from hub.community.candidates import makes_weights
from hub.community.models import Discussion, Event, PullRequest
from hub.community.pushes import SAMPLE_BYTES, is_number
from hub.repos.blobs import index_blob, store
from hub.repos.cards import refresh_card
from hub.repos.clearance import note_publication
from hub.repos.commits import register_commits
from hub.repos.deleted import forget_import
from hub.repos.events import repo_created
from hub.repos.find import lookup
from hub.repos.largeness import is_text
from hub.repos.loose import hold
from hub.repos.models import LooseBytes, Repo, UploadedBlob
from hub.repos.places import pair
from hub.repos.publication import publish
from hub.repos.quotas import keep_counting, key_of, limit_of, list_counted
from hub.repos.refs import check_branch_name, check_tag_name
from hub.storage.blobs import StoredFile
from hub.storage.errors import StorageError
from hub.storage.git import GitRepo, RefMove
from hub.storage.git.bundles import read_refs
from hub.storage.git.quarantine import Quarantine

MAX_COMMITS = 100_000
SOON_COMMITS = 5_000  # as many are registered within a request; an operator's command takes more
MAX_ARCHIVE_BYTES = 2 * 1024**4  # of a request
BATCH = 500
BRANCH, TAG, PULL = "refs/heads/", "refs/tags/", "refs/pr/"


@dataclass(frozen=True)
class Arrived:
    """An archive that was read to its end and is what it says of itself."""

    manifest: Manifest
    told: Told
    records: IO[bytes]
    bundle: IO[bytes]
    large: dict[str, StoredFile]  # by SHA-256


def import_archive(
    *,
    stream: Readable,
    by: User,
    name: str,
    owner: User | Organization | None = None,
    is_private: bool | None = None,
    max_commits: int = MAX_COMMITS,
) -> Repo:
    """`is_private` None: as it was. Raises InvalidInput, QuotaExceeded, Conflict, Forbidden; nothing is left behind then."""
    owner = owner or by
    check_name(name, reserved_ok=True)
    require(by, "create_repo", owner)
    reader = TarReader(stream)
    manifest = read_manifest(reader)
    refuse_taken(manifest.type, owner, name)
    check_fits(owner, manifest)  # before the bytes are taken; again when they are claimed
    with tempfile.TemporaryFile() as records, tempfile.TemporaryFile() as bundle:
        take_entry(reader, manifest.entries[0], records)
        told = check_records(records)
        if told.repo["type"] != manifest.type:
            raise InvalidInput("The archive is damaged: its two descriptions name different types of repository.")
        take_entry(reader, manifest.entries[1], bundle)
        large = take_large(reader, manifest, owner)
        if reader.next_member() is not None:
            raise InvalidInput("The archive holds more files than its manifest says. Nothing was imported.")
        arrived = Arrived(manifest, told, records, bundle, large)
        repo = begin(arrived, owner, name)
        try:
            refs = take_history(repo, arrived, max_commits)
            claim(repo, by, arrived)
            main = f"{BRANCH}{repo.default_branch}"
            for ref in sorted(refs, key=lambda ref: ref != main):
                register_commits(repo=repo, ref=ref, old=None, new=refs[ref], by=by, door="hub")
            finish(repo, arrived, refs, by=by, is_private=is_private)
        except Exception:
            forget_import(repo)
            raise
    refresh_card(repo)
    repo.refresh_from_db()
    repo_created.send(Repo, repo=repo)
    return repo


def refuse_taken(type: str, owner: User | Organization, name: str) -> None:
    existing = lookup(type, f"{owner.name}/{name}")
    if existing is not None:
        raise Conflict(f"{existing.full_name} is there already; import it under another name.", url_path=existing.path)


def check_fits(owner: User | Organization, manifest: Manifest) -> None:
    limit = limit_of(owner)
    if limit.max_bytes is None:
        return
    sizes = {entry.sha256: entry.size for entry in manifest.large_files}
    counted = list_counted(list(sizes), owner)
    loose = LooseBytes.objects.filter(**key_of(owner), name__startswith="sha256:").values_list("name", flat=True)
    counted |= {name.removeprefix("sha256:") for name in loose.iterator()}
    limit.check(sum(size for sha256, size in sizes.items() if sha256 not in counted))


def take_large(reader: TarReader, manifest: Manifest, owner: User | Organization) -> dict[str, StoredFile]:
    """Into the byte store, where nobody may name them yet. They count at once: what stays unnamed lies there until it is
    collected, however the import ends."""
    taken = {}
    for entry in manifest.large_files:
        if entry.size > settings.MAX_FILE_BYTES:
            raise TooLarge(
                f"{entry.name} has {entry.size:,} bytes; a file holds at most {settings.MAX_FILE_BYTES:,} here."
            )
        taken[entry.sha256] = take_file(reader, entry, owner)
        keep_counting({owner: {entry.sha256: entry.size}})
    return taken


def take_file(reader: TarReader, entry: Entry, owner: User | Organization) -> StoredFile:
    left: dict[str, int] = {}  # xorb -> bytes of what had come when it was refused
    announced = {"expected_sha256": entry.sha256, "expected_size": entry.size}
    try:
        return store().add(open_entry(reader, entry), left_behind=left, **announced)
    except StorageError as problem:
        raise InvalidInput(f"{entry.name} is not what the manifest says: {problem} Nothing was imported.") from None
    finally:
        hold(key_of(owner), {f"xorb:{xorb}": size for xorb, size in left.items()})


def begin(arrived: Arrived, owner: User | Organization, name: str) -> Repo:
    """A row that looks missing to everybody and cannot be brought back, and the git folders."""
    told, holder = arrived.told.repo, "owner_organization" if isinstance(owner, Organization) else "owner_user"
    repo = Repo.everything.create(
        type=told["type"],
        name=name,
        is_private=True,
        description=told["description"],
        gated=told["gated"],
        default_branch=told["default_branch"],
        next_number=told["next_number"],
        is_disabled=True,
        deleted_at=timezone.now(),
        **{holder: owner},
    )
    pair(repo).create()
    return repo


def take_history(repo: Repo, arrived: Arrived, max_commits: int) -> dict[str, str]:
    """Judged in quarantine like a push, and then moved in: ref -> object. Raises InvalidInput, TooLarge."""
    members = pair(repo).members
    try:
        refs = read_refs(arrived.bundle)
        with Quarantine(members) as quarantine:
            quarantine.unpack(arrived.bundle, limit_bytes=arrived.manifest.entries[1].size)
            quarantine.check(refs.values())
            check_refs(quarantine.repo, refs, repo, arrived.told)
            check_files(quarantine, refs, arrived.large, max_commits)
            quarantine.migrate(refs.values(), everything=False)
        members.move_refs([RefMove(ref, oid, None) for ref, oid in refs.items()])
    except StorageError as problem:
        raise InvalidInput(f"The history of the archive is refused: {problem} Nothing was imported.") from None
    return refs


def check_refs(git: GitRepo, refs: dict[str, str], repo: Repo, told: Told) -> None:
    if f"{BRANCH}{repo.default_branch}" not in refs:
        raise InvalidInput(f"The archive has no branch {repo.default_branch}, which it calls its main one.")
    pulls = {number for number, is_pull_request in told.numbers.items() if is_pull_request}
    for ref, oid in refs.items():
        number = ref.removeprefix(PULL)
        is_pull = ref.startswith(PULL) and is_number(number) and int(number) in pulls
        if not (ref.startswith((BRANCH, TAG)) or is_pull):
            raise InvalidInput(f"The archive names {ref[:100]}, which is no branch, tag or pull request of it.")
        if not is_pull:  # here, too, some names are the hub's own
            kind, check_name_of = (BRANCH, check_branch_name) if ref.startswith(BRANCH) else (TAG, check_tag_name)
            check_name_of(repo, ref.removeprefix(kind))
        commit = git.peel(oid)
        if commit != oid and not ref.startswith(TAG):
            raise InvalidInput(f"The archive lets {ref[:100]} name something else than a commit.")
    missing = sorted(number for number in pulls if f"{PULL}{number}" not in refs)
    if missing:
        raise InvalidInput(f"The archive lacks the commits of pull request {missing[0]}; export it again.")


def check_files(quarantine: Quarantine, refs: dict[str, str], large: dict[str, StoredFile], max_commits: int) -> None:
    """What git holds is text of bounded size; all else are pointers whose bytes came along."""
    git, known = quarantine.repo, list(quarantine.known)
    commits: set[str] = set()
    for tip in sorted({git.peel(oid) for oid in refs.values()}):
        commits.update(git.ancestors_not_in(tip, known))
        if len(commits) > max_commits:
            raise TooLarge(
                f"The history has more than {max_commits:,} commits; the operator of this hub can import it."
            )
        for path, oid, size, pointer in git.new_blobs(tip, known):
            if pointer is not None:
                stored = large.get(pointer.sha256)
                if stored is None or stored.size != pointer.size:
                    raise InvalidInput(f"The archive lacks the large file {path[:200]}, which its history names.")
            elif size > settings.MAX_REGULAR_FILE_BYTES or not is_text(git.read_blob(oid)[:SAMPLE_BYTES]):
                raise InvalidInput(f"{path[:200]} in its history is binary or too large, and not kept as a large file.")
        known.append(tip)


def claim(repo: Repo, by: User, arrived: Arrived) -> None:
    """The bytes were shown, all of them, so they count and may be named here. Raises QuotaExceeded."""
    for stored in arrived.large.values():
        index_blob(stored)
    rows = [UploadedBlob(repo=repo, sha256=sha256, by=by) for sha256 in arrived.large]
    with transaction.atomic():
        UploadedBlob.objects.bulk_create(rows, batch_size=BATCH)
        owner = repo.owner
        names = [f"sha256:{sha256}" for sha256 in arrived.large]
        for start in range(0, len(names), BATCH):  # they count as files of the repository now
            LooseBytes.objects.filter(**key_of(owner), name__in=names[start : start + BATCH]).delete()
        # Two claims are counted one after the other. `__class__`: who asks through a page comes as a lazy object.
        owner.__class__.objects.select_for_update(no_key=True).get(pk=owner.pk)
        for holder in (owner, repo):
            limit_of(holder).check(0)


def finish(repo: Repo, arrived: Arrived, refs: dict[str, str], *, by: User, is_private: bool | None) -> None:
    """From one moment to the next it is there, with all that was said."""
    told, owner = arrived.told, repo.owner
    asks_private = isinstance(owner, Organization) and owner.is_private_by_default
    repo.is_private = (told.repo["is_private"] or asks_private) if is_private is None else is_private
    repo.is_disabled, repo.deleted_at = False, None
    try:
        with transaction.atomic():
            write_talks(repo, arrived, refs)
            repo.save(update_fields=["is_private", "is_disabled", "deleted_at"])
            if told.releases:
                tell_releases(repo, arrived)
            note = note_publication(repo, by=by)
    except IntegrityError:
        raise Conflict(
            f"A {repo.type} repository called {repo.full_name} was made a moment ago; choose another name."
        ) from None
    publish(repo)
    note.delete()


def write_talks(repo: Repo, arrived: Arrived, refs: dict[str, str]) -> None:
    keys: dict[int, int] = {}
    events: list[Event] = []
    for kind, record in read_records(arrived.records):
        if kind == "discussion":
            keys[record["number"]] = write_talk(repo, record, refs).pk
        elif kind == "event":
            data = record["data"] | {"imported_author": record["author"]}
            more = {"kind": record["kind"], "data": data, "at": record["at"], "edited_at": record["edited_at"]}
            events.append(Event(discussion_id=keys[record["discussion"]], **more))
            if len(events) >= BATCH:
                Event.objects.bulk_create(events)
                events = []
    Event.objects.bulk_create(events)


def write_talk(repo: Repo, record: dict[str, Any], refs: dict[str, str]) -> Discussion:
    told = record["pull_request"]
    discussion = Discussion.objects.create(
        repo=repo,
        imported_author=record["author"],
        is_pull_request=told is not None,
        **{key: record[key] for key in ("number", "title", "status", "created_at", "updated_at")},
    )
    if told is not None:
        write_pull_request(discussion, told, refs[f"{PULL}{discussion.number}"])
    return discussion


def write_pull_request(discussion: Discussion, told: dict[str, Any], head: str) -> None:
    """No check, approval or candidate comes along: what is still open is judged here, from the start."""
    members = pair(discussion.repo).members
    target = members.read_ref(f"{BRANCH}{told['target']}")
    base = told["base"] if members.has_commit(told["base"]) else (target and members.merge_base(target, head)) or head
    merge_commit = told["merge_commit"] if told["merge_commit"] and members.has_commit(told["merge_commit"]) else ""
    made = PullRequest.objects.create(
        discussion=discussion,
        target=told["target"],
        base=base,
        head=head,
        merge_commit=merge_commit,
        merged_at=told["merged_at"],
    )
    if discussion.status in (Discussion.Status.OPEN, Discussion.Status.DRAFT) and target:
        made.is_trained = makes_weights(made)
        made.save(update_fields=["is_trained"])


def tell_releases(repo: Repo, arrived: Arrived) -> None:
    """A closed discussion that says what was released elsewhere: nothing here is a release because of it."""
    where = f"{arrived.manifest.name or 'the repository'} on {arrived.manifest.hub or 'another hub'}"
    number = Repo.everything.values_list("next_number", flat=True).get(pk=repo.pk)
    Repo.everything.filter(pk=repo.pk).update(next_number=F("next_number") + 1)
    talk = Discussion.objects.create(
        repo=repo, number=number, title=f"Releases of {where}"[:300], status=Discussion.Status.CLOSED
    )
    Event.objects.create(
        discussion=talk, kind="comment", data={"text": describe_releases(where, arrived.told.releases)}
    )


def describe_releases(where: str, releases: Iterable[dict[str, Any]]) -> str:
    lines = [f"- `{row['tag']}` ({row['state']}), commit `{row['commit']}`" for row in releases]
    head = f"What {where} had released when it was exported. Their tags are plain tags here; a release is made by this hub's gate."
    return "\n".join([head, "", *lines])[:65_000]
