"""Files that releases pin stay, whatever becomes of the branches: a release can be had as long as it is not quarantined,
and a quarantine can be lifted."""

from collections.abc import Iterator

from hub.repos.garbage import needs_files
from moderation.models import Release


def list_needed() -> Iterator[str]:
    for manifest in Release.objects.values_list("manifest", flat=True).iterator():
        yield from (pin["sha256"] for pin in manifest.get("files", {}).values())


needs_files("releases", list_needed)
