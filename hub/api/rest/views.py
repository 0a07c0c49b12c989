"""Our own REST door: people, repositories, pull requests with their checks, reviews and merging."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.rest import serializers as shapes
from hub.api.rest.pages import answer_page
from hub.common.errors import InvalidInput, NotSignedIn, RevisionNotFound
from hub.common.paging import read_number
from hub.community.contributions import reader_for
from hub.community.disclosure import told_checks, told_events
from hub.community.models import Discussion, PullRequest
from hub.community.pull_requests import find_pull_request, merge, unmet_requirements
from hub.community.reviews import review
from hub.repos.find import find_repo
from hub.repos.models import Repo

REPO_TYPES = ["models", "datasets", "spaces"]
REFUSALS = {400: shapes.RefusalSerializer, 401: shapes.RefusalSerializer, 403: shapes.RefusalSerializer}
REFUSALS |= {404: shapes.RefusalSerializer}
IN_REPO = [
    OpenApiParameter("type", OpenApiTypes.STR, OpenApiParameter.PATH, enum=REPO_TYPES),
    OpenApiParameter("namespace", OpenApiTypes.STR, OpenApiParameter.PATH),
    OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH),
]
PAGED = [
    OpenApiParameter("limit", OpenApiTypes.INT, description="At most 200; 50 when it is not said."),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="From the Link header of the page before."),
]
MAX_EVENTS = 200


def require_person(request: Request) -> Any:
    if not request.user.is_authenticated:
        raise NotSignedIn("Send an access token: 'Authorization: Bearer hf_...'; you make one in your settings.")
    return request.user


class MeView(APIView):
    @extend_schema(operation_id="show_me", responses={200: shapes.MeSerializer, **REFUSALS})
    def get(self, request: Request) -> Response:
        """Who the token belongs to."""
        return Response(shapes.MeSerializer(require_person(request)).data)


class ReposView(APIView):
    @extend_schema(
        operation_id="list_repos",
        parameters=[
            OpenApiParameter("type", OpenApiTypes.STR, enum=["model", "dataset", "space"]),
            OpenApiParameter("search", OpenApiTypes.STR, description="Part of the name."),
            OpenApiParameter("owner", OpenApiTypes.STR, description="Name of a person or an organization."),
            *PAGED,
        ],
        responses={200: shapes.RepoSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """The repositories that you see, newest first."""
        rows = Repo.objects.visible_to(request.user).for_listing().filter(is_disabled=False)
        if type := request.GET.get("type"):
            if type not in Repo.Type.values:
                raise InvalidInput(f"The repository type {type!r} does not exist; use model, dataset or space.")
            rows = rows.filter(type=type)
        if search := request.GET.get("search"):
            rows = rows.filter(name__icontains=search)
        if owner := request.GET.get("owner"):
            mine = rows.filter(owner_user__username__iexact=owner)
            rows = mine | rows.filter(owner_organization__name__iexact=owner)
        return answer_page(request._request, rows, shapes.RepoSerializer)


class RepoView(APIView):
    @extend_schema(
        operation_id="show_repo", parameters=IN_REPO, responses={200: shapes.RepoDetailSerializer, **REFUSALS}
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """One repository."""
        repo = find_repo(type, f"{namespace}/{name}", request.user)
        try:
            repo.head = reader_for(repo, request.user).resolve(None)
        except RevisionNotFound:
            repo.head = ""
        return Response(shapes.RepoDetailSerializer(repo).data)


class PullRequestsView(APIView):
    @extend_schema(
        operation_id="list_pull_requests",
        parameters=[*IN_REPO, OpenApiParameter("status", OpenApiTypes.STR, enum=Discussion.Status.values), *PAGED],
        responses={200: shapes.PullRequestSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """The pull requests of a repository, newest first."""
        repo = find_repo(type, f"{namespace}/{name}", request.user)
        rows = PullRequest.objects.filter(discussion__repo=repo, discussion__is_private=False)
        rows = rows.select_related(
            "discussion__author", "discussion__repo__owner_user", "discussion__repo__owner_organization"
        )
        if status := request.GET.get("status"):
            if status not in Discussion.Status.values:
                raise InvalidInput(f"The status {status!r} does not exist; use {', '.join(Discussion.Status.values)}.")
            rows = rows.filter(discussion__status=status)
        return answer_page(request._request, rows, shapes.PullRequestSerializer)


class PullRequestEndpoint(APIView):
    """What the addresses of one pull request share."""

    def find(self, request: Request, type: str, namespace: str, name: str, number: int) -> PullRequest:
        repo = find_repo(type, f"{namespace}/{name}", request.user)
        return find_pull_request(repo, number, request.user)


class PullRequestView(PullRequestEndpoint):
    @extend_schema(
        operation_id="show_pull_request",
        parameters=IN_REPO,
        responses={200: shapes.PullRequestDetailSerializer, **REFUSALS},
    )
    def get(self, request: Request, **where: Any) -> Response:
        """One pull request with its checks, its reviews, and what keeps you from merging it."""
        pull_request: Any = self.find(request, **where)
        pull_request.told_checks = told_checks(pull_request, request.user)
        pull_request.unmet = unmet_requirements(pull_request, request.user)
        pull_request.ordered_reviews = pull_request.reviews.select_related("by", "pull_request").order_by("id")
        return Response(shapes.PullRequestDetailSerializer(pull_request).data)


class ReviewsView(PullRequestEndpoint):
    @extend_schema(
        operation_id="give_review",
        parameters=IN_REPO,
        request=shapes.GivenReviewSerializer,
        responses={201: shapes.ReviewSerializer, 409: shapes.RefusalSerializer, **REFUSALS},
    )
    def post(self, request: Request, **where: Any) -> Response:
        """Approve, request changes or comment. An approval binds to the candidate as it stands."""
        person = require_person(request)
        pull_request = self.find(request, **where)
        form = shapes.GivenReviewSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        given = review(pull_request=pull_request, by=person, **form.validated_data)
        return Response(shapes.ReviewSerializer(given).data, status=201)


class MergeView(PullRequestEndpoint):
    @extend_schema(
        operation_id="merge_pull_request",
        parameters=IN_REPO,
        request=shapes.MergeSerializer,
        responses={200: shapes.MergedSerializer, 409: shapes.RefusalSerializer, **REFUSALS},
    )
    def post(self, request: Request, **where: Any) -> Response:
        """Merge the candidate. 409 names every requirement that is not met yet."""
        person = require_person(request)
        pull_request = self.find(request, **where)
        form = shapes.MergeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        merge(pull_request=pull_request, by=person, text=form.validated_data["comment"])
        return Response({"commit": pull_request.merge_commit, "status": Discussion.Status.MERGED.value})


class LiveView(PullRequestEndpoint):
    @extend_schema(
        operation_id="watch_pull_request",
        parameters=[
            *IN_REPO,
            OpenApiParameter("after", OpenApiTypes.INT, description="`last_event` of the last answer."),
        ],
        responses={200: shapes.LiveStateSerializer, **REFUSALS},
    )
    def get(self, request: Request, **where: Any) -> Response:
        """The state now and what happened since: made for asking every few seconds."""
        pull_request = self.find(request, **where)
        after = read_number(request.GET.get("after") or "0")
        if after is None:
            raise InvalidInput("'after' must be a number: `last_event` of the last answer.")
        discussion = pull_request.discussion
        rows = discussion.events.select_related("author").filter(pk__gt=after)[:MAX_EVENTS]
        events = told_events(discussion, request.user, rows)
        state = {
            "status": discussion.status,
            "candidate_digest": pull_request.candidate_digest,
            "checks": told_checks(pull_request, request.user),
            "unmet": unmet_requirements(pull_request, request.user),
            "events": events,
            "last_event": events[-1].pk if events else after,
        }
        return Response(shapes.LiveStateSerializer(state).data)
