"""The page of a proposal (a pull request): the verdict first, then the checks, then the conversation and the change."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.common.errors import Forbidden, HubError
from hub.community import pull_requests as community
from hub.community.candidates import members_of, target_head
from hub.community.discussions import find_discussion, set_status
from hub.community.models import Discussion, PullRequest
from hub.community.reviews import review
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.git import CommitInfo
from hub.web.commits import credit_people
from hub.web.diffs import read_diff
from hub.web.live import describe_fragment
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in, site_address
from hub.web.timelines import describe_rights, describe_timeline
from hub.web.verdicts import describe_reviews

MAX_COMMITS = 200


def show_pull_request(request: HttpRequest, repo: Repo, reader: RepoReader, discussion: Discussion) -> HttpResponse:
    pull_request = community.find_pull_request(repo, discussion.number, request.user)
    timeline = describe_timeline(request, pull_request.discussion)
    newest = timeline["events"][-1].pk if timeline["events"] else 0
    return render_repo_page(
        request,
        repo,
        reader,
        "discussions/pull_request.html",
        tab="/proposals",
        part="conversation",
        discussion=pull_request.discussion,
        pull_request=pull_request,
        fragment=describe_fragment(request, pull_request, after=newest),
        **describe_reviews(request, pull_request),
        **fetch_snippets(request, pull_request),
        **timeline,
    )


def fetch_snippets(request: HttpRequest, pull_request: PullRequest) -> dict[str, str]:
    """How to get the proposed files from a program."""
    repo, ref = pull_request.discussion.repo, pull_request.ref
    site = site_address(request)
    kind = "" if repo.type == "model" else f" --repo-type {repo.type}"
    may_add = accepts_push(pull_request, request.user)
    upload = f"hf upload {repo.full_name} ./my-folder .{kind} --revision {ref}"
    return {
        "fetch_hf": f"export HF_ENDPOINT={site}\nhf download {repo.full_name}{kind} --revision {ref}",
        "push_hf": f"export HF_ENDPOINT={site}\n{upload}" if may_add else "",
        "push_git": f"git push origin HEAD:{ref}" if may_add else "",
        "fetch_git": f"git clone {site}{repo.path}\ncd {repo.name}\ngit fetch origin {ref}\ngit checkout FETCH_HEAD",
    }


def accepts_push(pull_request: PullRequest, user: Any) -> bool:
    try:
        community.check_accepts_push(pull_request, user)
    except Forbidden:
        return False
    return True


def visible_head(reader: RepoReader, pull_request: PullRequest) -> str:
    """The newest commit of the proposal that this person may see. Raises RevisionNotFound when there is none."""
    return reader.resolve(pull_request.ref)


def fork_point(pull_request: PullRequest, head: str) -> str:
    """Where the proposal left its target: what it changes is told against this commit."""
    if pull_request.discussion.status == Discussion.Status.MERGED:
        return pull_request.base
    return members_of(pull_request).merge_base(target_head(pull_request), head) or pull_request.base


@repo_page()
def list_changes(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, part: str) -> HttpResponse:
    """The sub-pages "commits" and "files" of a proposal, as far as this person may see them."""
    pull_request = community.find_pull_request(repo, number, request.user)
    head = visible_head(reader, pull_request)
    base = fork_point(pull_request, head)
    context: dict[str, Any] = {"is_whole": head == pull_request.head}
    if part == "files":
        context["diff"] = read_diff(reader, base, head)
    else:
        commits = list_own_commits(pull_request, base, head)
        context |= {"commits": commits, "credits": credit_people(repo, commits)}
    return render_repo_page(
        request,
        repo,
        reader,
        f"discussions/pull_request_{part}.html",
        tab="/proposals",
        part=part,
        discussion=pull_request.discussion,
        pull_request=pull_request,
        may_steer=describe_rights(request, pull_request.discussion)["may_steer"],
        **context,
    )


def list_own_commits(pull_request: PullRequest, base: str, head: str) -> list[CommitInfo]:
    """Commits of the proposal that its target did not hold when it left, newest first."""
    members = members_of(pull_request)
    oids = members.ancestors_not_in(head, [base])[-MAX_COMMITS:]
    return [members.commit_info(oid) for oid in reversed(oids)]


@require_POST
@repo_page()
def act_on_pull_request(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, act: str) -> HttpResponse:
    """Merge, review, or mark a draft as ready. A refusal is told on the page of the proposal."""
    require_sign_in(request)
    pull_request = community.find_pull_request(repo, number, request.user)
    text = request.POST.get("text", "")
    try:
        if act == "merge":
            community.merge(pull_request=pull_request, by=request.user, text=text)
            messages.success(request, f"Merged into {pull_request.target}.")
        elif act == "ready":
            set_status(discussion=find_discussion(repo, number, request.user), by=request.user, status="open")
        else:
            verdict = request.POST.get("verdict", "")
            digest = request.POST.get("digest", "")
            review(pull_request=pull_request, by=request.user, verdict=verdict, text=text, digest=digest)
            messages.success(request, "Your review is recorded.")
    except HubError as problem:
        if problem.status == 404:
            raise
        messages.error(request, problem.message)
    return HttpResponseRedirect(pull_request.discussion.path)
