"""The REST door of the figures that /moderation/transparency shows."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hub.api.rest.views import REFUSALS
from moderation import transparency


class FiguresSerializer(serializers.Serializer[Any]):
    period = serializers.ChoiceField(choices=list(transparency.PERIODS))
    since = serializers.DateTimeField(allow_null=True)
    until = serializers.DateTimeField()
    cases = serializers.ListField(child=serializers.JSONField(), help_text="By kind: opened, and in which state now.")
    hidden_cases = serializers.IntegerField(
        allow_null=True, help_text="In repositories that strangers do not see. null: 1 to 4, not told."
    )
    times = serializers.JSONField(help_text='"first_act" and "decision": {"n", "median_s", "p90_s"}.')
    waiting = serializers.JSONField(help_text='Now, of all times: {"open", "overdue"}.')
    appeals = serializers.JSONField(help_text='"overturned" of "decided", with "low" and "high" (Wilson, 95%).')
    rules = serializers.ListField(
        child=serializers.JSONField(),
        help_text=f'"upheld" of "decided"; "rate", "low" and "high" are null below {transparency.MIN_DECIDED}.',
    )
    screenings = serializers.JSONField(help_text="By state.")
    releases = serializers.JSONField(help_text='{"published", "refused", "yanked", "quarantined"}.')


class TransparencyView(APIView):
    @extend_schema(
        operation_id="show_transparency",
        parameters=[OpenApiParameter("days", OpenApiTypes.STR, enum=list(transparency.PERIODS))],
        responses={200: FiguresSerializer, 400: REFUSALS[400]},
    )
    def get(self, request: Request) -> Response:
        """How this hub judged in the last 90 days, or in the period given; the same for everybody."""
        figures = transparency.read_lately(request.query_params.get("days", transparency.USUAL))
        return Response(FiguresSerializer(figures).data)
