"""Addresses of this room's pages."""

from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, path, register_converter

from training.pages import begin, live, playground, propose, recipes, replays, runs


class ModelOwner:
    """A namespace before a model's name; `datasets/` and `spaces/` lead elsewhere."""

    regex = r"(?!(?:datasets|spaces|api|runs)/)[A-Za-z0-9_][A-Za-z0-9_.-]*"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ModelOwner, "model_owner")

# Below a model: /NAMESPACE/NAME/...
REPO_PAGES: list[tuple[str, Callable[..., HttpResponse], dict[str, str]]] = [
    ("/propose", propose.show_wizard, {}),
    ("/begin", begin.show_beginning, {}),
    ("/propose/recipe", recipes.edit_recipe, {}),
    ("/runs", runs.list_repo_runs, {}),
    ("/discussions/<int:number>/checks/<str:check>/rerun", runs.rerun_check, {}),
    ("/discussions/<int:number>/take-over", recipes.take_over, {}),
    ("/playground", playground.show_playground, {}),
    ("/playground/ask", playground.ask_question, {}),
]

urlpatterns: list[URLPattern] = [
    path("propose", propose.choose_target),
    path("jobs", runs.list_jobs),
    path("runs/compare", runs.compare_runs),
    path("runs/<int:pk>", runs.show_run),
    path("runs/<int:pk>/log", runs.show_log),
    path("runs/<int:pk>/state", runs.show_state),
    path("runs/<int:pk>/replays", replays.show_replays),
    *(path(f"runs/<int:pk>/{act}", runs.act_on_run, {"act": act}) for act in runs.ACTS),
    path("live/jobs/<str:job_id>", live.show_events),
    *(
        path(f"<model_owner:namespace>/<str:name>{rest}", view, {"type": "model", **more})
        for rest, view, more in REPO_PAGES
    ),
]
