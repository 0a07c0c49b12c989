"""Addresses of our own REST door and of its description. The rooms above add theirs under /api/v1/ in hub.site.urls."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

import hub.api.addresses  # noqa: F401  registers the converters
from hub.api.rest import archives, deleted, purges, views

REPO = "api/v1/repos/<repo_type:type>/<str:namespace>/<str:name>"
PULL = f"{REPO}/pulls/<int:number>"

urlpatterns = [
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="api_docs"),
    path("api/v1/me", views.MeView.as_view()),
    path("api/v1/repos", views.ReposView.as_view()),
    path("api/v1/deleted-repos", deleted.DeletedReposView.as_view()),
    path("api/v1/deleted-repos/<str:key>", deleted.DeletedRepoView.as_view()),
    path("api/v1/deleted-repos/<str:key>/restore", deleted.RestoreView.as_view()),
    path("api/v1/imports", archives.ImportsView.as_view()),
    path(f"{REPO}/export", archives.ExportView.as_view()),
    path(REPO, views.RepoView.as_view()),
    path(f"{REPO}/purges", purges.PurgesView.as_view()),
    path(f"{REPO}/purges/<str:key>", purges.PurgeView.as_view()),
    path(f"{REPO}/pulls", views.PullRequestsView.as_view()),
    path(PULL, views.PullRequestView.as_view()),
    path(f"{PULL}/reviews", views.ReviewsView.as_view()),
    path(f"{PULL}/merge", views.MergeView.as_view()),
    path(f"{PULL}/live", views.LiveView.as_view()),
]
