"""The public dataset repository that holds the policy: how it begins, and who is behind a change of it."""

from django.conf import settings
from django.db import transaction

from hub.accounts.models import Organization, User
from hub.accounts.names import SYSTEM_NAME, find_owner
from hub.accounts.organizations import create_organization
from hub.accounts.people import count_active_people, hub_account
from hub.common.errors import Conflict, NotFound
from hub.community.candidates import people_behind
from hub.community.models import PullRequest
from hub.community.reviews import valid_approvals
from hub.repos.commits import author_of
from hub.repos.find import lookup
from hub.repos.lifecycle import GIT_ATTRIBUTES, start_repo
from hub.repos.models import Repo
from hub.storage.git import AddFile, GitRepo
from moderation.rules.policies import find_repository, in_force
from moderation.rules.policy_file import FILE, packaged_text

CARD = f"""---
license: cc0-1.0
pretty_name: The rules of this hub
---
# The rules of this hub

`{FILE}` says by which suites, judges and thresholds models and data are judged here, and how many people decide. It is read
from the newest cleared commit of `main`, and every verdict names the commit it rests on.

To change it, open a pull request. The check "policy" reads the file strictly and tells which verdicts about the last releases
would have been others. Moderators or operators of the hub merge it, never its author alone. What was in force on which day,
and who approved it, stands on the page `/policy/history` of the hub.
"""


def found() -> Repo:
    """The repository of the policy, made with the file that comes with the hub where there is none. Idempotent.

    Raises Conflict where its name belongs to somebody else."""
    repo = find_repository()
    if repo is not None:
        return repo
    namespace, _, name = settings.POLICY_REPOSITORY.partition("/")
    taken = lookup("dataset", settings.POLICY_REPOSITORY)
    if taken is not None and not taken.owner_user_id == hub_account().pk:
        raise Conflict(
            f"The dataset {taken.full_name} is there already and is not the hub's policy; give POLICY_REPOSITORY another name."
        )
    repo = taken or start_repo(
        type="dataset", name=name, by=hub_account(), owner=owner_of(namespace), is_private=False,
        description="The rules by which this hub judges, changed by pull request", fill=fill,
    )  # fmt: skip
    with transaction.atomic():
        Repo.objects.filter(pk=repo.pk).update(is_policy=True)
        repo.refresh_from_db()
    in_force()  # noted from its first day on
    return repo


def fill(members: GitRepo) -> str:
    operations = [
        AddFile(".gitattributes", GIT_ATTRIBUTES.encode()),
        AddFile("README.md", CARD.encode()),
        AddFile(FILE, packaged_text()),
    ]
    ref = f"refs/heads/{Repo().default_branch}"
    return members.commit(
        ref, operations, author=author_of(hub_account()), message="The rules as they come with the hub"
    )


def owner_of(namespace: str) -> User | Organization:
    """The hub's own account, or an organization, which is made where there is none. Raises Conflict for a person's name."""
    if namespace.lower() == SYSTEM_NAME:
        return hub_account()
    try:
        owner = find_owner(namespace)
    except NotFound:
        return create_organization(name=namespace, fullname=settings.SITE_NAME, created_by=hub_account())
    if not isinstance(owner, Organization):
        raise Conflict(f"{namespace} is a person; name an organization in POLICY_REPOSITORY, or leave it out.")
    if not owner.memberships.filter(user=hub_account(), role="admin").exists():
        raise Conflict(f"The organization {namespace} is not the hub's own; give POLICY_REPOSITORY another name.")
    return owner


def deciders() -> set[int]:
    """Keys of the moderators and operators."""
    rows = User.objects.filter(is_active=True, is_system=False)
    return set(rows.filter(is_moderator=True).values_list("pk", flat=True)) | set(
        rows.filter(is_staff=True).values_list("pk", flat=True)
    )


def is_about_policy(pull_request: PullRequest) -> bool:
    repo = pull_request.discussion.repo
    return repo.is_policy and pull_request.target == repo.default_branch


def missing_people(pull_request: PullRequest) -> str:
    """Empty when enough moderators or operators stand behind a change, else what is missing, in a sentence."""
    if count_active_people() == 1:
        return ""  # nobody else could; the log says so
    behind = people_behind(pull_request)
    approved = {row.by_id for row in valid_approvals(pull_request)} & deciders()
    people = approved | (behind & deciders())
    needed = in_force().policy.who_decides.policy_people
    if approved - behind and len(people) >= needed:
        return ""
    return (
        f"The rules of the hub are changed by {needed} moderators or operators, and by nobody alone: "
        f"{len(people)} stand behind it ({len(approved)} approved this candidate)."
    )
