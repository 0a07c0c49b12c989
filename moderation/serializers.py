"""The shapes of this room's REST door. They only describe and check; the rules live below."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from hub.repos.channels import CHANNELS
from moderation.cases import quarantines, queue, reporters
from moderation.cases.report_tests import MAX_PROMPT_CHARACTERS, may_see_suite
from moderation.cases.reports import MAX_TEXT_CHARACTERS
from moderation.models import AuditEntry, Case, Finding, Quarantine, Release, ReleaseApproval, ReportTest
from moderation.releasing.publishing import path_of, valid_approvals
from moderation.releasing.releases import find_run_of, why_not_approve
from moderation.screening import evidence
from training.running import audience
from training.running.replays import newest_compared
from training.serializers import ReplaySerializer

NAME = "deleted"  # of somebody who left


class RequirementSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["passed", "failed", "warning"])
    sentence = serializers.CharField(help_text="What was found, and how to mend it.")
    evidence = serializers.JSONField()


class ApprovalSerializer(serializers.Serializer[ReleaseApproval]):
    by = serializers.CharField(source="by.username")
    digest = serializers.CharField(help_text="Manifest that was approved.")
    text = serializers.CharField()
    at = serializers.DateTimeField()


class ReleaseSerializer(serializers.Serializer[Release]):
    tag = serializers.CharField()
    version = serializers.CharField()
    state = serializers.ChoiceField(choices=Release.State.choices)
    state_reason = serializers.CharField(help_text="Why it was yanked, quarantined or taken back.")
    is_reviewed = serializers.BooleanField(help_text="False: published on a hub with one person.")
    superseded_by = serializers.CharField(
        default="", help_text="Tag of the newer published release of its channel; empty for the newest."
    )
    withdrawn = serializers.CharField(
        default="", help_text="What it contains that was withdrawn afterwards, in a sentence; empty for nothing."
    )
    commit = serializers.CharField()
    digest = serializers.CharField(help_text="Of the manifest; approvals are bound to it.")
    url = serializers.SerializerMethodField(help_text="Path of its page on this site.")
    proposed_by = serializers.CharField(source="proposed_by.username", default=NAME)
    created_at = serializers.DateTimeField()
    published_at = serializers.DateTimeField(allow_null=True)

    def get_url(self, release: Release) -> str:
        return path_of(release)


class SpanSerializer(serializers.Serializer[Any]):
    channel = serializers.ChoiceField(choices=CHANNELS)
    tag = serializers.CharField(help_text="What it led to; empty where it led nowhere.")
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(allow_null=True, help_text="null: until today.")
    why = serializers.CharField(help_text="What changed then.")
    approved_by = serializers.ListField(child=serializers.CharField())
    is_reviewed = serializers.BooleanField()


class ReleaseDetailSerializer(ReleaseSerializer):
    notes = serializers.CharField()
    gate = RequirementSerializer(many=True, help_text="What the gate saw when it was proposed.")
    approvals = ApprovalSerializer(many=True, source="approvals.all")
    valid_approvals = serializers.SerializerMethodField(help_text="How many of them count.")
    why_not_approve = serializers.SerializerMethodField(help_text="Why you may not approve it; empty when you may.")
    manifest = serializers.JSONField()
    signature = serializers.JSONField(help_text="Over the canonical manifest; empty until it is published.")
    replay = serializers.SerializerMethodField(
        help_text="How its weights compared with the recorded ones when they were made again last; null: nobody tried."
    )

    @extend_schema_field(ReplaySerializer(allow_null=True))
    def get_replay(self, release: Release) -> dict[str, Any] | None:
        run = find_run_of(release)
        if run is None or not audience.may_see(self.context["request"].user, run):
            return None
        replay = newest_compared(run)
        return dict(ReplaySerializer(replay).data) if replay is not None else None

    def get_valid_approvals(self, release: Release) -> int:
        return len(valid_approvals(release))

    def get_why_not_approve(self, release: Release) -> str:
        return why_not_approve(release, self.context["request"].user)


class ProposedReleaseSerializer(serializers.Serializer[Any]):
    version = serializers.CharField(max_length=60, help_text="Three numbers, for example 1.0.0.")
    notes = serializers.CharField(required=False, allow_blank=True, default="", max_length=20_000)
    commit = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="Of the main branch; its head when not given."
    )


class GivenApprovalSerializer(serializers.Serializer[Any]):
    digest = serializers.CharField(help_text="The manifest that you looked at; another one by now is a 409.")
    text = serializers.CharField(required=False, allow_blank=True, default="", max_length=5_000)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=5_000, help_text="Everybody concerned reads it.")


class CaseSerializer(serializers.Serializer[Case]):
    id = serializers.IntegerField(source="pk")
    kind = serializers.ChoiceField(choices=Case.Kind.choices)
    state = serializers.ChoiceField(choices=Case.State.choices)
    severity = serializers.IntegerField(help_text="1 note, 2 needs a person, 3 blocked.")
    repo = serializers.CharField(source="repo.full_name")
    repo_type = serializers.CharField(source="repo.type")
    title = serializers.CharField()
    url = serializers.SerializerMethodField(help_text="Path of its page on this site.")
    opened_by = serializers.SerializerMethodField(help_text="null: a screen, or a reporter whom you may not know.")
    opened_at = serializers.DateTimeField()
    decided_by = serializers.CharField(source="decided_by.username", default=None, allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_reason = serializers.CharField()

    def get_url(self, case: Case) -> str:
        return queue.path_of(case)

    def get_opened_by(self, case: Case) -> str | None:
        request = self.context.get("request")  # without one: the queue, which moderators alone read
        opener = case.opened_by if request is None else reporters.name_opener(case, request.user)
        return opener.username if opener is not None else None


class FindingSerializer(serializers.Serializer[Finding]):
    id = serializers.IntegerField(source="pk")
    path = serializers.CharField(source="content.path", default="", help_text="Empty for findings in answers.")
    clearance = serializers.CharField(source="content.clearance", default="")
    screen = serializers.CharField()
    rule = serializers.CharField()
    severity = serializers.ChoiceField(choices=Finding.Severity.choices)
    where = serializers.CharField()
    excerpt = serializers.CharField(help_text="Redacted.")
    message = serializers.CharField()
    at = serializers.DateTimeField()


class TestSerializer(serializers.Serializer[ReportTest]):
    suite = serializers.SerializerMethodField(
        help_text="Dataset repository that holds it; empty where you may not read it."
    )
    row = serializers.CharField(help_text="Its id in the suite.")
    pull_request = serializers.SerializerMethodField(
        help_text="By which it comes into the suite; null where it is there."
    )
    passed_by = serializers.CharField(
        source="passed_by.tag", default=None, allow_null=True, help_text="Release that closed the case."
    )
    failed_by = serializers.CharField(
        source="failed_by.tag", default=None, allow_null=True, help_text="Newest release that failed it."
    )

    def get_suite(self, test: ReportTest) -> str:
        return test.suite.full_name if test.suite and may_see_suite(test, self.context["request"].user) else ""

    def get_pull_request(self, test: ReportTest) -> int | None:
        is_seen = test.pull_request is not None and may_see_suite(test, self.context["request"].user)
        return test.pull_request.discussion.number if test.pull_request and is_seen else None


class QuarantineSerializer(serializers.Serializer[Quarantine]):
    by = serializers.CharField(source="by.username")
    at = serializers.DateTimeField()
    release = serializers.CharField(
        source="release.tag", default=None, allow_null=True, help_text="null: the whole repository"
    )
    lapses_at = serializers.DateTimeField(help_text="When it ends by itself, unless a second moderator agrees.")
    seconded_by = serializers.CharField(source="seconded_by.username", default=None, allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    end_reason = serializers.CharField()


class CaseDetailSerializer(CaseSerializer):
    subject = serializers.SerializerMethodField(help_text="Of a report: text, prompt, answer, settings, release.")
    path = serializers.CharField(source="content.path", default="", help_text="File that it is about.")
    test = TestSerializer(default=None, allow_null=True, help_text="What an accepted report became.")
    offline = serializers.SerializerMethodField(help_text="The quarantine that it speaks of, or null.")
    findings = serializers.SerializerMethodField()
    hazards = serializers.SerializerMethodField(
        help_text="Of flagged answers: rates by kind of harm beside the parent's."
    )
    bias = serializers.SerializerMethodField(
        help_text="Of flagged answers: the share of pairs that prefer the stereotype, by dimension beside the parent's."
    )
    guards = serializers.SerializerMethodField(
        help_text="Of flagged answers: what each guard model says, with its errors on replies whose label is known."
    )
    answers = serializers.SerializerMethodField(
        help_text="Of flagged answers: each beside its parent's, the flagged ones first. For who may see the case."
    )
    voices = serializers.SerializerMethodField(help_text="What each moderator said, where two have to agree.")
    why_not_decide = serializers.SerializerMethodField(help_text="Why you may not decide it; empty when you may.")

    def get_subject(self, case: Case) -> dict[str, Any]:
        notes = reporters.list_notes(case, self.context["request"].user)
        return {**case.subject, **({"notes": notes} if notes else {})}

    def get_offline(self, case: Case) -> dict[str, Any] | None:
        row = quarantines.of_case(case)
        return dict(QuarantineSerializer(row).data) if row is not None else None

    def get_findings(self, case: Case) -> list[dict[str, Any]]:
        rows = Finding.objects.none()
        if case.content is not None:
            rows = Finding.objects.filter(content=case.content)
        elif case.screening is not None:
            rows = case.screening.findings.all()
        return list(FindingSerializer(rows.select_related("content").order_by("pk")[:500], many=True).data)

    def get_answers(self, case: Case) -> list[dict[str, Any]]:
        if case.kind != Case.Kind.OUTPUT or case.screening is None:
            return []
        return [
            {
                "id": row.id, "hazard": row.hazard, "prompt": row.prompt, "answer": row.text,
                "parent_answer": row.parent_text, "is_flagged": row.is_flagged,
            }
            for row in evidence.list_answers(case.screening)
        ]  # fmt: skip

    def get_voices(self, case: Case) -> list[dict[str, Any]]:
        rows = case.voices.select_related("by").order_by("pk")
        return [{"by": row.by.username, "state": row.state, "reason": row.reason, "at": row.at} for row in rows]

    def get_hazards(self, case: Case) -> dict[str, Any]:
        return dict(case.screening.report.get("hazards", {})) if case.screening is not None else {}

    def get_bias(self, case: Case) -> dict[str, Any]:
        return dict(case.screening.report.get("bias", {})) if case.screening is not None else {}

    def get_guards(self, case: Case) -> list[dict[str, Any]]:
        rows = case.screening.report.get("guards", []) if case.screening is not None else []
        return [{key: row[key] for key in ("judge", "judged", "kinds")} for row in rows]

    def get_why_not_decide(self, case: Case) -> str:
        return queue.why_not_decide(case, self.context["request"].user)


class DecisionSerializer(serializers.Serializer[Any]):
    state = serializers.CharField(
        help_text="allowed or refused; of a report: resolved, refused or waiting (for a fix)."
    )
    reason = serializers.CharField(max_length=5_000)
    clause = serializers.CharField(
        max_length=40, required=False, allow_blank=True, default="", help_text="A clause of the policy in force."
    )


class GivenTestSerializer(serializers.Serializer[Any]):
    prompt = serializers.CharField(max_length=MAX_PROMPT_CHARACTERS, help_text="What the model is asked.")
    must = serializers.ListField(child=serializers.CharField(), required=False, help_text="Wordings it has to say.")
    must_not = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Wordings it may not say."
    )
    answer = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="A better answer, to be like by half (chrF)."
    )
    suite = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="NAMESPACE/NAME; empty: that of the model's tests."
    )


class FileActSerializer(serializers.Serializer[Any]):
    act = serializers.CharField(help_text="withhold or restore.")
    reason = serializers.CharField(max_length=5_000)
    path = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="Of a report; left out, the path that was reported."
    )
    clause = serializers.CharField(
        max_length=40, required=False, allow_blank=True, default="", help_text="A clause of the policy in force."
    )


class OfflineSerializer(serializers.Serializer[Any]):
    act = serializers.CharField(help_text="take, second or lift.")
    reason = serializers.CharField(max_length=5_000)
    clause = serializers.CharField(
        max_length=40, required=False, allow_blank=True, default="", help_text="A clause of the policy in force."
    )


class AppealSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=5_000)


class ReportSerializer(serializers.Serializer[Any]):
    repo = serializers.CharField(help_text="NAMESPACE/NAME")
    type = serializers.ChoiceField(choices=["model", "dataset", "space"], required=False, default="model")
    text = serializers.CharField(max_length=MAX_TEXT_CHARACTERS, help_text="What is wrong.")
    subject = serializers.JSONField(
        required=False,
        default=dict,
        help_text='Of an answer: {"prompt", "answer", "settings", "release", "revision"}, and "may_publish": '
        "true lets the prompt become public as a test.",
    )


class AuditEntrySerializer(serializers.Serializer[AuditEntry]):
    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="Empty: the hub itself.")
    action = serializers.CharField()
    subject = serializers.CharField()
    data = serializers.JSONField()
    is_public = serializers.BooleanField()
    previous = serializers.CharField()
    hash = serializers.CharField()


class AuditHeadSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    hash = serializers.CharField()
    signature = serializers.JSONField(help_text='By the hub, over the canonical JSON of {"number", "hash"}.')
    problem = serializers.CharField(help_text="Empty when the chain is whole, else the first broken entry.")
