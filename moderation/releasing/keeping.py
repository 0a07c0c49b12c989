"""Files that releases pin stay, whatever becomes of the branches: a release can be had as long as it is not quarantined,
and a quarantine can be lifted. What was purged since the quarantine is given up: nothing brings that release back."""

from collections.abc import Iterator

from hub.repos.garbage import needs_files
from hub.repos.purge_models import PurgedContent
from moderation.models import Release


def list_needed() -> Iterator[str]:
    purged = set(PurgedContent.objects.filter(digest__startswith="sha256:").values_list("repo_id", "digest"))
    for repo, manifest in Release.objects.values_list("repo_id", "manifest").iterator():
        for pin in manifest.get("files", {}).values():
            if (repo, f"sha256:{pin['sha256']}") not in purged:
                yield pin["sha256"]


needs_files("releases", list_needed)
