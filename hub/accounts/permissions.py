"""The one rule book: `can(user, action, thing)`. Every door asks here and nowhere else."""

from typing import Any

from hub.accounts.models import AccessToken, Membership, Organization, User
from hub.common.errors import Disabled, Forbidden, Gated, HubError, NotSignedIn, RepoNotFound

RANK = {"read": 1, "write": 2, "admin": 3}
# What a role must be at least to do a thing with a repository as one of its members.
NEEDED_ROLE = {"read_members": "read", "write": "write", "admin": "admin", "run": "write", "review": "write"}
# With a deleted repository there is only one thing to do: its admins bring it back, or end it for good.
OF_DELETED = "restore"
# Actions of anybody signed in who may read.
OPEN_ACTIONS = frozenset({"discuss", "propose", "like", "report", "answer"})
# `read` shows the page, the card, the history and the names of the files; `read_files` gives their bytes. They differ
# where a repository is gated.
READING = frozenset({"read", "read_files", "read_members"})
# Actions with the hub as a whole, of anybody signed in.
SOCIAL_ACTIONS = frozenset({"upvote", "follow", "attach"})

# What a refusal says to who is signed in, by action: who may, and whom to ask.
REFUSALS_OF_REPOS = {
    "read": "Only members of {name} may read it; ask an admin of it to add you.",
    "read_members": "Only members of {name} see this; ask an admin of it to add you.",
    "read_files": "You have no access to the files of {name}; ask for it on its page.",
    "write": "Only people with write access to {name} may do this; ask an admin of it for the right.",
    "run": "Only people with write access to {name} may start or stop runs in it; ask one of them.",
    "review": "Only people with write access to {name} may review in it; leave a comment instead.",
    "admin": "Only admins of {name} may do this; ask one of them.",
    OF_DELETED: "Only admins of {name} may bring it back or end it; ask one of them.",
    "propose": "You may not propose changes to {name}; ask an admin of it for access to its files.",
    "discuss": "You may not write in the discussions of {name}; ask an admin of it.",
    "like": "You may not like {name}, as you may not read it.",
    "report": "You may not report {name}, as you may not read it.",
}
REFUSALS_OF_ORGANIZATIONS = {
    "create_repo": "Only members of {name} with write access may create repositories under its name; ask an admin of it.",
    "collect": "Only members of {name} with write access may change its collections; ask an admin of it.",
    "admin": "Only admins of {name} may change the organization; ask one of them.",
}
REFUSALS_OF_HUB = {
    "moderate": "Only moderators of this hub may do this.",
    "operate": "Only operators of this hub may do this.",
}


def role_of(user: Any, repo: Any) -> str | None:
    """The role of `user` in the repository: read, write, admin or None (a stranger)."""
    if not getattr(user, "is_authenticated", False):
        return None
    if repo.is_policy:  # the rules of the hub are nobody's own: its operators and moderators keep them
        return "admin" if user.is_staff else "write" if user.is_moderator else None
    if repo.owner_user_id is not None and repo.owner_user_id == user.pk:
        return "admin"
    roles = [row.role for row in repo.collaborators.all() if row.user_id == user.pk]
    if repo.owner_organization_id is not None:
        roles += Membership.objects.filter(organization_id=repo.owner_organization_id, user=user).values_list(
            "role", flat=True
        )
    return max(roles, key=RANK.__getitem__, default=None)


def token_allows(token: AccessToken | None, action: str, thing: Any) -> bool:
    """A read token reads; a fine-grained one reaches only the repositories it names, as far as it says."""
    if token is None or token.role == AccessToken.Role.WRITE:
        return True
    if token.role == AccessToken.Role.READ:
        return action in READING
    scopes = token.scopes or {}
    if isinstance(thing, User | Organization) or thing is None:
        scope = scopes.get(f"namespace/{thing}") if thing is not None else None
    else:
        scope = scopes.get(f"{thing.type}s/{thing.full_name}") or scopes.get(f"namespace/{thing.owner.name}")
    if (
        getattr(thing, "is_private", True) is False
        and not getattr(thing, "is_disabled", False)
        and (action == "read" or (action == "read_files" and not getattr(thing, "gated", "")))
    ):
        return True
    return scope == "write" or (scope == "read" and action in READING)


def can(user: Any, action: str, thing: Any = None) -> bool:
    """Whether `user` may do `action` with `thing` (Repo, User, Organization or None for the hub)."""
    if not token_allows(getattr(user, "token", None), action, thing):
        return False
    if action == "moderate":
        return bool(getattr(user, "is_moderator", False))
    if action == "operate":
        return bool(getattr(user, "is_staff", False))
    if action in SOCIAL_ACTIONS:
        return bool(user.is_authenticated)
    if isinstance(thing, User):
        return bool(user.is_authenticated and user.pk == thing.pk)
    if isinstance(thing, Organization):
        return can_in_organization(user, action, thing)
    return can_with_repo(user, action, thing)


def can_in_organization(user: Any, action: str, organization: Organization) -> bool:
    if not user.is_authenticated:
        return False
    role = organization.memberships.filter(user=user).values_list("role", flat=True).first()
    needed = {"create_repo": "write", "collect": "write", "admin": "admin"}.get(action, "read")
    return role is not None and RANK[role] >= RANK[needed]


def can_with_repo(user: Any, action: str, repo: Any) -> bool:
    if action == OF_DELETED or repo.deleted_at is not None:
        is_theirs = action == OF_DELETED and repo.deleted_at is not None and not repo.is_disabled
        return is_theirs and role_of(user, repo) == "admin"
    role = role_of(user, repo)
    is_moderator = bool(getattr(user, "is_moderator", False))
    if repo.is_disabled:
        # Its people still see that it exists and why, and answer for it; moderators talk about it; nobody changes or serves it.
        return (action in READING | {"answer"} and role is not None) or (
            is_moderator and action in READING | OPEN_ACTIONS
        )
    readable = not repo.is_private or role is not None or is_moderator
    if action == "read":
        return readable
    if action == "read_members":
        return role is not None or is_moderator
    may_read_files = readable and (not repo.gated or role is not None or is_moderator or was_let_in(user, repo))
    if action == "read_files":
        return may_read_files
    if action == "propose":  # a proposal begins with what is there
        return bool(user.is_authenticated) and may_read_files
    if action in OPEN_ACTIONS:
        return bool(user.is_authenticated) and readable
    needed = NEEDED_ROLE[action]
    return role is not None and RANK[role] >= RANK[needed]


def was_let_in(user: Any, repo: Any) -> bool:
    """Whether a gated repository has accepted this stranger."""
    if not getattr(user, "is_authenticated", False):
        return False
    return bool(repo.access_requests.filter(user_id=user.pk, status="accepted").exists())


def refuse_files(user: Any, repo: Any) -> Gated:
    """The refusal of a gated repository, in the words that the stock client looks for."""
    refusal = Gated(
        f"Access to {repo.type} {repo.full_name} is restricted and you are not in the authorized list. "
        f"Open its page at {repo.path} to ask for access."
    )
    if not getattr(user, "is_authenticated", False):
        refusal.status = 401
    return refusal


def refuse_reading(repo: Any) -> HubError:
    """Of a repository that this reader may not even see: a private one looks missing; one that everybody could read until
    moderation took it offline says so, or its users would look for a typing error."""
    if repo.is_disabled and not repo.is_private and repo.deleted_at is None:
        reason = repo.disabled_reason or "no reason was given"
        return Disabled(f"Moderation has taken {repo.type} {repo.full_name} offline: {reason}")
    return RepoNotFound(
        f"There is no {repo.type} repository {repo.full_name} here, or it is private and you are no member."
    )


def require(user: Any, action: str, thing: Any = None) -> None:
    """Return when allowed. A repository that `user` may not even read looks like a missing one."""
    if can(user, action, thing):
        return
    is_repo = thing is not None and not isinstance(thing, User | Organization)
    if is_repo and not can(user, "read", thing):
        raise refuse_reading(thing)
    is_gated = is_repo and bool(thing.gated) and not can(user, "read_files", thing)
    if is_gated and (action == "read_files" or (action == "propose" and user.is_authenticated)):
        raise refuse_files(user, thing)
    if not user.is_authenticated:
        raise NotSignedIn("Sign in first, or send an access token that is valid.")
    token = getattr(user, "token", None)
    if token is not None and not token_allows(token, action, thing):
        raise Forbidden(f"The token {token.name!r} may not do this; make one with the role 'write' in your settings.")
    raise Forbidden(describe_refusal(action, thing))


def require_commit(user: Any, repo: Any, *, is_proposal: bool = False) -> None:
    """`require` for who brings content: where they may not write, they may propose."""
    if not is_proposal and not can(user, "write", repo) and can(user, "propose", repo):
        raise Forbidden(
            f"Only people with write access to {repo.full_name} may change it; open a pull request (with `hf`: --create-pr), "
            "or ask an admin of it for the right."
        )
    require(user, "propose" if is_proposal else "write", repo)


def describe_refusal(action: str, thing: Any) -> str:
    """One sentence for somebody who is signed in and may not do `action`."""
    if isinstance(thing, User):
        return f"Only {thing} may do this for the account {thing}."
    if isinstance(thing, Organization):
        return REFUSALS_OF_ORGANIZATIONS.get(action, "Only members of {name} may do this.").format(name=thing)
    if thing is None:
        return REFUSALS_OF_HUB.get(action, "Your account may not do this on this hub; ask its operator.")
    if thing.is_disabled:
        return f"Moderation has switched {thing.full_name} off, so nothing in it changes; its page says why."
    return REFUSALS_OF_REPOS[action].format(name=thing.full_name)
