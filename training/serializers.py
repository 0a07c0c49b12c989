"""The shapes of this room's REST door. They only describe and check; the rules live below."""

from typing import Any

from rest_framework import serializers

from hub.common.models import Job, JobEvent
from training.models import Replay, Run
from training.workers.conversations import BOUNDS, MAX_QUESTION, read_answer


class ProposalSerializer(serializers.Serializer[Any]):
    repo = serializers.CharField(help_text="NAMESPACE/NAME of the model to improve.")
    recipe = serializers.CharField(trim_whitespace=False, help_text="The whole recipe.yaml.")
    title = serializers.CharField(max_length=300, min_length=3)
    description = serializers.CharField(required=False, allow_blank=True, default="", max_length=65_536)


class ProposedSerializer(serializers.Serializer[Any]):
    repo = serializers.CharField()
    number = serializers.IntegerField(help_text="Number of the pull request.")
    url = serializers.CharField(help_text="Path of its page on this site.")
    ref = serializers.CharField(help_text="The ref that belongs to you.")
    head = serializers.CharField(help_text="Commit of that ref.")


class CorpusSerializer(serializers.Serializer[Any]):
    digest = serializers.CharField()
    rows = serializers.IntegerField()
    tokens = serializers.IntegerField()
    dropped = serializers.DictField(child=serializers.IntegerField(), help_text="Reason -> rows that were left out.")


class RunSerializer(serializers.Serializer[Run]):
    id = serializers.IntegerField()
    repo = serializers.CharField(source="repo.full_name")
    pull_request = serializers.IntegerField(source="pull_request.discussion.number", default=None, allow_null=True)
    state = serializers.ChoiceField(choices=Run.State.choices)
    reason = serializers.CharField(help_text="One sentence: why it waits, failed or was cancelled.")
    is_superseded = serializers.BooleanField(help_text="Newer inputs replaced it: a push, or a merge into its target.")
    proposed_by = serializers.CharField(source="proposed_by.username", default=None, allow_null=True)
    approved_by = serializers.CharField(source="approved_by.username", default=None, allow_null=True)
    recipe_digest = serializers.CharField()
    model_digest = serializers.CharField(help_text="Empty until it is trained.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class StationSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.CharField()
    summary = serializers.CharField()
    job = serializers.UUIDField(source="job.pk", default=None, allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class NowSerializer(serializers.Serializer[Any]):
    job = serializers.UUIDField(source="job.pk")
    sentence = serializers.CharField()
    done = serializers.IntegerField(allow_null=True)
    total = serializers.IntegerField(allow_null=True)
    eta_s = serializers.FloatField(allow_null=True)
    ahead = serializers.IntegerField(help_text="Jobs before it in its queue.")


class SavedStepSerializer(serializers.Serializer[Any]):
    step = serializers.IntegerField()
    saved_at = serializers.DateTimeField()
    size_bytes = serializers.IntegerField()
    digest = serializers.CharField(help_text="Of the model; empty for one that is only there to go on from.")


class BillSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField(help_text="Of worker time.")
    payers = serializers.ListField(child=serializers.CharField())
    refunds = serializers.IntegerField(help_text="Trainings that ended without being charged.")


class ReplaySerializer(serializers.Serializer[Replay]):
    id = serializers.IntegerField()
    run = serializers.IntegerField(source="run_id")
    state = serializers.ChoiceField(
        choices=Replay.State.choices,
        help_text="equal: all tensors have the recorded digests; close: within the tolerances of the report; different; "
        "failed: it could not be made again, see the sentence.",
    )
    sentence = serializers.CharField(help_text="The outcome in words.")
    asked_by = serializers.CharField(
        source="asked_by.username", default=None, allow_null=True, help_text="null: an operator"
    )
    asked_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    report = serializers.JSONField(
        help_text="`comparison` (digests of both, largest and mean difference), `evaluations`, `tolerances`, the machine, and "
        "the devices and versions of both; empty while it runs."
    )


class RunDetailSerializer(RunSerializer):
    replay = ReplaySerializer(
        source="newest_replay",
        default=None,
        allow_null=True,
        help_text="The newest that was compared; all at /replays.",
    )
    stations = StationSerializer(many=True)
    now = NowSerializer(allow_null=True, help_text="What is done at this moment; null when nothing moves by itself.")
    corpus = CorpusSerializer(allow_null=True)
    steps = serializers.IntegerField(source="result.steps", default=None, allow_null=True)
    final_loss = serializers.FloatField(source="result.final_loss", default=None, allow_null=True)
    seconds = serializers.FloatField(source="result.seconds", default=None, allow_null=True)
    tokens = serializers.IntegerField(source="result.tokens", default=None, allow_null=True)
    preference = serializers.JSONField(
        source="result.preference",
        default=None,
        allow_null=True,
        help_text="Of a run that learns which answer is better: `pairs`, `accuracy`, `parent_accuracy` and `difference`, "
        "each with `value`, `low` and `high`; see the reference of recipe.yaml.",
    )
    warnings = serializers.ListField(child=serializers.CharField())
    checkpoints = SavedStepSerializer(many=True, source="checkpoints_kept")
    bill = BillSerializer(allow_null=True, help_text="null until a training has ended.")


class LogLineSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    job = serializers.CharField(help_text="prepare, train, evaluate or sample.")
    text = serializers.CharField()


class ComparedRowSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    values = serializers.ListField(
        child=serializers.JSONField(allow_null=True), help_text="One for each run, in order."
    )


class ComparedCurveSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    points = serializers.JSONField(help_text="[[step, loss], ...]")


class ComparisonSerializer(serializers.Serializer[Any]):
    runs = serializers.ListField(child=serializers.IntegerField(), source="numbers")
    settings = ComparedRowSerializer(many=True, help_text="Only those that differ.")
    results = ComparedRowSerializer(many=True)
    curves = ComparedCurveSerializer(many=True)
    held_out = ComparedCurveSerializer(many=True, help_text="Loss of rows kept aside.")


class JobEventSerializer(serializers.Serializer[JobEvent]):
    id = serializers.IntegerField()
    job = serializers.UUIDField(source="job_id")
    kind = serializers.CharField()
    data = serializers.JSONField()
    at = serializers.DateTimeField()


class RunEventsSerializer(serializers.Serializer[Any]):
    events = JobEventSerializer(many=True)
    after = serializers.IntegerField(help_text="Send it as `after` next time.")
    ended = serializers.BooleanField(help_text="True when nothing will be added by itself.")


class QuestionSerializer(serializers.Serializer[Any]):
    repo = serializers.CharField(help_text="NAMESPACE/NAME of the model.")
    question = serializers.CharField(max_length=MAX_QUESTION)
    revision = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=200,
        help_text="A release; the newest when it is not said.",
    )
    previous = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=40,
        help_text="The question before, to go on with the talk.",
    )
    temperature = serializers.FloatField(
        required=False, min_value=BOUNDS["temperature"][0], max_value=BOUNDS["temperature"][1]
    )
    max_new_tokens = serializers.IntegerField(required=False, min_value=1, max_value=int(BOUNDS["max_new_tokens"][1]))
    seed = serializers.IntegerField(required=False, min_value=0, max_value=int(BOUNDS["seed"][1]))


class AnswerSerializer(serializers.Serializer[Job]):
    id = serializers.UUIDField(source="pk")
    repo = serializers.SerializerMethodField()
    revision = serializers.CharField(source="payload.revision")
    commit = serializers.CharField(source="payload.commit")
    settings = serializers.JSONField(source="payload.settings")
    state = serializers.ChoiceField(choices=Job.State.choices)
    text = serializers.SerializerMethodField(help_text="The answer so far.")
    is_done = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField()

    def get_repo(self, job: Job) -> str:
        from hub.repos.models import Repo

        repo = Repo.objects.for_listing().filter(pk=job.payload["repo_id"]).first()
        return repo.full_name if repo else ""

    def get_text(self, job: Job) -> str:
        return str(read_answer(job)["text"])

    def get_is_done(self, job: Job) -> bool:
        return bool(read_answer(job)["is_done"])

    def get_problem(self, job: Job) -> str:
        return str(read_answer(job)["problem"])
