from django.urls import re_path

from hub.api.git import views

# `git/` in front is the members' way in: it asks for a token before anything else. git sends none unless asked, and a
# public repository does not ask, so its members would get what strangers get.
ADDRESS = r"^(?P<way>git/)?(?:(?P<prefix>datasets|spaces)/)?(?P<namespace>[^/]+)/(?P<name>[^/]+?)(?:\.git)?"

urlpatterns = [
    re_path(ADDRESS + r"/info/refs$", views.info_refs),
    re_path(ADDRESS + r"/git-upload-pack$", views.upload_pack),
    re_path(ADDRESS + r"/git-receive-pack$", views.receive_pack),
]
