"""What the rooms above may listen to. Listeners only enqueue or screen within their bounds; a lost event leaves things closed."""

from django.dispatch import Signal

repo_created = Signal()  # repo
revision_created = Signal()  # revision, contents: list[Content] that are new to the repository (pending)
clearance_changed = Signal()  # repo, contents
branch_moved = Signal()  # repo, ref, old, new, by
