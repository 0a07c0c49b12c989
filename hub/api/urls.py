"""All doors for programs. The order matters: the stock client's last rule takes every address under /api/ that is left."""

from django.urls import include, path

urlpatterns = [
    path("", include("hub.api.rest.urls")),
    path("", include("hub.api.xet.urls")),
    path("", include("hub.api.lfs.urls")),
    path("", include("hub.api.git.urls")),
    path("", include("hub.api.hf.urls")),
]
