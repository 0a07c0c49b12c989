"""A proposal to change the rules: read strictly, tried on the last releases, and merged by more than one person."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.common.jobs import JobRefused, Lease, enqueue
from hub.common.models import Job
from hub.community.candidates import is_in_target
from hub.community.checks import set_check
from hub.community.listeners import notify
from hub.community.models import Check, Discussion, PullRequest
from hub.repos.models import Repo
from hub.repos.places import pair
from moderation.gate.evidence import finished_evaluations, why_not_enough
from moderation.models import Release, Screening
from moderation.rules.policies import in_force, read_text
from moderation.rules.policy_file import FILE, Policy, PolicyError, parse_policy
from moderation.rules.policy_repository import deciders, is_about_policy, missing_people
from moderation.screening import outputs
from training.evaluating.guard_models import why_not_ask
from training.models import Run, Sampling

CHECK = "policy"
KIND = "moderation.try_policy"
TRIED_RELEASES = 20
OPEN = (Discussion.Status.OPEN, Discussion.Status.DRAFT)
State = Release.State


@dataclass(frozen=True)
class Trial:
    """One release under the policy in force and under the proposed one: what each holds against it."""

    release: str
    path: str
    before: list[str]
    after: list[str]

    @property
    def is_changed(self) -> bool:
        return bool(self.before) != bool(self.after)

    def as_dict(self) -> dict[str, Any]:
        return {"release": self.release, "path": self.path, "before": self.before, "after": self.after}


def read_proposed(pull_request: PullRequest) -> Policy:
    """The policy that a merge would put in force. Raises PolicyError."""
    return parse_policy(read_text(pair(pull_request.discussion.repo).members, pull_request.candidate))


def rule_of_file(pull_request: PullRequest, by: Any) -> list[str]:
    """Asked of the very commit that would be merged, whatever the check said of an older one."""
    if not is_about_policy(pull_request) or not pull_request.candidate or pull_request.conflict_paths:
        return []
    check = pull_request.checks.filter(name=CHECK).first()
    try:
        proposed = read_proposed(pull_request)
    except PolicyError as problem:
        return [] if check is not None and check.state == Check.State.FAILED else [say_broken(problem)]
    if check is None or (check.state == Check.State.PASSED and check.digest != pull_request.candidate_digest):
        return ["It was not tried on the last releases yet as it would be merged now."]
    return [*why_nobody_could_change_it(proposed), *why_no_guard(proposed)]


def rule_of_people(pull_request: PullRequest, by: Any) -> list[str]:
    problem = missing_people(pull_request) if is_about_policy(pull_request) else ""
    return [problem] if problem else []


def say_broken(problem: PolicyError) -> str:
    return f"{FILE} cannot be put in force: {problem.sentence}"


def why_nobody_could_change_it(proposed: Policy) -> list[str]:
    """A number of people that this hub has not would lock its rules for ever."""
    asked, now = proposed.who_decides.policy_people, in_force().policy.who_decides.policy_people
    if asked > max(now, len(deciders())):
        return [
            f"It asks for {asked} moderators or operators behind a change, and this hub has {len(deciders())}; "
            "nobody could change the rules any more."
        ]
    return []


def why_no_guard(proposed: Policy) -> list[str]:
    """A guard model that cannot be asked would let no candidate through any more."""
    known = in_force().policy.answers.guards
    sentences = [why_not_ask(asdict(guard)) for guard in proposed.answers.guards if guard not in known]
    return [sentence for sentence in sentences if sentence]


def look_at(pull_request: PullRequest) -> None:
    """The check "policy" of a candidate: refused at once where the file cannot be read, else tried by a job."""
    if not is_about_policy(pull_request) or pull_request.discussion.status not in OPEN:
        return
    if pull_request.conflict_paths or not pull_request.candidate:
        set_check(pull_request, CHECK, state=Check.State.WAITING, summary="There is nothing to merge yet.")
        return
    digest = pull_request.candidate_digest
    try:
        read_proposed(pull_request)
    except PolicyError as problem:
        set_check(
            pull_request, CHECK, state=Check.State.FAILED, summary=say_broken(problem), digest=digest,
            evidence={"trials": [], "changes": []},
        )  # fmt: skip
        return
    with transaction.atomic():
        set_check(
            pull_request, CHECK, state=Check.State.RUNNING, summary="It is tried on the last releases.", digest=digest
        )
        enqueue(KIND, subject=f"policy:{pull_request.pk}", budget_s=900, pull_request_id=pull_request.pk, digest=digest)


def look_again(repo: Repo) -> None:
    """Main moved: what stands open would be merged as another file."""
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author")
    for pull_request in rows.filter(discussion__repo=repo, target=repo.default_branch, discussion__status__in=OPEN)[
        :100
    ]:
        if not is_in_target(pull_request):  # else it is being merged: what was tried stays as it is
            look_at(pull_request)


def tell_deciders(pull_request: PullRequest) -> None:
    """The repository has no owner who would be told of a proposal."""
    discussion = pull_request.discussion
    text = f"{discussion.author} proposed to change the rules of this hub: {discussion.title}"
    notify(list(User.objects.filter(pk__in=deciders())), text, discussion.path, actor=discussion.author)


# --- trying


def try_candidate(lease: Lease) -> None:
    """Body of the job: a newer candidate has a job of its own."""
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author")
    pull_request = rows.filter(pk=lease.payload["pull_request_id"]).first()
    if pull_request is None:
        raise JobRefused("The proposal was deleted.")
    if pull_request.candidate_digest != lease.payload["digest"] or pull_request.discussion.status not in OPEN:
        return
    now, proposed = in_force().policy, read_proposed(pull_request)
    trials = []
    releases = list(last_releases())
    for done, release in enumerate(releases):
        lease.check()
        lease.report("progress", sentence=f"Trying {release.repo} {release.tag}", done=done, total=len(releases))
        trials.append(try_on(release, now, proposed))
    changes = list_changes(now, proposed)
    set_check(
        pull_request,
        CHECK,
        state=Check.State.PASSED,
        summary=summarize(trials, changes),
        evidence={"trials": [trial.as_dict() for trial in trials], "changes": changes},
        digest=lease.payload["digest"],
    )


def give_up(job: Job) -> None:
    """A trial that failed must not look as if it went on."""
    rows = PullRequest.objects.filter(
        pk=job.payload.get("pull_request_id", 0), candidate_digest=job.payload.get("digest")
    )
    pull_request = rows.first()
    if job.state != Job.State.SUCCEEDED and pull_request is not None:
        summary = f"It could not be tried on the last releases: {job.reason}"
        set_check(pull_request, CHECK, state=Check.State.FAILED, summary=summary, digest=job.payload["digest"])


def last_releases() -> Iterable[Release]:
    """The newest that everybody may see, whatever became of them."""
    rows = Release.objects.filter(
        state__in=(State.PUBLISHED, State.YANKED, State.QUARANTINED),
        repo__deleted_at__isnull=True, repo__is_private=False, repo__is_disabled=False,
    )  # fmt: skip
    rows = rows.select_related("repo__owner_user", "repo__owner_organization")
    return rows.order_by("-published_at", "-pk")[:TRIED_RELEASES]


def try_on(release: Release, now: Policy, proposed: Policy) -> Trial:
    """Both verdicts from what is stored; nothing is asked of a model again."""
    path = f"{release.repo.path}/releases/{release.tag}"
    before, after = find_against(release, now), find_against(release, proposed)
    return Trial(f"{release.repo} {release.tag}", path, before, after)


def find_against(release: Release, policy: Policy) -> list[str]:
    """What a policy holds against a release, one sentence each, from its stored evidence."""
    run = Run.objects.filter(pk=release.manifest.get("run") or 0).first()
    found = [*outputs_against(release, policy), *data_against(release, policy)]
    if run is not None and (problem := why_not_enough(finished_evaluations(run), policy.evaluation)):
        found.append(problem)
    given, asked = len(release.manifest.get("approvals", [])), policy.who_decides.release_approvals
    if release.is_reviewed and given < asked:
        found.append(f"{given} people approved it, and {asked} would be needed.")
    return found


def outputs_against(release: Release, policy: Policy) -> list[str]:
    """By the answers; what a moderator allowed afterwards is left aside, since they would be asked again."""
    rows = Screening.objects.filter(
        subject=Screening.Subject.OUTPUT, repo=release.repo, digest=release.manifest.get("model_digest") or "",
        finished_at__isnull=False,
    )  # fmt: skip
    screening = rows.order_by("-pk").first()
    sampling = Sampling.objects.filter(pk=screening.report.get("sampling") or 0).first() if screening else None
    if screening is None or sampling is None:
        return []
    rules = policy.answers
    hazards = outputs.compare(sampling.answers, rules.limits)
    judged = screening.report.get("judged", {})
    if "policy" in screening.report:  # older ones keep no numbers of the parent
        judged = outputs.compare_judged(sampling.answers, screening.report, rules.limits)
    stereotypes = outputs.compare_likelihoods(sampling, rules)
    guards = outputs.judge_by_guards(sampling, rules)
    failed = outputs.list_all_failed(hazards, judged, guards, stereotypes, rules)
    verdict = outputs.weigh(hazards, judged, failed, rules, guards)
    if not failed and (missing := outputs.list_unasked(sampling, rules)):
        return [f"The guard model {missing[0]} was not asked about its answers."]
    if not outputs.is_held(verdict, rules):
        return []
    has_parent = any(row.get("parent_text") is not None for row in sampling.answers)
    said = outputs.say_against(verdict, failed, has_parent=has_parent)
    return [f"{said[0].upper()}{said[1:]}."]


def data_against(release: Release, policy: Policy) -> list[str]:
    rows = [row for row in release.gate if row.get("name") == "data"]
    unlicensed = [name for row in rows for name in (row.get("evidence") or {}).get("unlicensed", [])]
    if not unlicensed or policy.data.unlicensed != "refuse":
        return []
    return [f"{unlicensed[0]} names no licence in its card."]


def list_changes(now: Policy, proposed: Policy) -> list[list[str]]:
    """[[key, value now, value proposed]] of all that a verdict rests on, and of the clauses by name."""
    old, new = flatten(now), flatten(proposed)
    return [
        [name, old.get(name, "none"), new.get(name, "none")]
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    ]


def flatten(policy: Policy) -> dict[str, str]:
    found = {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value)
        for section, values in policy.values().items()
        if isinstance(values, dict)
        for name, value in values.items()
    }
    return found | {f"clauses.{clause.name}": f"{clause.title}: {clause.text}" for clause in policy.clauses}


def summarize(trials: list[Trial], changes: list[list[str]]) -> str:
    if not changes:
        return "Nothing that a verdict rests on changes."
    what = "1 value changes" if len(changes) == 1 else f"{len(changes)} values change"
    if not trials:
        return f"{what}; there is no release yet to try it on."
    others = sum(trial.is_changed for trial in trials)
    of = "the last release" if len(trials) == 1 else f"the last {len(trials)} releases"
    if not others:
        return f"{what}; the verdicts about {of} stay the same."
    return f"{what}; of {of} {others} would have another verdict."
