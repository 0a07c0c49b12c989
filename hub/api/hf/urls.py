"""The addresses of the stock client. The last rule answers every other address under /api/ with JSON."""

from django.urls import path, re_path

import hub.api.addresses  # noqa: F401  registers the converters
from hub.api.hf import (
    access,
    attachments,
    collections,
    commit,
    croissant,
    device,
    discussions,
    follows,
    info,
    leaderboards,
    lfs_files,
    listing,
    misc,
    people,
    preupload,
    refs,
    repos,
    resolve,
    safetensors,
    tree,
    webhooks,
)

REPO = "api/<repo_type:type>/<str:namespace>/<str:name>"
DISCUSSIONS = f"{REPO}/discussions"

accounts = [
    path("api/whoami-v2", people.whoami),
    path("oauth/device", device.device),
    path("oauth/token", device.token),
    path("api/users/<str:who>/overview", people.person),
    path("api/users/<str:who>/likes", people.likes),
    path("api/users/<str:who>/followers", follows.followers_of_person),
    path("api/users/<str:who>/following", follows.following),
    path("api/users/<str:who>/follow", follows.follow),
    path("api/organizations/<str:who>/overview", people.organization),
    path("api/organizations/<str:who>/members", people.members),
    path("api/organizations/<str:who>/followers", follows.followers_of_organization),
    path("api/organizations/<str:who>/follow", follows.follow),
    path("api/organizations/<str:who>/settings/repositories", people.storage),
    path("api/settings/repositories", people.storage),
    path("api/settings/webhooks", webhooks.many),
    path("api/settings/webhooks/<str:key>", webhooks.one),
    path("api/settings/webhooks/<str:key>/enable", webhooks.enable),
    path("api/settings/webhooks/<str:key>/disable", webhooks.disable),
]
MACHINES = "machines for spaces: it keeps them as git repositories and runs none"

passing = [
    path("api/validate-yaml", misc.validate_yaml),
    path("api/agent-harnesses", misc.agent_harnesses),
    re_path(r"^api/telemetry/.*$", misc.telemetry),
    path("v1/telemetry", misc.telemetry),
    re_path(r"^api/buckets(?:/.*)?$", misc.refuse_unsupported("buckets; upload to a dataset repository instead")),
    re_path(r"^api/(?:scheduled-)?jobs(?:/.*)?$", misc.refuse_unsupported("rented machines for jobs")),
    re_path(r"^buckets(?:/.*)?$", misc.refuse_unsupported("buckets; upload to a dataset repository instead")),
    re_path(r"^api/spaces/(?:templates|hardware|semantic-search|zero-gpu/quota)$", misc.refuse_unsupported(MACHINES)),
    re_path(
        r"^api/spaces/[^/]+/[^/]+/(?:secrets|variables|runtime|hardware|sleeptime|pause|restart|dev-mode|volumes|logs/.*)$",
        misc.refuse_unsupported(MACHINES),
    ),
    re_path(r"^api/kernels(?:/.*)?$", misc.refuse_unsupported("kernel repositories")),
    re_path(r"^api/(?:papers|daily_papers)(?:/.*)?$", misc.refuse_unsupported("papers")),
    path("uploads", attachments.many),
    path("uploads/<str:name>", attachments.one),
]
lists = [
    path("api/<repo_type:type>/<str:namespace>/<str:name>/leaderboard", leaderboards.board),
    path("api/models-tags-by-type", listing.tags_by_type, {"type": "model"}),
    path("api/datasets-tags-by-type", listing.tags_by_type, {"type": "dataset"}),
    path("api/<repo_type:type>", listing.repos),
]
lifecycle = [
    path("api/repos/create", repos.create),
    path("api/repos/delete", repos.delete),
    path("api/repos/move", repos.move),
    path("api/<repo_type:type>/<str:name>", misc.nameless),
    path(REPO, info.repo_info),
    path(f"{REPO}/revision/<rest:rest>", info.repo_info),
    path(f"{REPO}/settings", repos.settings),
    path(f"{REPO}/duplicate", repos.duplicate),
    path(f"{REPO}/auth-check", repos.auth_check),
    path(f"{REPO}/auth-check/write", repos.auth_check_write),
    path(f"{REPO}/user-access-request", access.asking),
    path(f"{REPO}/user-access-request/handle", access.handling),
    path(f"{REPO}/user-access-request/grant", access.granting),
    path(f"{REPO}/user-access-request/<str:status>", access.requests),
    path(f"{REPO}/like", people.like),
    path(f"{REPO}/likers", people.likers),
]
files = [
    path(f"{REPO}/tree/<rest:rest>", tree.tree),
    path(f"{REPO}/paths-info/<rest:rest>", tree.paths_info),
    path(f"{REPO}/preupload/<rest:rest>", preupload.preupload),
    path(f"{REPO}/commit/<rest:rest>", commit.commit),
    path(f"{REPO}/safetensors-metadata/<rest:rest>", safetensors.safetensors_metadata),
    path(f"{REPO}/croissant", croissant.croissant),
    path(f"{REPO}/refs", refs.refs),
    path(f"{REPO}/commits/<rest:rest>", refs.commits),
    path(f"{REPO}/branch/<rest:rest>", refs.branch),
    path(f"{REPO}/tag/<rest:rest>", refs.tag),
    path(f"{REPO}/super-squash/<rest:rest>", refs.super_squash),
    path(f"{REPO}/lfs-files", lfs_files.listing),
    path(f"{REPO}/lfs-files/duplicate", lfs_files.duplicate),
    path(f"{REPO}/lfs-files/batch", lfs_files.deletion),
]
talk = [
    path(DISCUSSIONS, discussions.many),
    path(f"{DISCUSSIONS}/<int:number>", discussions.one),
    path(f"{DISCUSSIONS}/<int:number>/comment", discussions.comments),
    path(f"{DISCUSSIONS}/<int:number>/title", discussions.title),
    path(f"{DISCUSSIONS}/<int:number>/status", discussions.status),
    path(f"{DISCUSSIONS}/<int:number>/merge", discussions.merge),
    path(f"{DISCUSSIONS}/<int:number>/comment/<str:comment>/edit", discussions.comment_edit),
    path(f"{DISCUSSIONS}/<int:number>/comment/<str:comment>/hide", discussions.comment_hide),
]
COLLECTION = "api/collections/<str:namespace>/<str:slug>"
shelves = [
    path("api/collections", collections.many),
    path(COLLECTION, collections.one),
    path(f"{COLLECTION}/items", collections.items),
    path(f"{COLLECTION}/items/<str:item>", collections.item),
    path(f"{COLLECTION}/upvote", collections.upvote),
    path(
        f"{COLLECTION}/resource-group", misc.refuse_unsupported("resource groups; make the collection private instead")
    ),
]
# Models live at the root. The prefixes come first: nobody can be called "datasets". hub.site.urls tries these first.
downloads = [
    path(f"{prefix}<str:namespace>/<str:name>/{door}/<rest:rest>", view, {"type": type})
    for prefix, type in (("datasets/", "dataset"), ("spaces/", "space"), ("", "model"))
    for door, view in (("resolve", resolve.resolve), ("raw", resolve.raw))
]
urlpatterns = [
    *accounts,
    *passing,
    *lists,
    *lifecycle,
    *files,
    *talk,
    *shelves,
    re_path(r"^api(?:/.*)?$", misc.unknown),
]
