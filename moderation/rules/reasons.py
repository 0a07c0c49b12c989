"""Reasons that the hub itself gives, and what no policy goes below. The policy is a file (moderation.rules.policy_file)."""

from moderation.rules.policy_file import LEAST_APPROVALS

NEEDED_APPROVALS = LEAST_APPROVALS  # at least; the policy may ask for more

# Reasons that the hub itself gives for content that is not public; no person has to decide about these.
AWAITS_RELEASE = "It waits for its release."
IN_PROGRESS = "It is being screened; that takes a moment for large files."
QUARANTINED = "Its release is quarantined."
