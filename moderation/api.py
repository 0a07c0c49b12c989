"""The REST door of this room: releases, cases, reports, findings, the log of decisions."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.accounts.permissions import can, require
from hub.api.rest.pages import answer_page
from hub.api.rest.views import IN_REPO, PAGED, REFUSALS, require_person
from hub.common.errors import InvalidInput
from hub.repos.find import find_repo
from hub.repos.models import Repo
from moderation import audit, gate
from moderation import serializers as shapes
from moderation.cases import appeals, quarantines, queue, report_tests, reports, withholding
from moderation.models import AuditEntry, Finding, Release
from moderation.releasing import channels, publishing, releases

MAX_SPANS = 500
CONFLICT = {409: REFUSALS[400]}
TAG = OpenApiParameter("tag", OpenApiTypes.STR, OpenApiParameter.PATH, description="v1.0.0")
# act -> state of the release after it
STATES = {
    "yank": Release.State.YANKED,
    "quarantine": Release.State.QUARANTINED,
    "lift": Release.State.PUBLISHED,
}
ACTS = ("approve", "publish", "refuse", *STATES)


def read_body(shape: Any, request: Request) -> dict[str, Any]:
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def find_model(request: Request, type: str, namespace: str, name: str) -> Repo:
    repo = find_repo(type, f"{namespace}/{name}", request.user)
    if repo.type != Repo.Type.MODEL:
        raise InvalidInput(f"{repo.full_name} is a {repo.type}; releases are made of models.")
    return repo


class ReleasesView(APIView):
    @extend_schema(
        operation_id="list_releases",
        parameters=[*IN_REPO, *PAGED],
        responses={200: shapes.ReleaseSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """The releases that you may see, newest first."""
        repo = find_model(request, type, namespace, name)
        rows = releases.visible_releases(repo, request.user).select_related(
            "repo__owner_user", "repo__owner_organization"
        )

        def tell(page: list[Release], *, many: bool) -> Any:
            releases.tell_standing(repo, page)
            return shapes.ReleaseSerializer(page, many=many)

        return answer_page(request._request, rows, tell)

    @extend_schema(
        operation_id="propose_release",
        parameters=IN_REPO,
        request=shapes.ProposedReleaseSerializer,
        responses={201: shapes.ReleaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """Propose a release. 409 names every requirement that fails."""
        by = require_person(request)
        repo = find_model(request, type, namespace, name)
        release = releases.propose_release(repo=repo, by=by, **read_body(shapes.ProposedReleaseSerializer, request))
        release.repo = repo
        return Response(shapes.ReleaseDetailSerializer(release, context={"request": request}).data, status=201)


class ChannelsView(APIView):
    @extend_schema(
        operation_id="list_channels",
        parameters=[
            *IN_REPO,
            OpenApiParameter("on", OpenApiTypes.STR, description="A day (its end, UTC) or a moment; else all history."),
        ],
        responses={200: shapes.SpanSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """What `stable` and `candidate` led to, newest first, or on one day, and who had approved it."""
        repo = find_model(request, type, namespace, name)
        day = request.GET.get("on", "").strip()
        found = channels.spans_at(repo, channels.read_day(day)) if day else channels.list_spans(repo)[:MAX_SPANS]
        return Response(shapes.SpanSerializer(found, many=True).data)


class GateView(APIView):
    @extend_schema(
        operation_id="look_at_gate",
        parameters=[*IN_REPO, OpenApiParameter("commit", OpenApiTypes.STR, description="Of the main branch.")],
        responses={200: shapes.RequirementSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """What the release gate would say now: each requirement with its state and a sentence. For maintainers."""
        repo = find_model(request, type, namespace, name)
        require(request.user, "write", repo)
        commit = releases.choose_commit(repo, request.GET.get("commit"))
        return Response(shapes.RequirementSerializer(gate.inspect(repo, commit), many=True).data)


class ReleaseView(APIView):
    @extend_schema(
        operation_id="show_release",
        parameters=[*IN_REPO, TAG],
        responses={200: shapes.ReleaseDetailSerializer, **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str, tag: str) -> Response:
        """One release with its gate, approvals, manifest and signature."""
        release = releases.find_release(find_model(request, type, namespace, name), tag, request.user)
        return Response(shapes.ReleaseDetailSerializer(release, context={"request": request}).data)


class ReleaseApprovalView(APIView):
    @extend_schema(
        operation_id="approve_release",
        parameters=[*IN_REPO, TAG],
        request=shapes.GivenApprovalSerializer,
        responses={200: shapes.ReleaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, type: str, namespace: str, name: str, tag: str) -> Response:
        """Approve exactly the manifest that you looked at. The second approval publishes."""
        by = require_person(request)
        release = releases.find_release(find_model(request, type, namespace, name), tag, by)
        changed = releases.approve(release=release, by=by, **read_body(shapes.GivenApprovalSerializer, request))
        return Response(shapes.ReleaseDetailSerializer(changed, context={"request": request}).data)


class ReleaseActView(APIView):
    @extend_schema(
        operation_id="act_on_release",
        parameters=[*IN_REPO, TAG, OpenApiParameter("act", OpenApiTypes.STR, OpenApiParameter.PATH, enum=ACTS[1:])],
        request=shapes.ReasonSerializer,
        responses={200: shapes.ReleaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, type: str, namespace: str, name: str, tag: str, act: str) -> Response:
        """Take a proposal back (refuse), yank, quarantine, lift; or publish alone on a hub with one person (no reason)."""
        by = require_person(request)
        release = releases.find_release(find_model(request, type, namespace, name), tag, by)
        if act == "publish":
            changed = releases.publish_unreviewed(release=release, by=by)
        else:
            reason = read_body(shapes.ReasonSerializer, request)["reason"]
            if act == "refuse":
                changed = releases.refuse(release=release, by=by, reason=reason)
            else:
                changed = publishing.set_state(release=release, by=by, state=STATES[act], reason=reason)
        return Response(shapes.ReleaseDetailSerializer(changed, context={"request": request}).data)


class CaseView(APIView):
    @extend_schema(operation_id="show_case", responses={200: shapes.CaseDetailSerializer, **REFUSALS})
    def get(self, request: Request, number: int) -> Response:
        """One case with its evidence, for its people, the maintainers and moderators."""
        case = queue.find_case(number, require_person(request))
        return Response(shapes.CaseDetailSerializer(case, context={"request": request}).data)


class DecisionView(APIView):
    @extend_schema(
        operation_id="decide_case",
        request=shapes.DecisionSerializer,
        responses={200: shapes.CaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, number: int) -> Response:
        """Decide a case, with a reason that its people read. For moderators without a stake in it."""
        by = require_person(request)
        case = queue.find_case(number, by)
        queue.decide_case(case=case, by=by, **read_body(shapes.DecisionSerializer, request))
        return Response(shapes.CaseDetailSerializer(queue.find_case(number, by), context={"request": request}).data)


class TestView(APIView):
    @extend_schema(
        operation_id="make_test_of_report",
        request=shapes.GivenTestSerializer,
        responses={201: shapes.CaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, number: int) -> Response:
        """Turn an accepted report into a test that each later release is put to. For moderators and the maintainers."""
        by = require_person(request)
        report_tests.make_test(
            case=queue.find_case(number, by), by=by, **read_body(shapes.GivenTestSerializer, request)
        )
        shown = shapes.CaseDetailSerializer(queue.find_case(number, by), context={"request": request})
        return Response(shown.data, status=201)


class FileView(APIView):
    @extend_schema(
        operation_id="judge_file",
        request=shapes.FileActSerializer,
        responses={201: shapes.CaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, number: int) -> Response:
        """Withhold a file that a report or a decided case speaks of, or show it again; returns the case of the file."""
        by = require_person(request)
        given = read_body(shapes.FileActSerializer, request)
        made = withholding.judge_file(case=queue.find_case(number, by), by=by, **given)
        shown = shapes.CaseDetailSerializer(queue.find_case(made.pk, by), context={"request": request})
        return Response(shown.data, status=201)


class OfflineView(APIView):
    @extend_schema(
        operation_id="take_offline",
        request=shapes.OfflineSerializer,
        responses={201: shapes.CaseDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, number: int) -> Response:
        """Take a reported repository offline at once, second that within 72 hours, or lift it; returns the case of it."""
        by = require_person(request)
        given = read_body(shapes.OfflineSerializer, request)
        row = quarantines.act_on(case=queue.find_case(number, by), by=by, **given)
        shown = shapes.CaseDetailSerializer(queue.find_case(row.case_id, by), context={"request": request})
        return Response(shown.data, status=201)


class AppealView(APIView):
    @extend_schema(
        operation_id="appeal_case",
        request=shapes.AppealSerializer,
        responses={201: shapes.CaseDetailSerializer, **REFUSALS},
    )
    def post(self, request: Request, number: int) -> Response:
        """Ask for another look at a refusal that concerns you. Another moderator decides."""
        by = require_person(request)
        again = appeals.appeal(case=queue.find_case(number, by), by=by, **read_body(shapes.AppealSerializer, request))
        return Response(shapes.CaseDetailSerializer(again, context={"request": request}).data, status=201)


class ReportsView(APIView):
    @extend_schema(
        operation_id="report", request=shapes.ReportSerializer, responses={201: shapes.CaseDetailSerializer, **REFUSALS}
    )
    def post(self, request: Request) -> Response:
        """Report a repository, or an answer of a model with its prompt, settings and release."""
        by = require_person(request)
        given = read_body(shapes.ReportSerializer, request)
        if not isinstance(given["subject"], dict):
            raise InvalidInput('subject is an object: {"prompt", "answer", "settings", "release", "revision"}.')
        repo = find_repo(given["type"], given["repo"], by)
        case = reports.open_report(repo=repo, by=by, text=given["text"], subject=given["subject"])
        return Response(shapes.CaseDetailSerializer(case, context={"request": request}).data, status=201)


class FindingsView(APIView):
    @extend_schema(
        operation_id="list_findings",
        parameters=[
            *IN_REPO,
            OpenApiParameter("path", OpenApiTypes.STR, description="Only of this file."),
            OpenApiParameter("severity", OpenApiTypes.STR, enum=Finding.Severity.values),
            *PAGED,
        ],
        responses={200: shapes.FindingSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, type: str, namespace: str, name: str) -> Response:
        """What the screens found in a repository's files, newest first. For its members."""
        repo = find_repo(type, f"{namespace}/{name}", request.user)
        require(request.user, "read_members", repo)
        rows = Finding.objects.filter(content__repo=repo).select_related("content")
        if path := request.GET.get("path", "").replace("\0", ""):
            rows = rows.filter(content__path=path)
        if severity := request.GET.get("severity"):
            if severity not in Finding.Severity.values:
                raise InvalidInput(f"The severity {severity[:40]!r} does not exist; use info, hold or block.")
            rows = rows.filter(severity=severity)
        return answer_page(request._request, rows, shapes.FindingSerializer)


class AuditView(APIView):
    @extend_schema(
        operation_id="list_audit_entries",
        parameters=PAGED,
        responses={200: shapes.AuditEntrySerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """The log of decisions, newest first: its public entries, for moderators all."""
        rows = AuditEntry.objects.all()
        if not can(request.user, "moderate"):
            rows = rows.filter(is_public=True)
        return answer_page(request._request, rows, shapes.AuditEntrySerializer)


class AuditHeadView(APIView):
    @extend_schema(operation_id="show_audit_head", responses={200: shapes.AuditHeadSerializer})
    def get(self, request: Request) -> Response:
        """The signed end of the log. Keep it: it proves later that nothing was cut off."""
        return Response({**audit.sign_head(), "problem": audit.verify_lately()})
