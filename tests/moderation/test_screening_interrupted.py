"""A screening that runs out of its budget, is cut off, or meets a file on which it breaks."""

from typing import Any

import pytest

from hub.common.models import Job
from hub.community.models import Notification
from hub.repos.models import Content
from moderation.models import Case, Screening
from moderation.rules.reasons import IN_PROGRESS
from tests.moderation.scenes import (
    bring,
    content_at,
    is_public_object,
    make_repo,
    reader,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tides(alice: Any) -> Any:
    return make_repo("dataset", "tides", alice.user)


class Clock:
    """Stands in for the module `time`: each look takes a minute."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 60
        return self.now


def claim(repo: Any) -> Any:
    from django.utils import timezone

    from hub.common import jobs

    job = Job.objects.get(kind="moderation.screen_data", payload__revision_id=repo.revisions.latest("pk").pk)
    lease = jobs.claim(str(job.pk), now=timezone.now())
    assert lease is not None
    return lease


def bring_three(tides: Any, by: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three files that no quick screen reached. Returns their names as the full screen comes to them."""
    from moderation.screening import screening

    with monkeypatch.context() as patch:
        patch.setattr(screening, "QUICK_BUDGET_S", 0.0)
        bring(tides, by, {name: name.encode() for name in ("a.txt", "b.txt", "c.txt")})
    rows = tides.revisions.latest("pk").brought.order_by("pk")
    return list(rows.values_list("content__path", flat=True))


def test_a_screening_that_uses_up_its_budget_keeps_what_it_judged_and_leaves_the_rest_to_a_person(
    alice: Any, tides: Any, mona: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decisions were written after the last file only, and the whole commit was queued again for ever."""
    from hub.common import jobs
    from moderation.screening import content_screening, screening

    first, *rest = bring_three(tides, alice.user, monkeypatch)
    lease = claim(tides)
    reason = "Its budget of 3600 s was used up."

    def run_out(*_: Any, **__: Any) -> list[Any]:
        lease.cancelled.set()
        Job.objects.filter(pk=lease.job.pk).update(cancel_requested=True, reason=reason)
        return []

    monkeypatch.setattr(content_screening, "screen_file", run_out)
    with pytest.raises(jobs.JobCancelled):
        screening.screen_fully(lease, tides.revisions.latest("pk"))
    jobs.finish(lease, Job.State.CANCELLED, "")
    assert content_at(tides, first).clearance == Content.Clearance.CLEARED
    assert {case.title for case in Case.objects.all()} == {f"{name} could not be screened: {reason}" for name in rest}
    assert content_at(tides, rest[0]).clearance == Content.Clearance.PENDING
    assert Screening.objects.get(job=lease.job).state == Screening.State.FAILED
    assert Notification.objects.filter(user=mona.user).count() == 1
    assert screening.screen_forgotten(older_than_s=0) == 0


def test_another_attempt_goes_on_after_the_last_file_that_was_judged(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.common import jobs
    from moderation.screening import content_screening, screening

    first, second, third = bring_three(tides, alice.user, monkeypatch)
    lease = claim(tides)
    monkeypatch.setattr(screening, "time", Clock())
    read: list[str] = []

    def die_once(name: str, *_: Any, **__: Any) -> list[Any]:
        read.append(name)
        if read == [first, second, third]:
            raise jobs.JobLost  # as a worker that was killed: nothing more is written
        return []

    monkeypatch.setattr(content_screening, "screen_file", die_once)
    with pytest.raises(jobs.JobLost):
        screening.screen_fully(lease, tides.revisions.latest("pk"))
    assert content_at(tides, second).clearance == Content.Clearance.CLEARED
    assert content_at(tides, third).reason == IN_PROGRESS
    made = screening.screen_fully(lease, tides.revisions.latest("pk"))
    assert read == [first, second, third, third]
    assert (made.state, made.summary) == (Screening.State.PASSED, "3 files screened.")
    assert reader(tides).read_text(reader(tides).resolve("main"), "c.txt") == "c.txt"


def test_the_budget_of_a_screening_grows_with_its_bytes(alice: Any, tides: Any) -> None:
    from moderation.screening import screening

    revision = bring(tides, alice.user, {"a.txt": b"text"}).revision
    assert screening.job_budget_s(revision) == Job.objects.get(payload__revision_id=revision.pk).budget_s == 3601
    Content.objects.filter(path="a.txt").update(size=50 * 1024**3)
    assert screening.job_budget_s(revision) > 3 * 24 * 3600
    assert [screening.file_budget_s(size) for size in (10, 300_000_000, 10**12)] == [600, 1500, 3600]


def test_a_crash_after_a_decision_is_brought_in_line_later(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fact is written and the process dies before the public half follows."""
    from hub.repos import clearance
    from hub.repos.commits import reconcile

    bring(tides, alice.user, {"b.txt": b"doubtful"})
    content = content_at(tides, "b.txt")
    with monkeypatch.context() as patch:
        patch.setattr(clearance, "publish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clearance.set_clearance(contents=[content], clearance="withheld", reason="No.")
    assert is_public_object(tides, content.digest.removeprefix("git:"))
    assert len(reconcile(older_than_s=0)) == 1
    assert not is_public_object(tides, content.digest.removeprefix("git:"))
