"""Purging files from a history, by REST: a rehearsal first, then with the name of the repository typed."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.rest.pages import answer_page
from hub.api.rest.serializers import RefusalSerializer
from hub.api.rest.views import IN_REPO, PAGED, REFUSALS, require_person
from hub.common.errors import InvalidInput
from hub.repos.find import find_repo
from hub.repos.models import Repo
from hub.repos.purge_models import Purge
from hub.repos.purging import MAX_NAMED, Preview, find_purge, preview_purge, purge_files


class WantedPurgeSerializer(serializers.Serializer[Any]):
    paths = serializers.ListField(
        child=serializers.CharField(max_length=1024), required=False, default=list, max_length=MAX_NAMED,
        help_text="Files of which every version goes.",
    )  # fmt: skip
    digests = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, default=list, max_length=MAX_NAMED,
        help_text='Contents that go wherever they stand: "git:<sha1>" or "sha256:<hex>", as findings name them.',
    )  # fmt: skip
    dry_run = serializers.BooleanField(required=False, default=False)
    confirm = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="NAMESPACE/NAME once more; not for a dry run."
    )


class PreviewSerializer(serializers.Serializer[Preview]):
    paths = serializers.ListField(child=serializers.CharField(), help_text="Where these contents stand in any commit.")
    blobs = serializers.ListField(child=serializers.CharField(), help_text="git's ids of what goes.")
    files = serializers.ListField(child=serializers.CharField(), help_text="SHA-256 of large files that go.")
    commits_holding = serializers.IntegerField(source="holding")
    commits_changed = serializers.SerializerMethodField(help_text="Commits that get another id.")
    branches = serializers.ListField(child=serializers.CharField(), help_text="Who has a clone of them clones anew.")
    tags = serializers.ListField(child=serializers.CharField())
    pull_requests = serializers.ListField(child=serializers.IntegerField())
    is_public = serializers.BooleanField(help_text="Strangers could read it: a secret in it is known.")
    why_not = serializers.CharField(help_text="What stands against it; empty when nothing does.")

    def get_commits_changed(self, preview: Preview) -> int:
        return len(preview.commits)


class PurgeSerializer(serializers.Serializer[Purge]):
    key = serializers.CharField()
    state = serializers.ChoiceField(choices=Purge.State.choices)
    by = serializers.CharField(source="by.username", default=None, allow_null=True)
    paths = serializers.ListField(child=serializers.CharField())
    is_kept_out = serializers.BooleanField(help_text="No door takes these contents here again.")
    result = serializers.JSONField(
        help_text='{"commits", "refs": {ref: [old, new]}, "removed_files", "kept_files": others have a claim to them}'
    )
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


def find_own(request: Request, type: str, namespace: str, name: str) -> Repo:
    return find_repo(type, f"{namespace}/{name}", require_person(request), action="admin")


class PurgesView(APIView):
    @extend_schema(
        operation_id="list_purges",
        parameters=[*IN_REPO, *PAGED],
        responses={200: PurgeSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, **where: Any) -> Response:
        """What was purged here, newest first. For admins of the repository."""
        rows = Purge.objects.filter(repo=find_own(request, **where)).select_related("by")
        return answer_page(request._request, rows, PurgeSerializer)

    @extend_schema(
        operation_id="purge_files",
        parameters=IN_REPO,
        request=WantedPurgeSerializer,
        responses={200: PreviewSerializer, 201: PurgeSerializer, 409: RefusalSerializer, **REFUSALS},
    )
    def post(self, request: Request, **where: Any) -> Response:
        """Take files out of every commit, and their bytes out of the store, for good. 200 tells what a dry run found,
        201 that it is done or goes on by itself."""
        repo = find_own(request, **where)
        form = WantedPurgeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = form.validated_data
        named = {"paths": wanted["paths"], "digests": wanted["digests"]}
        if wanted["dry_run"]:
            return Response(PreviewSerializer(preview_purge(repo=repo, by=request.user, **named)).data)
        if wanted["confirm"] != repo.full_name:
            raise InvalidInput(f"This cannot be undone: send {repo.full_name!r} as 'confirm', or try 'dry_run' first.")
        return Response(PurgeSerializer(purge_files(repo=repo, by=request.user, **named)).data, status=201)


class PurgeView(APIView):
    @extend_schema(
        operation_id="show_purge",
        parameters=[*IN_REPO, OpenApiParameter("key", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={200: PurgeSerializer, **REFUSALS},
    )
    def get(self, request: Request, key: str, **where: Any) -> Response:
        """How far one purge is, and what it did."""
        return Response(PurgeSerializer(find_purge(find_own(request, **where), key)).data)
