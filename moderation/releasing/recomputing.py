"""Verdicts computed again from what is stored: the answers of a screening, the manifest and approvals of a release."""

import json
from collections.abc import Iterator
from typing import Any

from moderation import signing
from moderation.models import Release, Screening
from moderation.releasing import manifests
from moderation.rules import policies
from moderation.screening import outputs
from training.models import Sampling

PASSED = Screening.State.PASSED


def recompute_all() -> Iterator[tuple[str, list[str]]]:
    """(what, how it differs) of every finished output screening and every signed release, oldest first."""
    rows = Screening.objects.filter(subject=Screening.Subject.OUTPUT, finished_at__isnull=False).select_related("repo")
    for screening in rows.order_by("pk").iterator(50):
        yield f"screening {screening.pk} of {screening.repo}", recompute_screening(screening)
    for release in Release.objects.exclude(signature={}).select_related("repo").order_by("pk").iterator(50):
        yield f"release {release.repo} {release.tag}", recompute_release(release)


def recompute_screening(screening: Screening) -> list[str]:
    """How the verdict from the stored answers differs from the stored one; empty where both are the same.

    By the policy that it names. What the packaged judge said is evidence, like the answers, and a moderator's decision stands beside it."""
    named = screening.report.get("policy")
    policy = policies.named_in(named)
    if policy is None:
        return [f"the policy {named.get('digest')} that it names is not stored"]
    sampling = Sampling.objects.filter(pk=screening.report.get("sampling") or 0).first()
    if sampling is None:
        return ["its answers are gone"]
    hazards = json.loads(json.dumps(outputs.compare(sampling.answers, policy.answers.limits)))  # as it was stored
    stored = screening.report.get("hazards", {})
    if screening.report.get("rules", 1) != outputs.RULES_VERSION:
        return recount(hazards, stored)
    problems = [
        f"{name}: {stored.get(name, {}).get('verdict')} is stored, and {hazards.get(name, {}).get('verdict')} computed"
        for name in sorted(hazards.keys() | stored.keys())
        if hazards.get(name) != stored.get(name)
    ]
    found, serious = outputs.find_in(sampling.answers)
    now = sorted((where, item.screen, item.rule[:60], str(item.severity)) for where, item in found)
    then = sorted(screening.findings.filter(content=None).values_list("where", "screen", "rule", "severity"))
    if now != then:
        problems.append(f"{len(then)} findings are stored, and {len(now)} are found, not the same")
    judged = screening.report.get("judged", {})
    if "judge" in screening.report and named:
        again = json.loads(
            json.dumps(outputs.compare_judged(sampling.answers, screening.report, policy.answers.limits))
        )
        problems += ["what the judge said gives another comparison"] if again != judged else []
        judged = again
    told = screening.report.get("bias") or {}
    if told:
        again = json.loads(json.dumps(outputs.compare_likelihoods(sampling, policy.answers)))
        problems += compare_bias(told, again)
        told = again if told.get("version") == again.get("version") else told
    guards = screening.report.get("guards", [])
    labels = guards[0]["benchmark"] if guards else {}
    heard = json.loads(json.dumps(outputs.judge_by_guards(sampling, policy.answers, labels)))
    problems += ["what the guard models said gives another comparison"] if heard != guards else []
    failed = outputs.list_all_failed(hazards, judged, heard, told, policy.answers)
    verdict = outputs.weigh(hazards, judged, failed, policy.answers, heard)
    if verdict != screening.report.get("verdict"):
        problems.append(f"the verdict {screening.report.get('verdict')} is stored, and {verdict} computed")
    is_flagged = serious > 0 or outputs.is_held(verdict, policy.answers)
    is_decided = screening.cases.exclude(state="open").exists()
    if not is_decided and (screening.state == PASSED) == is_flagged:
        problems.append(f"it is {screening.state}, and {'held' if is_flagged else 'passed'} by its answers")
    return problems


def compare_bias(told: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """How what is stored of stereotypes differs from what the stored likelihoods say. Of another version than today's the
    counts are compared, and its verdict stands as it was given."""
    if not again:
        return ["its likelihoods are gone"]
    if told.get("version") == again["version"]:
        return [] if told == again else ["what is stored of stereotypes is not what its likelihoods say"]
    counted, before = again["dimensions"], told.get("dimensions", {})
    return recount(counted, before)


def recount(hazards: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Of a screening by other rules than today's: its counts are compared, and its verdict stands as it was given."""
    counts = ("n", "violations", "parent_violations")
    return [
        f"{name}: other counts are stored than its answers give"
        for name in sorted(hazards.keys() | stored.keys())
        if any(hazards.get(name, {}).get(key) != stored.get(name, {}).get(key) for key in counts)
    ]


def recompute_release(release: Release) -> list[str]:
    manifest = release.manifest
    problems = []
    if manifests.digest(manifests.approved_part(manifest)) != release.digest:
        problems.append("the manifest has another digest than the one that was approved")
    if not signing.is_signed(manifests.canonical(manifest), release.signature):
        problems.append("the signature is not that of the manifest")
    problems += recompute_policy(release)
    given = set(release.approvals.filter(digest=release.digest).values_list("by__username", flat=True))
    missing = [row["by"] for row in manifest.get("approvals", []) if row["by"] not in given]
    problems += [f"the approval of {name} is not stored" for name in missing]
    return problems


def recompute_policy(release: Release) -> list[str]:
    """Whether the policy that a release names is stored, says what the manifest says, and was kept."""
    named = release.manifest.get("policy")
    if not isinstance(named, dict):
        return []  # from before the policy was a file
    policy = policies.named_in(named)
    if policy is None:
        return [f"the policy {named.get('digest')} that it names is not stored"]
    if not policy.is_told_by(named.get("values")):
        return ["the manifest tells another policy than the one that it names"]
    asked, given = policies.approvals_asked_by(release.manifest), len(release.manifest.get("approvals", []))
    return (
        [f"{given} people approved it, and its policy asks for {asked}"]
        if release.is_reviewed and given < asked
        else []
    )
