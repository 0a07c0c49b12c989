"""Addresses of this room's REST door, under /api/v1/."""

from django.urls import URLPattern, path, register_converter

from training import api


class ActConverter:
    """What one may do with a run."""

    regex = "|".join(api.ACTS)

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ActConverter, "run_act")

urlpatterns: list[URLPattern] = [
    path("proposals", api.ProposalsView.as_view()),
    path("runs", api.RunsView.as_view()),
    path("runs/compare", api.RunComparisonView.as_view()),
    path("runs/<int:pk>", api.RunView.as_view()),
    path("runs/<int:pk>/<run_act:act>", api.RunActView.as_view()),
    path("runs/<int:pk>/replays", api.RunReplaysView.as_view()),
    path("runs/<int:pk>/clone", api.RunCloneView.as_view()),
    path("runs/<int:pk>/log", api.RunLogView.as_view()),
    path("runs/<int:pk>/events", api.RunEventsView.as_view()),
    path("playground", api.PlaygroundView.as_view()),
    path("playground/<uuid:pk>", api.AnswerView.as_view()),
]
