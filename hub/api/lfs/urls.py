from django.urls import re_path

from hub.api.git.urls import ADDRESS
from hub.api.lfs import parts, views

REPO = ADDRESS + "/info/lfs"

urlpatterns = [
    re_path(REPO + r"/objects/batch$", views.batch),
    re_path(REPO + r"/locks$", views.locks),
    re_path(REPO + r"/locks/verify$", views.locks),
    re_path(REPO + r"/locks/(?P<lock>[^/]+)/unlock$", views.locks),
    re_path(r"^lfs/upload/(?P<ticket>[^/]+)$", views.upload),
    re_path(r"^lfs/parts/(?P<ticket>[^/]+)$", parts.whole),
    re_path(r"^lfs/parts/(?P<ticket>[^/]+)/(?P<number>[0-9]{1,5})$", parts.part),
    re_path(r"^lfs/verify/(?P<ticket>[^/]+)$", views.verify),
    re_path(r"^lfs/download/(?P<ticket>[^/]+)$", views.download),
]
