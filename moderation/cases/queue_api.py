"""The REST door of the queue: cases in their order, and one act on several of them."""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.addresses import next_page
from hub.api.rest.pages import answer_page
from hub.api.rest.views import PAGED, REFUSALS, require_person
from hub.common.errors import InvalidInput
from hub.common.paging import cut_page, read_limit
from moderation.cases import bulk_acts, queue
from moderation.cases.deadlines import claimer_of
from moderation.cases.queue_order import SORTS, attach_scores, fetch, list_placed
from moderation.models import Case
from moderation.serializers import CaseSerializer

NEWEST = "newest"
MAX_MOMENT_MS = 4_102_444_800_000  # the year 2100


class UrgencySerializer(serializers.Serializer[Any]):
    urgency = serializers.FloatField(help_text="The sum of the four parts; docs/moderation.md says what they are.")
    severity = serializers.FloatField()
    reach = serializers.FloatField()
    age = serializers.FloatField()
    accuracy = serializers.FloatField()
    reasons = serializers.ListField(child=serializers.CharField(), help_text="The same in words.")


class QueuedCaseSerializer(CaseSerializer):
    claimed_by = serializers.SerializerMethodField(help_text="Who has claimed it at this moment, or null.")
    score = UrgencySerializer(help_text="Its place in the queue.")

    def get_claimed_by(self, case: Case) -> str | None:
        holder = claimer_of(case, datetime.now(UTC))
        return holder.username if holder is not None else None


class BulkSerializer(serializers.Serializer[Any]):
    cases = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=queue.MAX_KEY),
        help_text=f"Ids, at most {bulk_acts.MAX_CASES} at once.",
    )
    act = serializers.ChoiceField(
        choices=bulk_acts.ACTS, help_text="claim; dismiss, of reports in which nothing is wrong; decide."
    )
    state = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=20, help_text="Of decide, as of one case."
    )
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=5_000, help_text="Of each decision; not of a claim."
    )
    clause = serializers.CharField(
        max_length=40, required=False, allow_blank=True, default="", help_text="A clause of the policy in force."
    )
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only say what would happen.")


class OutcomeSerializer(serializers.Serializer[bulk_acts.Outcome]):
    id = serializers.IntegerField(source="number")
    done = serializers.BooleanField(source="is_done")
    status = serializers.IntegerField(help_text="As if it had been asked for alone: 200, 400, 403, 404, 409 or 500.")
    sentence = serializers.CharField(help_text="What comes of it, or why it was not done.")
    state = serializers.CharField(
        source="case.state", default=None, allow_null=True, help_text="Of the case now; null where there is none."
    )


class BulkDoneSerializer(serializers.Serializer[Any]):
    done = serializers.IntegerField()
    not_done = serializers.IntegerField()
    results = OutcomeSerializer(many=True, help_text="One for each case, in the order in which they were sent.")


class CasesView(APIView):
    @extend_schema(
        operation_id="list_cases",
        parameters=[
            OpenApiParameter("state", OpenApiTypes.STR, enum=Case.State.values),
            OpenApiParameter("kind", OpenApiTypes.STR, enum=Case.Kind.values),
            OpenApiParameter(
                "sort", OpenApiTypes.STR, enum=[NEWEST, *SORTS], description="newest when it is not said."
            ),
            *PAGED,
        ],
        responses={200: QueuedCaseSerializer(many=True), **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """The moderators' cases, each with its place in the queue and why it stands there."""
        require_person(request)
        rows = queue.cases_for(request.user)
        for name, known in (("state", Case.State.values), ("kind", Case.Kind.values)):
            if value := request.GET.get(name):
                check_choice(name, value, known)
                rows = rows.filter(**{name: value})
        sort = request.GET.get("sort") or NEWEST
        check_choice("sort", sort, [NEWEST, *SORTS])
        if sort == NEWEST:
            return answer_page(request._request, rows, tell_newest)
        return answer_sorted(request, rows, sort)


def check_choice(name: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise InvalidInput(f"The {name} {value[:40]!r} does not exist; use {', '.join(known)}.")


def tell_newest(page: list[Case], *, many: bool) -> Any:
    attach_scores(page, datetime.now(UTC))
    return QueuedCaseSerializer(page, many=many)


def answer_sorted(request: Request, rows: Any, sort: str) -> Response:
    """A cursor holds the moment of the first page and where the last one ended: the points of all pages count
    time up to that moment. Time alone moves no case to another page; a decision between two pages may, for the accuracy of a
    reporter and the number of reports follow from it."""
    limit = read_limit(request._request, default=50, most=200)
    now, last = read_cursor(request.GET.get("cursor", ""))
    placed = [one for one in list_placed(rows, now, sort) if last is None or one.key(sort) > last]
    page, has_more = cut_page(placed[: limit + 1], limit=limit)
    cursor = ".".join(str(number) for number in (in_ms(now), *page[-1].key(sort))) if has_more else ""
    headers = {"Link": next_page(request._request, cursor=cursor)} if has_more else None
    return Response(QueuedCaseSerializer(fetch(rows, page), many=True).data, headers=headers)


def in_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def read_cursor(text: str) -> tuple[datetime, tuple[int, ...] | None]:
    """The moment that the points are of, to the millisecond, and the key of the last case that was told."""
    if not text:
        return datetime.fromtimestamp(in_ms(datetime.now(UTC)) / 1000, UTC), None
    parts = text.split(".")
    if len(parts) != 4 or not all(part.removeprefix("-").isdecimal() and len(part) <= 19 for part in parts):
        raise InvalidInput("The cursor is not one of this list; start again without it.")
    moment, *key = map(int, parts)
    if not 0 <= moment <= MAX_MOMENT_MS:
        raise InvalidInput("The cursor is not one of this list; start again without it.")
    return datetime.fromtimestamp(moment / 1000, UTC), tuple(key)


class BulkView(APIView):
    @extend_schema(operation_id="act_on_cases", request=BulkSerializer, responses={200: BulkDoneSerializer, **REFUSALS})
    def post(self, request: Request) -> Response:
        """Claim, dismiss or decide several cases with one reason. Each is checked, decided, logged and told by itself; sent
        again, it has the same result and does nothing twice."""
        by = require_person(request)
        given = BulkSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        body = dict(given.validated_data)
        numbers, is_preview = body.pop("cases"), body.pop("dry_run")
        wish = bulk_acts.make_wish(by=by, **body)
        outcomes = (bulk_acts.preview if is_preview else bulk_acts.carry_out_wish)(wish, numbers)
        done = sum(outcome.is_done for outcome in outcomes)
        told = {"done": done, "not_done": len(outcomes) - done, "results": outcomes}
        return Response(BulkDoneSerializer(told).data)
