"""The playground of a model: a question, its answer as it comes, and which release says so."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.common.errors import HubError
from hub.common.models import Job
from hub.common.tickets import make_ticket
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from training.pages.runs import listener_address
from training.workers import conversations


@repo_page()
def show_playground(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """The form, and under it the question of `?job=` with its answer so far."""
    return render_playground(request, repo, reader)


@require_POST
@repo_page()
def ask_question(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    user: Any = request.user
    try:
        job = conversations.ask(
            repo=repo,
            by=user,
            question=request.POST.get("question", ""),
            revision=request.POST.get("revision", ""),
            previous=request.POST.get("previous", ""),
            options=request.POST.dict(),
        )
    except HubError as problem:
        if problem.status == 401 or problem.status == 404:
            raise
        return render_playground(request, repo, reader, problem=problem.message)
    return HttpResponseRedirect(f"{repo.path}/playground?job={job.pk}#answer")


def render_playground(request: HttpRequest, repo: Repo, reader: RepoReader, problem: str = "") -> HttpResponse:
    askable = conversations.list_askable(repo, request.user)
    job = find_shown(request, repo)
    answer = conversations.read_answer(job) if job else None
    given = request.POST or (job.payload["settings"] if job else {})
    is_waiting = job is not None and not job.has_ended
    chosen = request.POST.get("revision") or (job.payload["revision"] if job else request.GET.get("revision", ""))
    return render_repo_page(
        request,
        repo,
        reader,
        "training/playground.html",
        tab="/playground",
        status=400 if problem else 200,
        problem=problem,
        askable=askable,
        chosen=chosen or (askable[0].name if askable else ""),
        question=request.POST.get("question", ""),
        options={name: given.get(name, usual) for name, usual in conversations.DEFAULTS.items()},
        job=job,
        talk=job.payload["messages"] if job else [],
        answer=answer,
        is_waiting=is_waiting,
        ticket=make_ticket(job.pk) if is_waiting and job else "",
        listener=listener_address(request),
        release=next((row for row in askable if job and row.commit == job.payload["commit"]), None),
    )


def find_shown(request: HttpRequest, repo: Repo) -> Job | None:
    job_id = request.GET.get("job") or request.POST.get("previous", "")
    if not job_id:
        return None
    job = conversations.find_question(job_id, request.user)
    return job if job.payload["repo_id"] == repo.pk else None
