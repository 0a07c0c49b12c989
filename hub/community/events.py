"""What training, moderation and notifications listen to."""

from django.dispatch import Signal

pull_request_updated = Signal()  # pull_request, reason: opened | pushed | target_moved | merged | closed | reopened
check_changed = Signal()  # check
check_failed = Signal()  # check: a required one; in the transaction that writes it
review_given = Signal()  # review
discussion_opened = Signal()  # discussion
comment_added = Signal()  # event
comment_changed = Signal()  # event; edited or hidden
discussion_changed = Signal()  # discussion; its title, or it was closed or opened again
followed = Signal()  # follow; once for each row
