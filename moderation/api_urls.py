"""Addresses of this room's REST door, under /api/v1/."""

from django.urls import URLPattern, path, register_converter

import hub.api.addresses  # noqa: F401  registers the converter of repository types
from moderation import api, transparency_api
from moderation.cases import queue_api


class ActConverter:
    """What one may do with a release, but for approving it."""

    regex = "|".join(api.ACTS[1:])

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ActConverter, "release_act")

REPO = "repos/<repo_type:type>/<str:namespace>/<str:name>"
RELEASE = f"{REPO}/releases/<str:tag>"
CASE = "moderation/cases/<int:number>"

urlpatterns: list[URLPattern] = [
    path(f"{REPO}/releases", api.ReleasesView.as_view()),
    path(f"{REPO}/releases/channels", api.ChannelsView.as_view()),
    path(f"{REPO}/gate", api.GateView.as_view()),
    path(f"{REPO}/findings", api.FindingsView.as_view()),
    path(RELEASE, api.ReleaseView.as_view()),
    path(f"{RELEASE}/approve", api.ReleaseApprovalView.as_view()),
    path(f"{RELEASE}/<release_act:act>", api.ReleaseActView.as_view()),
    path("moderation/transparency", transparency_api.TransparencyView.as_view()),
    path("moderation/cases", queue_api.CasesView.as_view()),
    path("moderation/cases/act", queue_api.BulkView.as_view()),
    path(CASE, api.CaseView.as_view()),
    path(f"{CASE}/decide", api.DecisionView.as_view()),
    path(f"{CASE}/test", api.TestView.as_view()),
    path(f"{CASE}/file", api.FileView.as_view()),
    path(f"{CASE}/offline", api.OfflineView.as_view()),
    path(f"{CASE}/appeal", api.AppealView.as_view()),
    path("reports", api.ReportsView.as_view()),
    path("audit", api.AuditView.as_view()),
    path("audit/head", api.AuditHeadView.as_view()),
]
