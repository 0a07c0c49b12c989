from django.urls import path, re_path

from hub.api.xet import data, tokens, views

HASH = r"(?P<hash>[0-9a-f]{64})"
DIRECTION = r"xet-(?P<direction>read|write)-token"
REPO = r"^api/(?P<kind>models|datasets|spaces)/(?P<namespace>[^/]+)/(?P<name>[^/]+)"

urlpatterns = [
    re_path(REPO + rf"/{DIRECTION}/(?P<revision>.+)$", tokens.issue_token),
    re_path(rf"^xet/v1/xorbs/[a-z-]+/{HASH}$", views.xorb),
    path("xet/v1/shards", views.shards),
    path("xet/v1/reconstructions", views.reconstructions),
    re_path(rf"^xet/v1/reconstructions/{HASH}$", views.reconstruction),
    re_path(rf"^xet/v2/reconstructions/{HASH}$", views.reconstruction_2),
    re_path(rf"^xet/v1/chunks/[a-z-]+/{HASH}$", views.chunk),
    re_path(rf"^xet/v1/files/{HASH}$", views.file_size),
    re_path(rf"^xet/data/{HASH}$", data.data),
    path("v1/telemetry", views.telemetry),
    path("xet/v1/telemetry", views.telemetry),
    re_path(r"^xet/.*$", views.unknown),
]
