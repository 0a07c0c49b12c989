"""Addresses of this room's pages."""

from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, path

import hub.web.urls  # noqa: F401  registers the converter of names
import training.urls  # noqa: F401  registers the converter of a model's namespace
from moderation.pages import (
    bulk,
    case_acts,
    cases,
    exceptions,
    hidden,
    log,
    policy,
    queue,
    releases,
    reports,
    transparency,
)

RELEASE = "/releases/<str:tag>"
ACTS = ("approve", "publish", "refuse", "yank", "quarantine", "lift")

# Below a repository: /NAMESPACE/NAME/...
REPO_PAGES: list[tuple[str, Callable[..., HttpResponse], dict[str, str]]] = [
    ("/report", reports.report, {}),
    ("/exception", exceptions.ask_exception, {}),
    ("/hidden", hidden.show_hidden, {}),
    ("/releases", releases.list_releases, {}),
    ("/releases/channels", releases.show_channels, {}),
    (RELEASE, releases.show_release, {}),
    (f"{RELEASE}/manifest.json", releases.download_manifest, {}),
    (f"{RELEASE}/signature.json", releases.download_signature, {}),
    (f"{RELEASE}/provenance.json", releases.download_provenance, {}),
    (f"{RELEASE}/bom.json", releases.download_bom, {}),
    (f"{RELEASE}/model.sig", releases.download_model_signature, {}),
    *((f"{RELEASE}/{act}", releases.act_on_release, {"act": act}) for act in ACTS),
]


def repo_patterns(prefix: str, type: str) -> list[URLPattern]:
    owner = "hub_name" if prefix else "model_owner"  # or a dataset named "report" would never be found
    head = f"{prefix}<{owner}:namespace>/<hub_name:name>"
    return [path(head + rest, view, {"type": type, **more}) for rest, view, more in REPO_PAGES]


urlpatterns: list[URLPattern] = [
    path("moderation", queue.list_cases),
    path("moderation/selected", bulk.act_on_selected),
    path("moderation/cases/<int:number>", cases.show_case),
    path("moderation/cases/<int:number>/decide", case_acts.decide_case),
    path("moderation/cases/<int:number>/file", case_acts.judge_file),
    path("moderation/cases/<int:number>/claim", case_acts.claim_case),
    path("moderation/cases/<int:number>/recuse", case_acts.step_back),
    path("moderation/cases/<int:number>/offline", case_acts.act_on_offline),
    path("moderation/cases/<int:number>/say", case_acts.say_in_case),
    path("moderation/cases/<int:number>/test", case_acts.make_test),
    path("moderation/cases/<int:number>/appeal", case_acts.appeal_case),
    path("moderation/transparency", transparency.show_figures),
    path("audit", log.show_log),
    path("audit.jsonl", log.download_log),
    path("policy", policy.show_policy),
    path("policy/history", policy.show_history),
    path("policy/<int:number>", policy.show_policy),
    path("policy/<int:number>/policy.yaml", policy.download_policy),
    path("verify_release.py", log.download_verifier),
    path("model_signing.pub", log.download_model_key),
    *repo_patterns("datasets/", "dataset"),
    *repo_patterns("spaces/", "space"),
    *repo_patterns("", "model"),
]
