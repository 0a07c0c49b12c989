"""Releases of a model: the list, a proposal with the gate in view, and the page of one release."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.views.decorators.http import require_POST

from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require
from hub.common.errors import HubError, NotFound
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.repos.reader import RepoReader
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in, site_address
from moderation import gate
from moderation.cases import quarantines, queue
from moderation.models import Case, Release
from moderation.releasing import bill_of_materials, channels, publishing, releases
from moderation.releasing.manifests import canonical
from moderation.releasing.publishing import needed_approvals, path_of
from moderation.releasing.releases import find_run_of
from moderation.rules.policies import find_version, in_force
from training.running import audience
from training.running.replays import may_replay, newest_compared

State = Release.State
PER_PAGE = 30
MAX_SPANS = 500
TAB = "/releases"


def check_is_model(repo: Repo) -> None:
    if repo.type != Repo.Type.MODEL:
        raise NotFound(f"{repo.full_name} is a {repo.type}; releases are made of models.")


@repo_page()
def list_releases(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """Newest first; for maintainers with the gate as it stands now, and the form to propose the next one."""
    check_is_model(repo)
    if request.method == "POST":
        return propose(request, repo, reader)
    return render_list(request, repo, reader)


def propose(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    given = {name: request.POST.get(name, "") for name in ("version", "notes", "commit")}
    try:
        release = releases.propose_release(repo=repo, by=request.user, **given)
    except HubError as problem:
        if problem.status in (401, 404):
            raise
        return render_list(request, repo, reader, problem=problem.message, status=problem.status)
    if release.state == State.PUBLISHED:
        messages.success(request, f"{release.tag} is published, marked as unreviewed: this hub has one person.")
    else:
        messages.success(request, f"{release.tag} is proposed. It needs {needed_approvals(release)} approvals.")
    return HttpResponseRedirect(path_of(release))


def render_list(
    request: HttpRequest, repo: Repo, reader: RepoReader, *, problem: str = "", status: int = 200
) -> HttpResponse:
    may_propose = can(request.user, "write", repo)
    page = cut_numbered_page(request, releases.visible_releases(repo, request.user), PER_PAGE)
    releases.tell_standing(repo, page.object_list)
    commit = pair(repo).members.read_ref(f"refs/heads/{repo.default_branch}") if may_propose else None
    requirements = gate.inspect(repo, commit) if commit else []
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/releases.html",
        tab=TAB,
        status=status,
        page=page,
        may_propose_release=may_propose,
        commit=commit,
        requirements=requirements,
        is_ready=bool(requirements) and all(item.state != gate.FAILED for item in requirements),
        next_version=suggest_version(repo),
        needed=in_force().policy.who_decides.release_approvals,
        is_alone=count_active_people() == 1,
        problem=problem,
        given=request.POST,
    )


def suggest_version(repo: Repo) -> str:
    """The next minor number after the highest there is; 1.0.0 for the first."""
    numbers = [
        tuple(int(part) for part in version.split("-")[0].split("."))
        for version in Release.objects.filter(repo=repo).exclude(state=State.REFUSED).values_list("version", flat=True)
    ]
    if not numbers:
        return "1.0.0"
    major, minor, _ = max(numbers)
    return f"{major}.{minor + 1}.0"


@repo_page()
def show_channels(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """What `stable` and `candidate` led to, and who had approved it; `?on=2026-05-01` asks for one day."""
    check_is_model(repo)
    day = request.GET.get("on", "").strip()
    problem, found = "", None
    if day:
        try:
            found = channels.spans_at(repo, channels.read_day(day))
        except HubError as refusal:
            problem = refusal.message
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/channels.html",
        tab=TAB,
        status=400 if problem else 200,
        spans=channels.list_spans(repo)[:MAX_SPANS],
        day=day,
        found=found,
        problem=problem,
    )


@repo_page()
def show_release(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    return render_release(request, repo, reader, tag)


def render_release(
    request: HttpRequest, repo: Repo, reader: RepoReader, tag: str, *, problem: str = "", status: int = 200
) -> HttpResponse:
    check_is_model(repo)
    release = releases.find_release(repo, tag, request.user)
    approvals = list(release.approvals.filter(digest=release.digest).select_related("by").order_by("pk"))
    site = site_address(request)
    needed = needed_approvals(release)
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/release.html",
        tab=TAB,
        status=status,
        release=release,
        approvals=approvals,
        missing=max(0, needed - len(publishing.valid_approvals(release))) if release.state == "proposed" else 0,
        needed=needed,
        policy=name_policy(release),
        why_not=releases.why_not_approve(release, request.user),
        is_alone=count_active_people() == 1,
        problem=problem,
        verify_command=verify_command(release, site),
        model_signing_command=model_signing_command(release, site) if release.model_signature else "",
        download_hf=f"export HF_ENDPOINT={site}\nhf download {repo.full_name} --revision {release.tag}",
        download_python=load_snippet(release, site),
        files=sorted(release.manifest.get("files", {}).items()),
        **describe_replay(request.user, release),
        may=list_acts(request.user, release),
        quarantine_case=find_quarantine_case(request.user, release),
        may_report=can(request.user, "report", repo) or not request.user.is_authenticated,
    )


def name_policy(release: Release) -> dict[str, Any]:
    """Which policy it was judged by, and the page that tells it; nothing of releases from before there were files."""
    named = release.manifest.get("policy")
    row = find_version(named)
    return {**named, "number": row.number} if row is not None else {}


def verify_command(release: Release, site: str) -> str:
    page = f"{site}{path_of(release)}"
    name = f"{release.repo.name}-{release.tag}"
    return "\n".join(
        [
            f"curl -O {site}/verify_release.py",
            f"curl -O {page}/manifest.json",
            f"curl -O {page}/signature.json",
            f"HF_ENDPOINT={site} hf download {release.repo.full_name} --revision {release.tag} --local-dir {name}",
            f"python verify_release.py manifest.json {name}",
        ]
    )


def model_signing_command(release: Release, site: str) -> str:
    """The same by the public tool, once the files are there."""
    name = f"{release.repo.name}-{release.tag}"
    return "\n".join(
        [
            "pip install model-signing pyOpenSSL",
            f"curl -O {site}/model_signing.pub",
            f"curl -o {name}.sig {site}{path_of(release)}/model.sig",
            f"model_signing verify key {name} --signature {name}.sig --public_key model_signing.pub --ignore-paths {name}/.cache",
        ]
    )


def load_snippet(release: Release, site: str) -> str:
    name, tag = release.repo.full_name, release.tag
    return (
        f'import os\nos.environ["HF_ENDPOINT"] = "{site}"  # before the import below\n'
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{name}", revision="{tag}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{name}", revision="{tag}")'
    )


def describe_replay(user: Any, release: Release) -> dict[str, Any]:
    """How far the release could be made again as it is known today, for those who may see its run."""
    run = find_run_of(release)
    if run is None or not audience.may_see(user, run):
        return {"replay": None, "replayed_run": None}
    return {"replay": newest_compared(run), "replayed_run": run, "may_replay": may_replay(user, run)}


def list_acts(user: Any, release: Release) -> dict[str, bool]:
    """What this person may do with the release as it is."""
    repo, state = release.repo, release.state
    is_moderator, is_admin = can(user, "moderate"), can(user, "admin", repo)
    may_steer = is_moderator or can(user, "write", repo)
    return {
        "refuse": state == State.PROPOSED and may_steer,
        "publish_alone": state == State.PROPOSED and can(user, "write", repo) and count_active_people() == 1,
        "yank": state == State.PUBLISHED and (is_admin or is_moderator),
        "quarantine": state in (State.PUBLISHED, State.YANKED) and is_moderator,
        "lift": state in (State.YANKED, State.QUARANTINED) and not publishing.why_not_lift(release, user),
    }


def find_quarantine_case(user: Any, release: Release) -> Case | None:
    """Where a quarantine is seconded, lifted or appealed against, for those who may see it."""
    row = quarantines.find_quarantine(release.repo, release) if release.state == State.QUARANTINED else None
    return row.case if row is not None and queue.may_see(row.case, user) else None


@require_POST
@repo_page()
def act_on_release(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str, act: str) -> HttpResponse:
    """Approve, refuse, publish alone, yank, quarantine, lift. A refusal is told on the page of the release."""
    require_sign_in(request)
    check_is_model(repo)
    release = releases.find_release(repo, tag, request.user)
    try:
        sentence = carry_out(request, release, act)
    except HubError as problem:
        if problem.status in (401, 404):
            raise
        return render_release(request, repo, reader, tag, problem=problem.message, status=problem.status)
    messages.success(request, sentence)
    return HttpResponseRedirect(path_of(release))


def carry_out(request: HttpRequest, release: Release, act: str) -> str:
    """Does it and says so in a sentence."""
    by: Any = request.user
    text = request.POST.get("text", "")
    if act == "approve":
        changed = releases.approve(release=release, by=by, text=text, digest=request.POST.get("digest", "none"))
        published = changed.state == State.PUBLISHED
        return f"{release.tag} is published." if published else "Your approval is recorded; it needs one more person."
    if act == "publish":
        releases.publish_unreviewed(release=release, by=by)
        return f"{release.tag} is published, marked as unreviewed."
    if act == "refuse":
        releases.refuse(release=release, by=by, reason=text)
        return f"{release.tag} is taken back."
    state = {"yank": State.YANKED, "quarantine": State.QUARANTINED, "lift": State.PUBLISHED}[act]
    publishing.set_state(release=release, by=by, state=state, reason=text)
    return f"{release.tag} is {State(state).label.lower()} now."


@repo_page()
def download_manifest(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    """The bytes that were signed."""
    require(request.user, "read", repo)
    release = releases.find_release(repo, tag, request.user)
    return HttpResponse(canonical(release.manifest), content_type="application/json")


@repo_page()
def download_signature(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    release = releases.find_release(repo, tag, request.user)
    if not release.signature:
        raise NotFound(f"{repo.full_name} {release.tag} is not published, so it is not signed yet.")
    return JsonResponse(release.signature)


@repo_page()
def download_model_signature(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    """For the public tool `model_signing`. Releases that were published before the hub signed for it have none."""
    release = releases.find_release(repo, tag, request.user)
    if not release.model_signature:
        raise NotFound(f"{repo.full_name} {release.tag} has no signature for model_signing; use signature.json.")
    return JsonResponse(release.model_signature)


@repo_page()
def download_provenance(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    """How it was made, as a signed in-toto statement. Releases of before have none."""
    release = releases.find_release(repo, tag, request.user)
    if not release.provenance:
        raise NotFound(
            f"{repo.full_name} {release.tag} has no provenance statement; its manifest names run and inputs."
        )
    return JsonResponse(release.provenance)


@repo_page()
def download_bom(request: HttpRequest, repo: Repo, reader: RepoReader, tag: str) -> HttpResponse:
    """The bill of materials, CycloneDX 1.6."""
    require(request.user, "read", repo)
    release = releases.find_release(repo, tag, request.user)
    return HttpResponse(canonical(bill_of_materials.make(release)), content_type=bill_of_materials.MEDIA_TYPE)
