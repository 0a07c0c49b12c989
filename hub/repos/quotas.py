"""How many bytes of large files people, organizations and repositories may hold here.

A repository's files count for its owner, each content once however often and in how many of their repositories it lies.
What somebody without write access brings with a proposal counts for them, also after it was merged. Text in git is
bounded by the commit and not counted. What lies in the store without such a file counts too (hub.repos.loose), and what
is deleted counts until it is gone: its bytes are still there, and bringing it back never breaks a limit.

Refusals come before bytes are sent wherever the client says how many come; a claim is checked again under a lock when
the bytes are there, so that two uploads cannot pass together."""

import re
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db.models import Max, Q, QuerySet, Sum
from django.db.models.functions import Substr

from hub.accounts.models import Organization, User
from hub.common.errors import InvalidInput, QuotaExceeded
from hub.repos.loose import count_loose, hold, is_guest
from hub.repos.models import Content, Quota, Repo, StoredBlob, UploadedBlob

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})")

SQL_BATCH = 500  # values in one IN (...)

Holder = User | Organization | Repo


@dataclass(frozen=True)
class Limit:
    """What one of those concerned may hold. `max_bytes` None: as much as there is room for."""

    holder: Holder
    max_bytes: int | None

    @property
    def used_bytes(self) -> int:
        return usage_of(self.holder)

    def check(self, adding: int) -> None:
        """Raises QuotaExceeded when `adding` more bytes do not fit."""
        if self.max_bytes is None:
            return
        used = self.used_bytes
        if used + adding > self.max_bytes:
            raise QuotaExceeded(
                f"This does not fit: {name_of(self.holder)} may hold {self.max_bytes:,} bytes of large files here, and it "
                f"would be {used + adding:,}. Delete what is not needed any more (it counts until its bytes are given back, about a month "
                "later), or ask the operator of this hub for room."
            )


def limits_for(repo: Repo, by: User) -> list[Limit]:
    """The limits that an upload of this person into this repository has to keep; guests spend their own room."""
    if is_guest(repo, by):
        return [limit_of(by)]
    return [limit_of(repo.owner), limit_of(repo)]


def lock_holders(repo: Repo, by: User) -> None:
    """Within a transaction: one claim after the other where a limit counts."""
    for limit in limits_for(repo, by):
        if limit.max_bytes is not None:
            # Not FOR UPDATE: the claims that were just written name these rows, and would wait for each other.
            type(limit.holder).objects.select_for_update(no_key=True).get(pk=limit.holder.pk)


def check_room(*, repo: Repo, by: User, adding: int) -> None:
    """Raises QuotaExceeded when `adding` bytes of large files more do not fit."""
    for limit in limits_for(repo, by):
        limit.check(adding)


def check_owner_room(repo: Repo, owner: User | Organization) -> None:
    """Raises QuotaExceeded when a repository, or a copy of it, does not fit into the room of who is to own it. What the
    owner holds already in another repository is counted as if it were new."""
    limit = limit_of(owner)
    limit.check(usage_of(repo) if limit.max_bytes is not None else 0)


def room_left(*, repo: Repo, by: User) -> int | None:
    """Bytes that still fit; None where nothing is limited."""
    rooms = [
        max(0, limit.max_bytes - limit.used_bytes) for limit in limits_for(repo, by) if limit.max_bytes is not None
    ]
    return min(rooms, default=None)


def limit_of(holder: Holder) -> Limit:
    row = Quota.objects.filter(**key_of(holder)).first()
    if row is not None:
        return Limit(holder, row.max_bytes)
    defaults = {User: settings.QUOTA_USER_BYTES, Organization: settings.QUOTA_ORGANIZATION_BYTES}
    return Limit(holder, defaults.get(type(holder), settings.QUOTA_REPOSITORY_BYTES) or None)


def set_limit(holder: Holder, max_bytes: int | None) -> None:
    """None lifts the limit, also that of the settings."""
    Quota.objects.update_or_create(**key_of(holder), defaults={"max_bytes": max_bytes})


def forget_limit(holder: Holder) -> None:
    """From now on the settings count."""
    Quota.objects.filter(**key_of(holder)).delete()


def key_of(holder: Holder) -> dict[str, Holder]:
    if isinstance(holder, Repo):
        return {"repo": holder}
    return {"organization": holder} if isinstance(holder, Organization) else {"user": holder}


def name_of(holder: Holder) -> str:
    return holder.full_name if isinstance(holder, Repo) else holder.name


def usage_of(holder: Holder) -> int:
    """Bytes of large files that count for a person, an organization or one repository."""
    loose = count_loose(**key_of(holder))
    if isinstance(holder, Repo):
        return loose + count_bytes(Repo.everything.filter(pk=holder.pk), guest=None)
    if isinstance(holder, Organization):
        return loose + count_bytes(Repo.everything.filter(owner_organization=holder), guest=None)
    return loose + count_bytes(Repo.everything.filter(owner_user=holder), guest=holder)


def count_bytes(repos: QuerySet[Repo], *, guest: User | None) -> int:
    """What is committed in these repositories or waits there for its commit, without what guests brought; and what
    `guest` brought elsewhere."""
    claims = UploadedBlob.objects.filter(repo__in=repos)
    theirs = claims.filter(is_guest=True).values("sha256")
    own = claims.filter(is_guest=False).values("sha256")
    committed = (
        Content.objects.filter(repo__in=repos, digest__startswith="sha256:")
        .exclude(digest__contains="#")
        .annotate(sha256=Substr("digest", len("sha256:") + 1))
        .exclude(sha256__in=theirs.exclude(sha256__in=own))
        .filter(sha256__in=StoredBlob.objects.values("sha256"))  # what was collected since takes no room
    )
    total = committed.values("sha256").annotate(bytes=Max("size")).aggregate(sum=Sum("bytes"))["sum"] or 0
    waiting = StoredBlob.objects.filter(sha256__in=own).exclude(sha256__in=committed.values("sha256"))
    total += waiting.aggregate(sum=Sum("size"))["sum"] or 0
    if guest is not None:
        brought = UploadedBlob.objects.filter(by=guest, is_guest=True).exclude(repo__in=repos).values("sha256")
        total += StoredBlob.objects.filter(sha256__in=brought).aggregate(sum=Sum("size"))["sum"] or 0
    return total


def list_uncounted(shas: list[str], *, repo: Repo, by: User) -> set[str]:
    """Those of `shas` that do not count yet for who pays for what this person uploads into this repository."""
    return set(shas) - list_counted(shas, by if is_guest(repo, by) else repo.owner)


def list_counted(shas: list[str], holder: User | Organization) -> set[str]:
    """Those of `shas` that a person or an organization holds or has brought."""
    repos = Repo.everything.filter(**{f"owner_{key}": owner for key, owner in key_of(holder).items()})
    claims = Q(repo__in=repos, is_guest=False) | (
        Q(by=holder, is_guest=True) if isinstance(holder, User) else Q(pk=None)
    )
    found: set[str] = set()
    for start in range(0, len(shas), SQL_BATCH):
        batch = shas[start : start + SQL_BATCH]
        found.update(UploadedBlob.objects.filter(claims, sha256__in=batch).values_list("sha256", flat=True))
        names = [f"sha256:{sha256}" for sha256 in batch]
        committed = Content.objects.filter(repo__in=repos, digest__in=names)
        found.update(committed.annotate(sha256=Substr("digest", 8)).values_list("sha256", flat=True))
    return found


def keep_counting(files: dict[User | Organization, dict[str, int]]) -> None:
    """The large files of a repository that is gone for good (holder -> sha256 -> bytes) count for who brought them until
    their bytes are given back."""
    for holder, sizes in files.items():
        kept = list_counted(list(sizes), holder)
        hold(key_of(holder), {f"sha256:{sha256}": size for sha256, size in sizes.items() if sha256 not in kept})


def read_size(text: str) -> int | None:
    """Bytes of "10GB", "1.5 MiB" or "none"; parts of a byte are left out. Raises InvalidInput."""
    if text.strip().lower() == "none":
        return None
    match = SIZE.fullmatch(text.strip())
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise InvalidInput(f"{text[:40]!r} is no size; write it like 500MB, 1.5GB, 2TiB, or none for no limit.")
    return int(Decimal(match[1]) * unit)
