"""What moderation listens to."""

from django.dispatch import Signal

candidate_trained = Signal()  # pull_request, run: the candidate holds weights and has its final digest
evaluation_finished = Signal()  # evaluation
sampling_finished = Signal()  # sampling
run_steered = Signal()  # run, act ("started" | "restarted" | "cancelled"), by: a person pressed a button
run_changed = Signal()  # run
replay_told = Signal()  # replay, act ("asked" | "ended"), by: who asked, or None
