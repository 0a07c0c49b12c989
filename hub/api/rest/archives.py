"""Repositories that come and go as one file: docs/portability.md."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.hf.endpoints import open_body
from hub.api.rest.serializers import RefusalSerializer, RepoSerializer
from hub.api.rest.views import IN_REPO, REFUSALS, require_person
from hub.common.errors import InvalidInput
from hub.community.archives.reading import MAX_ARCHIVE_BYTES, SOON_COMMITS, import_archive
from hub.community.archives.writing import export_repo
from hub.repos.find import find_repo
from hub.repos.lifecycle import owner_for

PRIVATE = {"": None, "true": True, "false": False}


class ExportView(APIView):
    @extend_schema(
        operation_id="export_repo",
        parameters=IN_REPO,
        responses={(200, "application/x-tar"): OpenApiTypes.BINARY, 409: RefusalSerializer, **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> StreamingHttpResponse:
        """The repository whole, for its admins: history, large files, and what was said."""
        repo = find_repo(type, f"{namespace}/{name}", request.user, action="admin")
        export = export_repo(repo)
        headers = {
            "Content-Length": str(export.size),
            "Content-Disposition": f'attachment; filename="{repo.name}.tar"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingHttpResponse(export.pieces, content_type="application/x-tar", headers=headers)


class ImportsView(APIView):
    @extend_schema(
        operation_id="import_repo",
        parameters=[
            OpenApiParameter("name", OpenApiTypes.STR, required=True, description="NAMESPACE/NAME to be made."),
            OpenApiParameter(
                "is_private", OpenApiTypes.STR, enum=["true", "false"], description="As it was, if not said."
            ),
        ],
        request={"application/x-tar": OpenApiTypes.BINARY},
        responses={201: RepoSerializer, 409: RefusalSerializer, **REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """A repository made of the archive of another hub, which is the body. All of it, or nothing."""
        by = require_person(request)
        namespace, slash, name = request.query_params.get("name", "").partition("/")
        is_private = request.query_params.get("is_private", "")
        if not (namespace and slash and name) or is_private not in PRIVATE:
            raise InvalidInput(
                "Say where it goes: ?name=NAMESPACE/NAME, and &is_private=true or false where it changes."
            )
        body: Any = open_body(request._request, limit=MAX_ARCHIVE_BYTES)
        made = import_archive(
            stream=body,
            by=by,
            owner=owner_for(namespace, by),
            name=name,
            is_private=PRIVATE[is_private],
            max_commits=SOON_COMMITS,
        )
        return Response(RepoSerializer(made).data, status=201)
