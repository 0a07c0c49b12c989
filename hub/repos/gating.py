"""Gated repositories: everybody sees what they are, who asks and is let in reads the files.

Whether somebody may read is told by `can(user, "read_files", repo)`; here people ask, and writers of the repository decide."""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.names import find_owner
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn
from hub.repos.access_models import AccessRequest
from hub.repos.events import access_asked, access_decided
from hub.repos.models import Repo

MAX_QUESTIONS, MAX_OPTIONS = 20, 250  # there are about 250 countries
MAX_LABEL, MAX_ANSWER, MAX_PROMPT, MAX_REASON = 200, 1000, 5000, 500  # characters
DEFAULT_BUTTON = "Agree and ask for access"


@dataclass(frozen=True)
class Question:
    """One of `extra_gated_fields` of the card."""

    label: str
    kind: str  # text | checkbox | select | date
    options: tuple[str, ...] = ()
    name: str = ""  # of the field in the form


@dataclass(frozen=True)
class Gate:
    """What the card asks of who wants the files."""

    heading: str
    prompt: str  # Markdown
    button: str
    questions: tuple[Question, ...]


def read_gate(card: dict[str, Any]) -> Gate:
    """The gate that the metadata of a card describes. What cannot be read of it is left out."""
    return Gate(
        heading=text_in(card, "extra_gated_heading", MAX_LABEL),
        prompt=text_in(card, "extra_gated_prompt", MAX_PROMPT),
        button=text_in(card, "extra_gated_button_content", 80) or DEFAULT_BUTTON,
        questions=read_questions(card.get("extra_gated_fields")),
    )


def text_in(card: dict[str, Any], key: str, limit: int) -> str:
    value = card.get(key)
    return value.strip()[:limit] if isinstance(value, str) else ""


def read_questions(fields: Any) -> tuple[Question, ...]:
    if not isinstance(fields, dict):
        return ()
    rows = list(fields.items())[:MAX_QUESTIONS]
    return tuple(
        read_question(str(label)[:MAX_LABEL], kind, field_name(str(label)[:MAX_LABEL])) for label, kind in rows
    )


def field_name(label: str) -> str:
    """Of a question in the form: told by its words, because PostgreSQL keeps the keys of a card in an order of its own."""
    return f"field_{hashlib.sha256(label.encode()).hexdigest()[:12]}"


def read_question(label: str, kind: Any, name: str) -> Question:
    """`country` and `ip_location` are asked as text: nothing is looked up about a person behind their back."""
    if isinstance(kind, dict) and kind.get("type") == "select" and isinstance(kind.get("options"), list):
        options = [row.get("value", row.get("label")) if isinstance(row, dict) else row for row in kind["options"]]
        options = [str(row)[:MAX_LABEL] for row in options if isinstance(row, str | int | float)]
        return Question(label, "select", tuple(options[:MAX_OPTIONS]), name)
    known = {"checkbox": "checkbox", "date_picker": "date"}
    return Question(label, known.get(kind, "text") if isinstance(kind, str) else "text", (), name)


def check_answers(gate: Gate, given: dict[str, Any]) -> dict[str, Any]:
    """question -> answer. Every question needs one. Raises InvalidInput."""
    answers: dict[str, Any] = {}
    for question in gate.questions:
        value = given.get(question.label)
        if question.kind == "checkbox":
            if value is not True:
                raise InvalidInput(f"Tick {question.label!r}; without it there is no access.")
            answers[question.label] = True
            continue
        text = keepable(value).strip() if isinstance(value, str) else ""
        if not text:
            raise InvalidInput(f"Answer {question.label!r}; every question needs an answer.")
        if len(text) > MAX_ANSWER:
            raise InvalidInput(f"The answer to {question.label!r} has at most {MAX_ANSWER:,} characters; shorten it.")
        if question.kind == "select" and text not in question.options:
            raise InvalidInput(f"{text[:80]!r} is none of the answers to {question.label!r}; choose one of the list.")
        answers[question.label] = text
    return answers


def keepable(text: str) -> str:
    """Without NUL and halves of characters, which a database refuses or nobody can read back."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def require_gate(repo: Repo) -> None:
    if not repo.gated:
        raise InvalidInput(f"{repo.full_name} is not gated: whoever sees it may read its files.")


def find_own(repo: Repo, user: Any) -> AccessRequest | None:
    if not getattr(user, "is_authenticated", False):
        return None
    return AccessRequest.objects.filter(repo=repo, user=user).first()


@transaction.atomic
def ask_for_access(*, repo: Repo, by: Any, answers: dict[str, Any]) -> AccessRequest:
    """Ask, with answers by question. With the gate "auto" the person is let in at once.

    Raises NotSignedIn, InvalidInput, Conflict while an earlier request waits, Forbidden after a rejection."""
    if not by.is_authenticated:
        raise NotSignedIn(f"Sign in to ask for access to {repo.full_name}.")
    token = getattr(by, "token", None)
    if token is not None and token.role != token.Role.WRITE:
        raise Forbidden(f"The token {token.name!r} may not do this; make one with the role 'write' in your settings.")
    require(by, "read", repo)
    require_gate(repo)
    if can(by, "read_files", repo):
        raise InvalidInput(f"You have access to {repo.full_name} already.")
    before = find_own(repo, by)
    if before is not None and before.status == AccessRequest.Status.REJECTED:
        raise Forbidden(f"Your request for {repo.full_name} was rejected: {before.reason or 'no reason was given'}")
    if before is not None and not (before.is_granted or repo.gated == "auto"):
        raise Conflict(f"Your request for {repo.full_name} waits already; its maintainers decide.")
    now = timezone.now()
    request, _ = AccessRequest.objects.update_or_create(
        repo=repo,
        user=by,
        defaults={
            "fields": check_answers(read_gate(repo.card), answers),
            "status": AccessRequest.Status.ACCEPTED if repo.gated == "auto" else AccessRequest.Status.PENDING,
            "is_granted": False,
            "at": now,
            "decided_at": now if repo.gated == "auto" else None,
        },
    )
    access_asked.send(AccessRequest, request=request)
    return request


def list_requests(*, repo: Repo, by: Any, status: str) -> QuerySet[AccessRequest]:
    """Those of one state, newest first, for who decides about them."""
    require(by, "write", repo)
    require_gate(repo)
    if status not in AccessRequest.Status.values:
        raise InvalidInput(f"The state {status!r} does not exist; use {', '.join(AccessRequest.Status.values)}.")
    return AccessRequest.objects.filter(repo=repo, status=status).select_related("user").order_by("-at", "-pk")


def find_request(repo: Repo, *, user: str = "", key: str = "") -> AccessRequest:
    """By the person's name or the request's identifier. Raises NotFound."""
    rows = AccessRequest.objects.select_related("user").filter(repo=repo)
    found = rows.filter(user=find_person(user)).first() if user else rows.filter(key=key).first()
    if found is None:
        raise NotFound(f"There is no request of {user or key!r} for access to {repo.full_name}.")
    return found


def find_person(name: str) -> User:
    person = find_owner(name)
    if not isinstance(person, User):
        raise NotFound(f"{name!r} is an organization; access is given to people.")
    return person


@transaction.atomic
def decide(*, repo: Repo, by: User, request: AccessRequest, status: str, reason: str = "") -> None:
    """Accept, reject, or put back among those that wait. Raises NotFound when it is there already."""
    require(by, "write", repo)
    require_gate(repo)
    if status not in AccessRequest.Status.values:
        raise InvalidInput(f"The state {status!r} does not exist; use {', '.join(AccessRequest.Status.values)}.")
    if len(reason) > MAX_REASON:
        raise InvalidInput(f"A reason has at most {MAX_REASON} characters; shorten it.")
    row = AccessRequest.objects.select_for_update().select_related("user", "repo").get(pk=request.pk)
    if row.status == status:
        raise NotFound(f"The request of {row.user} for access to {repo.full_name} is {status} already.")
    row.status, row.reason = status, reason if status == AccessRequest.Status.REJECTED else ""
    row.decided_by, row.decided_at = by, timezone.now()
    row.save(update_fields=["status", "reason", "decided_by", "decided_at"])
    access_decided.send(AccessRequest, request=row, by=by)


@transaction.atomic
def grant_access(*, repo: Repo, by: User, user: User) -> AccessRequest:
    """Let somebody in who need not have asked. Raises InvalidInput when they have access already; of two who let them
    in at the same moment, both are told that it is done."""
    require(by, "write", repo)
    require_gate(repo)
    if can(user, "read_files", repo):
        raise InvalidInput(f"{user} has access to {repo.full_name} already.")
    accepted = {"status": AccessRequest.Status.ACCEPTED, "reason": "", "decided_by": by, "decided_at": timezone.now()}
    asked, is_new = AccessRequest.objects.get_or_create(repo=repo, user=user, defaults={"is_granted": True, **accepted})
    if not is_new:
        asked = AccessRequest.objects.select_for_update().select_related("user", "repo").get(pk=asked.pk)
        if asked.status == AccessRequest.Status.ACCEPTED:
            return asked
        for name, value in accepted.items():
            setattr(asked, name, value)
        asked.save(update_fields=list(accepted))
    access_decided.send(AccessRequest, request=asked, by=by)
    return asked
