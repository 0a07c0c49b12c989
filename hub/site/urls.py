"""All addresses. Programs first: their addresses are exact; the site's pages end with a rule that takes any NAMESPACE/NAME."""

from django.urls import include, path

from hub.api.hf.urls import downloads

urlpatterns = [
    *downloads,  # the most asked for: addresses are tried one after another
    path("api/v1/", include("training.api_urls")),
    path("api/v1/", include("moderation.api_urls")),
    path("", include("hub.api.urls")),
    path("", include("moderation.urls")),
    path("", include("training.urls")),
    path("", include("hub.web.urls")),
]
