"""What the rooms above may listen to."""

from django.dispatch import Signal

member_changed = Signal()  # organization, user, role ("" when taken away), by (None: an operator)
