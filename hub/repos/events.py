"""What the rooms above may listen to. Listeners only enqueue or screen within their bounds; a lost event leaves things closed."""

from django.dispatch import Signal

repo_created = Signal()  # repo
repo_changed = Signal()  # repo, changes: names of the settings that were changed, by
repo_moved = Signal()  # repo, former: {"name", "user", "organization"} (keys of the owner before), by
repo_deleting = Signal()  # repo, by; in the transaction that deletes: what a listener raises refuses it
repo_restored = Signal()  # repo, by; in the transaction that brings a deleted one back
repo_removing = Signal()  # repo, by (None: its time was over); in the transaction that removes a deleted one for good
revision_created = Signal()  # revision, contents: list[Content] that are new to the repository (pending)
clearance_changed = Signal()  # repo, contents
collaborator_changed = Signal()  # repo, user, role ("" when taken away), by
access_asked = Signal()  # request: AccessRequest that waits, or was let in at once
access_decided = Signal()  # request, by: it was accepted, rejected, or put back among those that wait
branch_moved = Signal()  # repo, ref, old, new, by
public_half_moved = (
    Signal()
)  # repo, moves: list of (ref, old, new) of what strangers see; in the transaction that publishes
# purge, repo, commits: {old: new}, holding: old ones that held a file, contents that go; in the transaction of the rows
history_purging = Signal()
history_purged = Signal()  # purge, repo, commits; git and rows are in line. Listeners are told again after a crash
