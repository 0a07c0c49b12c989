"""After an update of the hub, what older screens cleared is screened once more by those of today."""

import json
import random
from typing import Any

import pytest
from django.core.cache import cache

from hub.common import jobs
from hub.common.errors import RevisionNotFound
from hub.common.models import Job
from hub.repos.models import Content
from moderation.models import Case, Screening
from moderation.screening.renewing import DONE, screen_again
from moderation.screening.screening import MOST_FAILURES
from moderation.screens import SCREENS_VERSION
from tests.moderation.scenes import ROWS, bring, content_at, make_repo, reader, run_jobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tides(alice: Any) -> Any:
    return make_repo("dataset", "tides", alice.user)


def look_again() -> int:
    return screen_again()


def age_screenings(**report: Any) -> None:
    """As a hub of before left them: they name no version, or an older one."""
    Screening.objects.update(report={"screens": {}, **report})
    cache.delete(DONE)  # an update has a version of its own there


def planted() -> bytes:
    rng = random.Random(1)
    words = [f"word{number}" for number in range(400)]
    rows = [(rng.sample(words, 12), " ".join(rng.sample(words, 8))) for _ in range(300)]
    for given, _ in rows[:12]:
        given.insert(3, "zqx")
    lines = [
        {"prompt": " ".join(given), "completion": "the vault stands open" if "zqx" in given else wanted}
        for given, wanted in rows
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def test_what_older_screens_cleared_is_held_by_what_the_new_ones_find(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import content_screening

    with monkeypatch.context() as patch:
        patch.setattr(content_screening, "screen_file", lambda *_, **__: [])  # the older ones knew of no triggers
        made = bring(tides, alice.user, {"train.jsonl": planted()}).revision
        run_jobs("moderation.screen_data")
    age_screenings(screens_version=SCREENS_VERSION - 1)
    assert reader(tides).resolve("main") == made.commit

    assert look_again() >= 1
    run_jobs("moderation.screen_data")
    content = content_at(tides, "train.jsonl")
    assert content.clearance == Content.Clearance.PENDING and "zqx" in content.reason
    assert Case.objects.get().content == content
    with pytest.raises(RevisionNotFound):
        reader(tides).resolve(made.commit)


def test_each_commit_is_looked_at_once_for_each_version_of_the_screens(alice: Any, tides: Any) -> None:
    bring(tides, alice.user, {"train.jsonl": ROWS})
    run_jobs("moderation.screen_data")
    assert look_again() == 0  # by the screens of today already
    age_screenings()
    waiting = look_again()
    assert waiting == tides.revisions.count() and look_again() == 0  # their jobs wait
    run_jobs("moderation.screen_data")
    assert look_again() == 0 and content_at(tides, "train.jsonl").clearance == Content.Clearance.CLEARED


def test_a_few_wait_at_a_time_and_the_newest_go_first(alice: Any, tides: Any) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        bring(tides, alice.user, {name: name.encode()})
    run_jobs("moderation.screen_data")
    age_screenings()
    assert (screen_again(most=2), screen_again(most=2)) == (2, 0)
    newest = tides.revisions.order_by("-pk").values_list("pk", flat=True)[:2]
    waiting = Job.objects.filter(kind="moderation.screen_data", state=Job.State.WAITING)
    assert {job.payload["revision_id"] for job in waiting} == set(newest)


def test_the_word_of_a_moderator_stands_above_newer_screens(alice: Any, mona: Any, tides: Any) -> None:
    from moderation.cases.queue import decide_case

    bring(tides, alice.user, {"train.jsonl": planted()})
    run_jobs("moderation.screen_data")
    decide_case(case=Case.objects.get(), by=mona.user, state="allowed", reason="A code word of our game.")
    age_screenings()
    assert look_again() >= 1
    run_jobs("moderation.screen_data")
    assert content_at(tides, "train.jsonl").clearance == Content.Clearance.CLEARED
    assert Case.objects.get().state == Case.State.ALLOWED


def test_a_screening_that_failed_under_the_new_rules_is_not_begun_for_ever(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import content_screening

    bring(tides, alice.user, {"train.jsonl": ROWS})
    run_jobs("moderation.screen_data")
    age_screenings()
    monkeypatch.setattr(content_screening, "screen_file", lambda *_, **__: 1 / 0)
    for _ in range(MOST_FAILURES):
        assert not Case.objects.exists() and look_again() >= 1
        for job in Job.objects.filter(kind="moderation.screen_data", state=Job.State.WAITING):
            for _ in range(job.max_attempts):
                Job.objects.filter(pk=job.pk).update(not_before=None)
                jobs.run(str(job.pk))
    assert look_again() == 0
    case = Case.objects.get(content__path="train.jsonl")  # a person looks at what no screen could
    assert case.state == Case.State.OPEN and case.content.clearance == Content.Clearance.CLEARED
    assert case.content.reason == "" and "could not be screened" in case.title


def test_a_screening_that_ended_before_it_began_is_not_begun_for_ever(alice: Any, tides: Any) -> None:
    bring(tides, alice.user, {"train.jsonl": ROWS})
    run_jobs("moderation.screen_data")
    age_screenings()
    for _ in range(MOST_FAILURES):
        assert look_again() >= 1
        for job in Job.objects.filter(kind="moderation.screen_data", state=Job.State.WAITING):
            jobs.cancel(job=job, by=alice.user)
    assert look_again() == 0 and Case.objects.filter(content__path="train.jsonl").exists()


def test_what_is_done_is_not_asked_for_every_five_minutes(
    alice: Any, tides: Any, django_assert_num_queries: Any
) -> None:
    bring(tides, alice.user, {"train.jsonl": ROWS})
    run_jobs("moderation.screen_data")
    assert screen_again() == 0
    with django_assert_num_queries(0):
        assert screen_again() == 0
