"""The gate itself: publishes what is approved, signs and tags it, and from then on changes nothing but its state."""

from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require, role_of
from hub.common.errors import Conflict, Forbidden, HubError, InvalidInput
from hub.community.listeners import notify
from hub.repos.clearance import Decision, decide, note_publication
from hub.repos.commits import move_ref
from hub.repos.models import Content, Repo, RepoRelease
from hub.repos.places import pair
from hub.repos.publication import publish as publish_repo
from hub.repos.publication import wanted_refs
from hub.repos.purging import hold_still
from hub.repos.refs import renew_files
from moderation import audit, gate, guards, signing
from moderation.cases import quarantines, report_tests
from moderation.gate import contents_by_digest, files_of, find_run
from moderation.models import Release, ReleaseApproval, ReleaseChange
from moderation.people import maintainers_of, moderators, people_named
from moderation.releasing import manifests, model_signing, provenance
from moderation.releasing.stakes import refuse_own_exceptions, why_has_stake, write_down
from moderation.rules.policies import approvals_asked_by, in_force, named_in
from moderation.rules.reasons import AWAITS_RELEASE, QUARANTINED

State = Release.State
MAX_REASON_CHARACTERS = 5_000
GIVEN_OUT = (State.PUBLISHED, State.YANKED)


def path_of(release: Release) -> str:
    return f"{release.repo.path}/releases/{release.tag}"


def check_releasable(repo: Repo) -> None:
    if repo.type != Repo.Type.MODEL:
        raise InvalidInput(f"{repo.full_name} is a {repo.type}; releases are made of models.")
    if repo.is_private:
        raise InvalidInput(f"{repo.full_name} is private; make it public before you release it.")
    if repo.is_disabled:
        raise Forbidden(f"{repo.full_name} is switched off by moderation; nothing of it is released.")


def may_judge(user: User, repo: Repo) -> bool:
    """Whether releases of this repository are theirs to approve, stakes aside."""
    return can(user, "review", repo) or can(user, "moderate")


def valid_approvals(release: Release) -> list[ReleaseApproval]:
    """Approvals of exactly this manifest by people who are still here, still may give them and have no stake in it."""
    rows = release.approvals.filter(digest=release.digest, by__is_active=True).select_related("by").order_by("pk")
    return [row for row in rows if may_judge(row.by, release.repo) and not why_has_stake(release, row.by)]


def needed_approvals(release: Release) -> int:
    """As many as the policy asked for when it was proposed, and as the one in force asks for."""
    named = approvals_asked_by(release.manifest)
    return max(named, in_force().policy.who_decides.release_approvals) if release.state == State.PROPOSED else named


def publish(release: Release) -> None:
    """Look again, sign, and write it down; then tag it, clear its weights and show it. Happens once, whoever calls.

    Reviewed with two approvals, or as many as the policy asks for; without them only on a hub where nobody else could approve, and marked so.
    Raises Conflict when a requirement fails by now, Forbidden when approvals are missing."""
    repo = Repo.objects.get(pk=release.repo_id)
    guards.require_in_force(connection)
    look_again(release, "Something changed since it was proposed.")
    with transaction.atomic():
        hold_still(repo)
        row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
        if row.state != State.PROPOSED:
            return
        if manifests.digest(row.manifest) != row.digest:
            raise Conflict("The manifest is not the one that was proposed; take the release back and propose it again.")
        write_down(row)
        refuse_own_exceptions(row)
        approvals = valid_approvals(row)
        needed = needed_approvals(row)
        is_reviewed = len(approvals) >= needed
        if not is_reviewed and count_active_people() != 1:
            raise Forbidden(f"A release needs {needed} approvals by people without a stake in it.")
        sign_release(row, approvals if is_reviewed else [], is_reviewed=is_reviewed)
    finish_publishing(row)
    tell_of_publication(row)


def look_again(release: Release, problem: str, *, is_lifting: bool = False) -> None:
    """Raises Conflict, which begins with `problem`, when a requirement fails by now.

    By the policy that the manifest names. Before it is published also by that in force, where the rules changed since; a
    release that was given out stays under the rules of its day."""
    repo = Repo.objects.get(pk=release.repo_id)
    check_releasable(repo)
    named, standing = named_in(release.manifest.get("policy")), in_force().policy
    policies = [named or standing]
    if not is_lifting and standing not in policies:
        policies.append(standing)
    failed: list[str] = []
    for policy in policies:
        requirements = gate.inspect(repo, release.commit, is_lifting=is_lifting, policy=policy)
        failed += [item.sentence for item in requirements if item.state == gate.FAILED and item.sentence not in failed]
    if failed:
        raise Conflict(f"{problem} " + " ".join(failed), reasons=failed)


def sign_release(row: Release, approvals: list[ReleaseApproval], *, is_reviewed: bool) -> None:
    """The one place where a release becomes public; runs inside the transaction that holds its row."""
    now = timezone.now()
    row.manifest = {
        **row.manifest,
        "approved_digest": row.digest,
        "approvals": [{"by": item.by.username, "at": item.at.isoformat(), "digest": item.digest} for item in approvals],
        "reviewed": is_reviewed,
        "published_at": now.isoformat(),
    }
    row.signature = signing.sign(manifests.canonical(row.manifest))
    row.model_signature = model_signing.sign_files(f"{row.repo.full_name} {row.tag}", row.manifest["files"])
    row.provenance = model_signing.sign_statement(provenance.make_statement(row, find_run(row.repo, row.commit)))
    row.state, row.state_reason, row.is_reviewed, row.published_at = State.PUBLISHED, "", is_reviewed, now
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as problem:  # moderation.guards, which ask the rows themselves
        raise Conflict(f"The database refuses it. {str(problem).splitlines()[0]}") from None
    RepoRelease.objects.create(repo=row.repo, tag=row.tag, commit=row.commit, is_reviewed=is_reviewed, published_at=now)
    ReleaseChange.objects.create(release=row, state=State.PUBLISHED, at=now)
    audit.record("release.published", f"{row.repo}@{row.tag}", is_public=True, digest=row.digest, reviewed=is_reviewed)
    report_tests.put_to_tests(row)


def finish_publishing(release: Release) -> None:
    """Tag, clear and show what is published already. Safe to repeat."""
    repo = Repo.objects.get(pk=release.repo_id)
    ref = f"refs/tags/{release.tag}"
    if pair(repo).members.read_ref(ref) is None:
        renew_files(repo, release.commit)  # its branch may be gone since it was proposed
        move_ref(repo=repo, ref=ref, new=release.commit, expected=None, by=None, door="hub")
    waiting = weights_of(release, AWAITS_RELEASE)
    decide(repo, [Decision(content, Content.Clearance.CLEARED) for content in waiting], publish_now=False)
    publish_repo(repo)


def weights_of(release: Release, reason: str | None = None) -> list[Content]:
    """Large files of the release; with `reason` those that wait for exactly this."""
    digests = [f"sha256:{pin['sha256']}" for pin in release.manifest["files"].values()]
    rows = contents_by_digest(release.repo, digests).values()
    return [row for row in rows if reason is None or row.reason == reason]


def tell_of_publication(release: Release) -> None:
    names = [row["name"] for row in release.manifest.get("contributors", [])]
    people = {user.pk: user for user in [*people_named(names), *maintainers_of(release.repo)]}
    text = f"{release.repo} {release.tag} is published; you are among the people who made it."
    notify(list(people.values()), text, path_of(release))


def set_state(*, release: Release, by: User, state: str, reason: str) -> Release:
    """Yank (a maintainer or moderator), quarantine or lift (see why_not_lift): with a reason, in public, never deleted.

    Raises Conflict when it is to be given out again and the gate finds something by now."""
    require(by, "read", release.repo)
    seen = Release.objects.select_related("repo").get(pk=release.pk)
    check_change(seen, by, state, reason)
    if is_lifting(seen, state):  # Outside the transaction: the gate reads every file's row and git.
        look_again(seen, "It cannot be given out again.", is_lifting=True)
    with transaction.atomic():
        if is_lifting(seen, state):
            hold_still(seen.repo)
        row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
        check_change(row, by, state, reason)
        if row.state != seen.state:
            raise Conflict("Somebody else changed this release a moment ago; reload the page.")
        change_state(row, by, state, reason.strip()[:MAX_REASON_CHARACTERS])
    return row


def check_change(release: Release, by: User, state: str, reason: str) -> None:
    """Raises what stands against it, but for what the gate finds."""
    if State.QUARANTINED in (state, release.state):
        require(by, "moderate")
    elif not can(by, "moderate"):
        require(by, "admin", release.repo)
    if state not in (State.PUBLISHED, State.YANKED, State.QUARANTINED):
        raise InvalidInput(f"A release can be published, yanked or quarantined, not {state!r}.")
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; everybody who uses the release reads it.")
    if release.state in (State.PROPOSED, State.REFUSED):
        raise Conflict("This release was never published.")
    if release.state == state:
        raise Conflict(f"This release is {release.get_state_display().lower()} already.")
    problem = why_not_lift(release, by) if is_lifting(release, state) else ""
    if problem:
        raise Forbidden(problem)


def is_lifting(release: Release, state: str) -> bool:
    """Whether more people get it afterwards: out of quarantine it is readable again, also as yanked."""
    return state == State.PUBLISHED or release.state == State.QUARANTINED


def why_not_lift(release: Release, by: User) -> str:
    """Why `by` may not give out again what was taken back; "" when they may.

    Maintainers take their own yank back. What a moderator took back is given back by a moderator who has no part in it."""
    if not pair(release.repo).members.has_commit(release.commit):
        return "Files were purged from the history it stands on, so it is given out no more; release a new version."
    is_held = release.is_held_by_moderator or release.state == State.QUARANTINED
    if not can(by, "moderate"):
        is_own = can(by, "admin", release.repo) and not is_held
        return "" if is_own else "A moderator took this release back, and only a moderator gives it out again."
    if not is_held or count_active_people() == 1:  # alone, nobody else could; the log says who did it
        return ""
    if role_of(by, release.repo) in ("write", "admin") or why_has_stake(release, by):
        return "You have a part in this release; another moderator has to give it out again."
    return quarantines.why_not_give_back(release, by)


def change_state(row: Release, by: User | None, state: str, reason: str) -> None:
    """Write it down, show it and tell of it, in the transaction that holds the row. Without `by` it is the hub itself."""
    before = {"was": row.state, "was_held": row.is_held_by_moderator}
    row.state, row.state_reason = state, reason
    row.is_held_by_moderator = state == State.QUARANTINED or (
        state == State.YANKED and role_of(by, row.repo) != "admin"  # who is both acts as one of its admins
    )
    row.save(update_fields=["state", "state_reason", "is_held_by_moderator"])
    RepoRelease.objects.filter(repo=row.repo, tag=row.tag).update(state=state, reason=row.state_reason)
    ReleaseChange.objects.create(release=row, state=state, by=by, reason=row.state_reason)
    audit.record(f"release.{state}", f"{row.repo}@{row.tag}", by=by, is_public=True, reason=row.state_reason)
    quarantines.follow_release(row, by, before)
    report_tests.follow_state(row)
    show_state(row)
    tell_of_state(row, by)


def give_back(release: Release, by: User | None, before: dict[str, Any], reason: str) -> str:
    """A quarantine ended by an appeal, or because nobody seconded it. What the gate refuses by now stays closed, until a
    moderator who reads its reasons lifts it: they are returned, else ""."""
    row = Release.objects.select_for_update().select_related("repo").get(pk=release.pk)
    if row.state != State.QUARANTINED:
        return ""
    try:
        hold_still(row.repo)
        look_again(row, "Its quarantine ended, and it cannot be given out again.", is_lifting=True)
    except HubError as problem:
        audit.record("release.stays_closed", f"{row.repo}@{row.tag}", by=by, is_public=True, reason=problem.message)
        notify(list(moderators()), f"{row.repo} {row.tag}: {problem.message}", path_of(row))
        return problem.message
    change_state(row, by, before.get("was", State.PUBLISHED), reason)
    if row.state == State.YANKED:
        row.is_held_by_moderator = bool(before.get("was_held"))
        row.save(update_fields=["is_held_by_moderator"])
    return ""


quarantines.give_back_release.append(give_back)


def show_state(release: Release) -> None:
    """Close or open the weights in this transaction; the public half follows after it."""
    repo = release.repo
    is_hidden = release.state == State.QUARANTINED
    if is_hidden:
        closing = [Decision(row, Content.Clearance.PENDING, QUARANTINED) for row in weights_of_alone(release)]
        decide(repo, closing, publish_now=False)
    else:
        opening = [Decision(row, Content.Clearance.CLEARED) for row in weights_of(release, QUARANTINED)]
        decide(repo, opening, publish_now=False)
    note = note_publication(repo)

    def show() -> None:
        publish_repo(repo, is_withdrawal=is_hidden)
        note.delete()

    transaction.on_commit(show)


def weights_of_alone(release: Release) -> list[Content]:
    """Cleared large files of the release that nothing else shows: no other release, no public branch."""
    repo = release.repo
    shown: set[str] = set()
    for other in Release.objects.filter(repo=repo, state__in=GIVEN_OUT).exclude(pk=release.pk):
        shown |= {f"sha256:{pin['sha256']}" for pin in other.manifest["files"].values()}
    members = pair(repo).members
    for commit in {members.peel(oid) for oid in wanted_refs(repo, members, is_withdrawal=True).values()}:
        shown |= {f"sha256:{entry.lfs.sha256}" for entry in files_of(repo, commit) if entry.lfs is not None}
    return [
        row for row in weights_of(release) if row.clearance == Content.Clearance.CLEARED and row.digest not in shown
    ]


def tell_of_state(release: Release, by: User | None) -> None:
    names = [row["name"] for row in release.manifest.get("contributors", [])]
    people = {user.pk: user for user in [*people_named(names), *maintainers_of(release.repo)]}
    text = f"{release.repo} {release.tag} is {release.get_state_display().lower()} now: {release.state_reason}"
    notify(list(people.values()), text, path_of(release), actor=by)


def finish_interrupted() -> int:
    """What a crash left half done: approved and not published, published without tag or weights, quarantined and
    still given out. Returns how many releases were brought in line."""
    return sum(finish_one(release) for release in Release.objects.exclude(state=State.REFUSED).select_related("repo"))


def finish_one(release: Release) -> bool:
    repo = release.repo
    if release.state == State.PROPOSED:
        return publish_approved(release)
    if release.state == State.QUARANTINED:
        if pair(repo).public.read_ref(f"refs/tags/{release.tag}") is None:
            return False
        publish_repo(repo, is_withdrawal=True)
        return True
    has_tag = pair(repo).members.read_ref(f"refs/tags/{release.tag}") is not None
    if has_tag and not weights_of(release, AWAITS_RELEASE):
        return False
    finish_publishing(release)
    return True


def publish_approved(release: Release) -> bool:
    """Both approvals are there, and the process died before it published, or the gate refused at that time."""
    if len(valid_approvals(release)) < needed_approvals(release):
        return False
    try:
        publish(release)
    except HubError as problem:
        Release.objects.filter(pk=release.pk, state=State.PROPOSED).update(state_reason=problem.message)
        return False
    return True
