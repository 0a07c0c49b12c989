"""Addresses of the pages. Included last: /NAMESPACE and /NAMESPACE/NAME catch what no other room wanted."""

from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, path, register_converter

from hub.web import (
    access,
    accounts,
    attachments,
    collections,
    commits,
    deleted,
    devices,
    discussions,
    duplicates,
    edits,
    files,
    home,
    imports,
    leaderboards,
    listings,
    live,
    notifications,
    profiles,
    pull_requests,
    purges,
    repo_settings,
    repos,
    search,
    storage,
    uploads,
    user_settings,
    webhooks,
)


class NameConverter:
    """A name of a person, organization or repository; it never ends in .git, which is git's own door."""

    regex = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?<!\.git)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(NameConverter, "hub_name")

COLLECTION = "collections/<hub_name:namespace>/<str:slug>"
DISCUSSION = "discussions/<int:number>"
REPO_PAGES: list[tuple[str, Callable[..., HttpResponse], dict[str, str]]] = [
    ("", repos.show_repo, {}),
    ("/access", access.ask, {}),
    ("/like", repos.like_repo, {}),
    ("/collect", collections.collect_repo, {}),
    ("/copy", duplicates.copy_repo, {}),
    ("/leaderboard", leaderboards.show_leaderboard, {}),
    ("/leaderboard/contest", leaderboards.contest_entry, {}),
    ("/tree", files.show_tree, {}),
    ("/tree/<path:rest>", files.show_tree, {}),
    ("/blob/<path:rest>", files.show_blob, {}),
    ("/names/<path:rest>", files.list_names, {}),
    ("/edit/<path:rest>", edits.edit_file, {}),
    ("/new/<path:rest>", edits.new_file, {}),
    ("/delete/<path:rest>", edits.delete_file, {}),
    ("/commits/<path:rest>", commits.list_commits, {}),
    ("/commit/<str:sha>", commits.show_commit, {}),
    ("/upload", uploads.upload, {}),
    ("/upload/start", uploads.start_upload, {}),
    ("/upload/parts/<int:number>", uploads.put_part, {}),
    ("/upload/finish", uploads.finish_upload, {}),
    ("/upload/commit", uploads.commit_upload, {}),
    ("/discussions", discussions.list_discussions, {}),
    ("/discussions/new", discussions.new_discussion, {}),
    (f"/{DISCUSSION}", discussions.show_discussion, {}),
    (f"/{DISCUSSION}/commits", pull_requests.list_changes, {"part": "commits"}),
    (f"/{DISCUSSION}/files", pull_requests.list_changes, {"part": "files"}),
    (f"/{DISCUSSION}/merge", pull_requests.act_on_pull_request, {"act": "merge"}),
    (f"/{DISCUSSION}/review", pull_requests.act_on_pull_request, {"act": "review"}),
    (f"/{DISCUSSION}/ready", pull_requests.act_on_pull_request, {"act": "ready"}),
    (f"/{DISCUSSION}/comment", discussions.act_on_discussion, {"act": "comment"}),
    (f"/{DISCUSSION}/rename", discussions.act_on_discussion, {"act": "rename"}),
    (f"/{DISCUSSION}/close", discussions.act_on_discussion, {"act": "close"}),
    (f"/{DISCUSSION}/reopen", discussions.act_on_discussion, {"act": "reopen"}),
    (f"/{DISCUSSION}/comments/<int:event_id>/edit", discussions.edit_comment, {}),
    (f"/{DISCUSSION}/comments/<int:event_id>/hide", discussions.hide_comment, {}),
    ("/storage", storage.show_storage, {}),
    ("/settings", repo_settings.show_settings, {}),
    ("/settings/access", access.show_requests, {}),
    ("/settings/purge", purges.show_purges, {}),
    ("/settings/purge/<str:key>", purges.show_purge, {}),
    ("/settings/rename", repo_settings.rename_repo, {}),
    ("/settings/delete", repo_settings.remove_repo, {}),
    ("/settings/people", repo_settings.change_collaborator, {}),
]


def repo_patterns(prefix: str, type: str) -> list[URLPattern]:
    head = f"{prefix}<hub_name:namespace>/<hub_name:name>"
    return [path(head + rest, view, {"type": type, **more}) for rest, view, more in REPO_PAGES]


urlpatterns = [
    path("", home.show_home),
    path("models", listings.list_repos, {"type": "model"}),
    path("datasets", listings.list_repos, {"type": "dataset"}),
    path("spaces", listings.list_repos, {"type": "space"}),
    path("search", search.search),
    path("signup", accounts.sign_up),
    path("login", accounts.sign_in),
    path("login/link/<str:key>/<str:secret>", accounts.use_password_link),
    path("logout", accounts.sign_out),
    path("oauth/device/approve", devices.approve_device),
    path("new", repos.choose_new),
    path("new/proposal", home.choose_model),
    path("new/import", imports.new_import),
    path("new/organization", user_settings.new_organization),
    path("new/collection", collections.new_collection),
    path("new/<str:type>", repos.new_repo),
    path("settings", user_settings.show_first),
    path("settings/profile", user_settings.edit_profile),
    path("settings/password", user_settings.change_password),
    path("settings/tokens", user_settings.list_tokens),
    path("settings/tokens/<int:pk>/revoke", user_settings.revoke_token),
    path("settings/deleted", deleted.show_deleted),
    path("settings/deleted/<str:key>/restore", deleted.bring_back),
    path("settings/deleted/<str:key>/remove", deleted.remove),
    path("settings/attachments", attachments.list_attachments),
    path("settings/attachments/remove", attachments.remove),
    path("settings/webhooks", webhooks.list_webhooks),
    path("settings/webhooks/<str:key>", webhooks.show_webhook),
    path("settings/webhooks/<str:key>/pause", webhooks.act_on_webhook, {"act": "pause"}),
    path("settings/webhooks/<str:key>/resume", webhooks.act_on_webhook, {"act": "resume"}),
    path("settings/webhooks/<str:key>/test", webhooks.act_on_webhook, {"act": "test"}),
    path("settings/webhooks/<str:key>/delete", webhooks.act_on_webhook, {"act": "delete"}),
    path("settings/webhooks/<str:key>/deliveries/<str:delivery>", webhooks.show_delivery),
    path("settings/webhooks/<str:key>/deliveries/<str:delivery>/again", webhooks.send_again),
    path("settings/organizations/<hub_name:name>", user_settings.edit_organization),
    path("settings/organizations/<hub_name:name>/members", user_settings.change_member),
    path("notifications", notifications.list_notifications),
    path("notifications/read", notifications.mark_all_read),
    path("notifications/<int:pk>", notifications.open_notification),
    path("users/<hub_name:namespace>/follow", profiles.follow),
    path("collections", collections.list_collections),
    path(COLLECTION, collections.show_collection),
    path(f"{COLLECTION}/edit", collections.edit_collection),
    path(f"{COLLECTION}/delete", collections.remove_collection),
    path(f"{COLLECTION}/upvote", collections.vote),
    path(f"{COLLECTION}/items", collections.add_item),
    path(f"{COLLECTION}/items/<str:item>", collections.change_item),
    path("live/pulls/<int:pk>", live.show_json),
    path("live/pulls/<int:pk>/state", live.show_fragment),
    *repo_patterns("datasets/", "dataset"),
    *repo_patterns("spaces/", "space"),
    *repo_patterns("", "model"),
    path("<hub_name:namespace>", profiles.show_profile),
]
