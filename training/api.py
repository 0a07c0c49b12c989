"""The REST door of this room: proposals, runs and what one may do with them, the playground."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.addresses import next_page
from hub.api.rest.pages import answer_page
from hub.api.rest.views import PAGED, REFUSALS, require_person
from hub.common.errors import InvalidInput, NotFound
from hub.common.models import Job, JobEvent
from hub.common.paging import read_number
from hub.community.models import PullRequest
from hub.repos.find import find_repo
from training import serializers as shapes
from training.models import Run
from training.proposals import clones, recipes
from training.running import audience, comparisons, overview, records, replays, runs
from training.workers import conversations

MAX_EVENTS = 500
MAX_LINES = 1000
ACTS = {"run": runs.start_run, "cancel": runs.cancel_run, "rerun": runs.rerun}
CONFLICT = {409: REFUSALS[400]}


def read_body(shape: Any, request: Request) -> dict[str, Any]:
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class ProposalsView(APIView):
    @extend_schema(
        operation_id="propose",
        request=shapes.ProposalSerializer,
        responses={201: shapes.ProposedSerializer, **REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Propose a recipe: a pull request that changes recipe.yaml. Refused with line and column before anything is stored."""
        by = require_person(request)
        given = read_body(shapes.ProposalSerializer, request)
        made = recipes.propose(
            repo=find_repo("model", given["repo"], by),
            by=by,
            recipe_text=given["recipe"],
            title=given["title"],
            description=given["description"],
            door="rest",
        )
        assert made.pull_request is not None
        return Response(describe_proposal(made.pull_request), status=201)


def describe_proposal(pull_request: PullRequest) -> dict[str, Any]:
    discussion = pull_request.discussion
    answer = {
        "repo": discussion.repo.full_name,
        "number": discussion.number,
        "url": discussion.path,
        "ref": pull_request.ref,
        "head": pull_request.head,
    }
    return dict(shapes.ProposedSerializer(answer).data)


class RunsView(APIView):
    @extend_schema(
        operation_id="list_runs",
        parameters=[
            OpenApiParameter("repo", OpenApiTypes.STR, description="NAMESPACE/NAME of a model."),
            OpenApiParameter("pull_request", OpenApiTypes.INT, description="Number, together with `repo`."),
            OpenApiParameter("state", OpenApiTypes.STR, enum=Run.State.values),
            *PAGED,
        ],
        responses={200: shapes.RunSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """The runs that you may see, newest first."""
        rows = overview.visible_runs(request.user)
        if name := request.GET.get("repo"):
            rows = rows.filter(repo=find_repo("model", name, request.user))
        if text := request.GET.get("pull_request"):
            number = read_number(text)
            if number is None:
                raise InvalidInput(f"pull_request is {text[:50]!r}; write its number.")
            rows = rows.filter(pull_request__discussion__number=number)
        if state := request.GET.get("state"):
            if state not in Run.State.values:
                raise InvalidInput(f"The state {state!r} does not exist; use {', '.join(Run.State.values)}.")
            rows = rows.filter(state=state)

        def tell(page: list[Run], *, many: bool) -> Any:
            audience.veil(request.user, page)
            return shapes.RunSerializer(page, many=many)

        return answer_page(request._request, rows, tell)


def find_run(request: Request, pk: int) -> Run:
    run = overview.visible_runs(request.user).filter(pk=pk).first()
    if run is None or not audience.may_see(request.user, run):
        raise NotFound("There is no such run here, or its recipe is not cleared yet.")
    return run


def describe_run(run: Any) -> Response:
    run.stations = overview.list_stations(run)
    run.now = overview.describe_now(run.stations)
    run.warnings = records.read_warnings(run)
    run.checkpoints_kept = overview.list_checkpoints(run)
    run.bill = overview.read_bill(run)
    run.newest_replay = replays.newest_compared(run)
    return Response(shapes.RunDetailSerializer(run).data)


class RunView(APIView):
    @extend_schema(operation_id="show_run", responses={200: shapes.RunDetailSerializer, **REFUSALS})
    def get(self, request: Request, pk: int) -> Response:
        """One run: its stations, what it does now, its corpus."""
        return describe_run(find_run(request, pk))


class RunActView(APIView):
    @extend_schema(
        operation_id="act_on_run",
        request=None,
        parameters=[OpenApiParameter("act", OpenApiTypes.STR, OpenApiParameter.PATH, enum=list(ACTS))],
        responses={200: shapes.RunDetailSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, pk: int, act: str) -> Response:
        """`run` a proposal that waits for a maintainer, `cancel` what is at work, `rerun` what failed or was cancelled."""
        by = require_person(request)
        ACTS[act](run=find_run(request, pk), by=by)
        return describe_run(find_run(request, pk))


class RunEventsView(APIView):
    @extend_schema(
        operation_id="list_run_events",
        parameters=[OpenApiParameter("after", OpenApiTypes.INT, description="Only events after this one.")],
        responses={200: shapes.RunEventsSerializer, **REFUSALS},
    )
    def get(self, request: Request, pk: int) -> Response:
        """What the jobs of a run reported, oldest first: states, stages, metrics, sample answers, warnings."""
        run = find_run(request, pk)
        after = read_number(request.GET.get("after", "0"))
        if after is None:
            raise InvalidInput("'after' is no number; send that of the last event you have.")
        rows = JobEvent.objects.filter(job__in=runs.jobs_of(run), id__gt=after).order_by("id")
        if not overview.may_see_answers(request.user, run):
            rows = rows.exclude(kind="sample")
        events = list(rows[:MAX_EVENTS])
        ended = not runs.living_jobs(run) and len(events) < MAX_EVENTS
        last = events[-1].pk if events else after
        return Response(shapes.RunEventsSerializer({"events": events, "after": last, "ended": ended}).data)


class RunLogView(APIView):
    @extend_schema(
        operation_id="search_run_log",
        parameters=[
            OpenApiParameter("q", OpenApiTypes.STR, description="Words that a line has to hold."),
            OpenApiParameter("before", OpenApiTypes.INT, description="Only lines before the one with this id."),
        ],
        responses={200: shapes.LogLineSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request, pk: int) -> Response:
        """The record of a run line by line, oldest first: the last 1,000 lines, or the last ones with these words.

        The Link header leads to the lines before them; a page of a search can be empty while there are more."""
        before = read_number(request.GET.get("before", "0"))
        if before is None:
            raise InvalidInput("'before' is no number; send the id of the first line you have.")
        words = request.GET.get("q", "")[:200]
        page = records.search_log(find_run(request, pk), words, before=before, most=MAX_LINES)
        headers = {"Link": next_page(request._request, before=page.older)} if page.older else None
        return Response(shapes.LogLineSerializer(page.lines, many=True).data, headers=headers)


class RunComparisonView(APIView):
    @extend_schema(
        operation_id="compare_runs",
        parameters=[OpenApiParameter("run", OpenApiTypes.INT, many=True, description="Two to four runs.")],
        responses={200: shapes.ComparisonSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Runs side by side: the settings in which they differ, what came out, and their curves."""
        numbers = comparisons.read_choice(request.query_params.getlist("run"))
        found = comparisons.compare([find_run(request, pk) for pk in numbers])
        return Response(shapes.ComparisonSerializer(found).data)


class RunReplaysView(APIView):
    @extend_schema(operation_id="list_replays", responses={200: shapes.ReplaySerializer(many=True), **REFUSALS})
    def get(self, request: Request, pk: int) -> Response:
        """How often the run was made again from its lock, and what came of it, newest first."""
        found = replays.replays_of(find_run(request, pk))[: replays.MAX_SHOWN]
        return Response(shapes.ReplaySerializer(found, many=True).data)

    @extend_schema(
        operation_id="replay_run", request=None, responses={202: shapes.ReplaySerializer, **REFUSALS, **CONFLICT}
    )
    def post(self, request: Request, pk: int) -> Response:
        """Make the run again from its lock and compare the weights. For its maintainers, at their cost, and for moderators."""
        by = require_person(request)
        return Response(shapes.ReplaySerializer(replays.ask(run=find_run(request, pk), by=by)).data, status=202)


class RunCloneView(APIView):
    @extend_schema(
        operation_id="clone_run",
        request=None,
        responses={201: shapes.ProposedSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Propose the recipe of a run once more, as it was."""
        by = require_person(request)
        return Response(describe_proposal(clones.clone_run(run=find_run(request, pk), by=by)), status=201)


class PlaygroundView(APIView):
    @extend_schema(
        operation_id="ask",
        request=shapes.QuestionSerializer,
        responses={202: shapes.AnswerSerializer, **REFUSALS, **CONFLICT},
    )
    def post(self, request: Request) -> Response:
        """Ask a released model (members: any revision). The answer comes at /api/v1/playground/ID."""
        by = require_person(request)
        given = read_body(shapes.QuestionSerializer, request)
        job = conversations.ask(
            repo=find_repo("model", given["repo"], by),
            by=by,
            question=given["question"],
            revision=given["revision"],
            previous=given["previous"],
            options=given,
        )
        return Response(shapes.AnswerSerializer(job).data, status=202)


class AnswerView(APIView):
    @extend_schema(operation_id="show_answer", responses={200: shapes.AnswerSerializer, **REFUSALS})
    def get(self, request: Request, pk: str) -> Response:
        """Your question and its answer so far."""
        by = require_person(request)
        job: Job = conversations.find_question(pk, by)
        return Response(shapes.AnswerSerializer(job).data)
