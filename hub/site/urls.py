"""All addresses. The order matters: doors of programs first, the pages last, because they take every NAMESPACE/NAME."""

from django.urls import include, path

urlpatterns = [
    # The REST door of the rooms above; hub.api answers whatever else lies under /api/.
    path("api/v1/", include("training.api")),
    path("api/v1/", include("moderation.api")),
    path("", include("hub.api.urls")),
    path("", include("moderation.urls")),
    path("", include("training.urls")),
    path("", include("hub.web.urls")),
]
