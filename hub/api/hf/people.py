"""Who I am, people, organizations and what they like."""

from typing import Any

from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse

from hub.accounts.models import Membership, Organization, User
from hub.accounts.names import find_owner
from hub.accounts.permissions import require
from hub.api.addresses import next_page
from hub.api.hf.endpoints import View, answer, endpoint, signed_in, with_repo
from hub.api.hf.times import format_time
from hub.common.errors import NotFound
from hub.common.paging import cut_page, read_limit, read_number
from hub.community.follows import count_follows, followers_of, is_following
from hub.community.likes import set_like
from hub.community.models import Like
from hub.repos.models import Repo

MAX_START = 10**9


@signed_in
def show_me(request: HttpRequest) -> HttpResponse:
    user = request.user
    rows = Membership.objects.filter(user=user).select_related("organization").order_by("organization__name")
    token = getattr(user, "token", None)
    access: dict[str, Any] = {"type": "session"}
    if token is not None:
        details = {"displayName": token.name, "role": token.role, "createdAt": format_time(token.created_at)}
        access = {"type": "access_token", "accessToken": details}
    return answer(
        {
            "type": "user",
            "id": str(user.pk),
            "name": user.username,
            "fullname": user.title,
            "email": user.email or None,
            "emailVerified": False,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "",
            "isModerator": user.is_moderator,
            "orgs": [describe_membership(row) for row in rows],
            "auth": access,
        }
    )


def describe_membership(row: Membership) -> dict[str, Any]:
    organization = row.organization
    return {
        "type": "org",
        "id": str(organization.pk),
        "name": organization.name,
        "fullname": organization.title,
        "email": None,
        "canPay": False,
        "periodEnd": None,
        "avatarUrl": "",
        "roleInOrg": {"write": "write", "admin": "admin", "read": "read"}[row.role],
        "isEnterprise": False,
    }


def find_person(name: str) -> User:
    owner = find_owner(name)
    if not isinstance(owner, User):
        raise NotFound(f"{name!r} is an organization, not a person.")
    return owner


def find_organization(name: str) -> Organization:
    owner = find_owner(name)
    if not isinstance(owner, Organization):
        raise NotFound(f"{name!r} is a person, not an organization.")
    return owner


def count_repos(request: HttpRequest, **owner: Any) -> dict[str, int]:
    """What this reader sees of somebody's repositories, by type."""
    rows = Repo.objects.filter(
        pk__in=Repo.objects.visible_to(request.user).filter(is_disabled=False, **owner).values("pk")
    )
    counts = dict(rows.values_list("type").annotate(number=Count("pk")))
    return {f"num{type.title()}s": counts.get(type, 0) for type in Repo.Type.values}


def show_person(request: HttpRequest, *, who: str) -> HttpResponse:
    user = find_person(who)
    organizations = [
        {"name": row.name, "fullname": row.title, "avatarUrl": ""} for row in user.organizations.order_by("name")
    ]
    seen = Repo.objects.visible_to(request.user).order_by().values("pk")  # a number, too, tells of a private repository
    item = describe_person(user) | count_repos(request, owner_user=user)
    item |= count_follows(user) | {"isFollowing": is_following(request.user, user), "numUpvotes": count_upvotes(user)}
    item |= {
        "numPapers": 0,
        "numLikes": user.likes.filter(repo__in=seen).count(),
        "numDiscussions": user.discussions.filter(is_private=False, repo__in=seen).count(),
    }
    return answer(item | {"orgs": organizations, "details": user.bio, "createdAt": format_time(user.date_joined)})


def describe_person(user: User) -> dict[str, Any]:
    return {
        "_id": str(user.pk),
        "user": user.username,
        "fullname": user.title,
        "avatarUrl": "",
        "isPro": False,
        "type": "user",
    }


def count_upvotes(user: User) -> int:
    """Of the collections that everybody sees."""
    return user.collections.filter(is_private=False).aggregate(total=Sum("upvotes"))["total"] or 0


def show_organization(request: HttpRequest, *, who: str) -> HttpResponse:
    organization = find_organization(who)
    item = {
        "name": organization.name,
        "fullname": organization.title,
        "details": organization.description,
        "avatarUrl": "",
        "isVerified": False,
        "numUsers": organization.memberships.count(),
        "numFollowers": followers_of(organization).count(),
        "isFollowing": is_following(request.user, organization),
        "numPapers": 0,
    }
    return answer(item | count_repos(request, owner_organization=organization))


def list_members(request: HttpRequest, *, who: str) -> HttpResponse:
    rows = find_organization(who).memberships.select_related("user").order_by("user__username")
    return answer_pages(request, rows, lambda row: describe_person(row.user) | {"role": row.role})


def answer_pages(request: HttpRequest, rows: Any, describe: Any) -> HttpResponse:
    limit = read_limit(request, default=500)
    start = min(read_number(request.GET.get("start", "0")) or 0, MAX_START)
    page, has_more = cut_page(list(rows[start : start + limit + 1]), limit=limit)
    headers = {"Link": next_page(request, start=start + limit)} if has_more else None
    return answer([describe(row) for row in page], headers=headers)


def list_likes(request: HttpRequest, *, who: str) -> HttpResponse:
    """Only of repositories that the reader sees."""
    user = find_person(who)
    seen = Repo.objects.visible_to(request.user).values("pk")
    rows = Like.objects.filter(user=user, repo__in=seen).order_by("-at")
    return answer_pages(
        request,
        rows.select_related("repo__owner_user", "repo__owner_organization"),
        lambda row: {"createdAt": format_time(row.at), "repo": {"name": row.repo.full_name, "type": row.repo.type}},
    )


@with_repo()
def list_likers(request: HttpRequest, repo: Repo) -> HttpResponse:
    rows = Like.objects.filter(repo=repo).select_related("user").order_by("-at")
    return answer_pages(request, rows, lambda row: describe_person(row.user))


def change_like(likes: bool) -> View:
    @signed_in
    @with_repo()
    def change(request: HttpRequest, repo: Repo) -> HttpResponse:
        return answer({"likes": set_like(repo=repo, by=request.user, likes=likes)})

    return change


@signed_in
def list_storage(request: HttpRequest, *, who: str | None = None) -> HttpResponse:
    """The repositories of oneself or of one's organization with the bytes that they hold."""
    if who is None:
        owned = Repo.objects.visible_to(request.user).filter(owner_user=request.user)
    else:
        organization = find_organization(who)
        require(request.user, "read", organization)
        owned = Repo.objects.visible_to(request.user).filter(owner_organization=organization)
    # By key: what leads to a repository in two ways would count its bytes twice.
    rows = Repo.objects.filter(pk__in=owned.values("pk")).for_listing().order_by("pk")
    rows = rows.annotate(bytes=Sum("contents__size"))
    return answer_pages(request, rows, describe_storage)


def describe_storage(repo: Any) -> dict[str, Any]:
    return {
        "id": repo.full_name,
        "type": repo.type,
        "updatedAt": format_time(repo.updated_at),
        "visibility": "private" if repo.is_private else "public",
        "storage": repo.bytes or 0,
        "storagePercent": 0,
    }


whoami = endpoint(GET=show_me)
person = endpoint(GET=show_person)
organization = endpoint(GET=show_organization)
members = endpoint(GET=list_members)
likes = endpoint(GET=list_likes)
likers = endpoint(GET=list_likers)
like = endpoint(POST=change_like(True), DELETE=change_like(False))
storage = endpoint(GET=list_storage)
