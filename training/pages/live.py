"""What a page asks for every few seconds where the streaming listener cannot be reached: the new events of one job."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.accounts.permissions import can
from hub.common.errors import NotFound
from hub.common.models import Job, JobEvent
from hub.common.paging import read_number
from training.models import Run
from training.running import audience, overview

MAX_EVENTS = 500


def find_job(user: Any, job_id: str) -> Job:
    """The job, if this person may follow it: who pays for it, readers of the run it works for, operators."""
    try:
        job = Job.objects.filter(pk=job_id).first()
    except ValidationError:
        job = None
    if job is None or not may_follow(user, job):
        raise NotFound("There is no such job here.")
    return job


def may_follow(user: Any, job: Job) -> bool:
    if can(user, "operate") or (job.charged_to_id is not None and job.charged_to_id == getattr(user, "pk", None)):
        return True
    kind, _, key = job.subject.partition(":")
    run = overview.visible_runs(user).filter(pk=int(key)).first() if kind == "run" and key.isdigit() else None
    return run is not None and audience.may_see(user, run)


def hidden_kinds(user: Any, job: Job) -> set[str]:
    """Kinds of events that this reader does not get: what an unscreened model says is not for everybody."""
    kind, _, key = job.subject.partition(":")
    run = Run.objects.filter(pk=int(key)).first() if kind == "run" and key.isdigit() else None
    return {"sample"} if run is not None and not overview.may_see_answers(user, run) else set()


def show_events(request: HttpRequest, job_id: str) -> HttpResponse:
    job = find_job(request.user, job_id)
    after = read_number(request.GET.get("after", "0")) or 0
    rows = JobEvent.objects.filter(job=job, id__gt=after)
    rows = rows.exclude(kind__in=hidden_kinds(request.user, job)).order_by("id")
    events = [{"id": row.pk, "kind": row.kind, "data": row.data} for row in rows[:MAX_EVENTS]]
    last = events[-1]["id"] if events else after
    ended = job.has_ended and len(events) < MAX_EVENTS
    return JsonResponse({"events": events, "after": last, "state": job.state, "ended": ended, "progress": job.progress})
