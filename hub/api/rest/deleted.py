"""Deleted repositories by REST: the list, bringing one back, and its end before its time."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.rest.serializers import RefusalSerializer, RepoSerializer
from hub.api.rest.views import REFUSALS, require_person
from hub.repos.deleted import ends_at, find_deleted, list_deleted, remove_repo, restore_repo
from hub.repos.models import Repo


class DeletedRepoSerializer(serializers.Serializer[Repo]):
    key = serializers.CharField(help_text="Names it in the other addresses: its name is free for others.")
    type = serializers.ChoiceField(choices=Repo.Type.choices)
    name = serializers.CharField(source="full_name", help_text="NAMESPACE/NAME as it was.")
    is_private = serializers.BooleanField()
    deleted_at = serializers.DateTimeField()
    deleted_by = serializers.CharField(allow_null=True)
    ends_at = serializers.SerializerMethodField(help_text="From then on it is removed for good.")

    def get_ends_at(self, repo: Repo) -> datetime:
        return ends_at(repo)


class RestoreSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(required=False, max_length=96, help_text="Another name, where its own is taken.")


class DeletedReposView(APIView):
    @extend_schema(operation_id="list_deleted_repos", responses={200: DeletedRepoSerializer(many=True), **REFUSALS})
    def get(self, request: Request) -> Response:
        """What you may bring back, the last deleted first; at most 200."""
        return Response(DeletedRepoSerializer(list_deleted(require_person(request)), many=True).data)


class DeletedRepoView(APIView):
    @extend_schema(operation_id="remove_deleted_repo", responses={204: None, **REFUSALS})
    def delete(self, request: Request, key: str) -> Response:
        """Remove it for good, before its time is over. Nobody can bring it back."""
        by = require_person(request)
        remove_repo(repo=find_deleted(key, by), by=by)
        return Response(status=204)


class RestoreView(APIView):
    @extend_schema(
        operation_id="restore_deleted_repo",
        request=RestoreSerializer,
        responses={200: RepoSerializer, 409: RefusalSerializer, **REFUSALS},
    )
    def post(self, request: Request, key: str) -> Response:
        """Bring it back as it was. 409 when its name is taken by now; send another then."""
        by = require_person(request)
        form = RestoreSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        back = restore_repo(repo=find_deleted(key, by), by=by, name=form.validated_data.get("name", ""))
        return Response(RepoSerializer(back).data)
