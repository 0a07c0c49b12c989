from django.urls import re_path

from hub.api.git import views

REPO = r"^(?:(?P<prefix>datasets|spaces)/)?(?P<namespace>[^/]+)/(?P<name>[^/]+?)(?:\.git)?"

urlpatterns = [
    re_path(REPO + r"/info/refs$", views.info_refs),
    re_path(REPO + r"/git-upload-pack$", views.upload_pack),
    re_path(REPO + r"/git-receive-pack$", views.receive_pack),
]
