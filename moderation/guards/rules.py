"""The guards as conditions in SQL, the same text for SQLite and PostgreSQL but for three words of JSON."""

from dataclasses import dataclass
from functools import cache

from moderation.cases.voices import EXCEPTIONAL, NEEDED_MODERATORS
from moderation.models import Release
from moderation.rules.reasons import AWAITS_RELEASE, NEEDED_APPROVALS, QUARANTINED

State = Release.State
ADDED_LATER = ("approved_digest", "approvals", "reviewed", "published_at")  # to the manifest, when it is published
RELEASE, APPROVAL, STAKE, BASIS = (
    "moderation_release", "moderation_releaseapproval", "moderation_releasestake", "moderation_releasebasis",
)  # fmt: skip
WRITTEN_ONCE = ("manifest", "signature", "model_signature", "provenance", "is_reviewed", "published_at")
CHANGE = "moderation_releasechange"
SHOWN, LOG, REPLAY = "hub_reporelease", "moderation_auditentry", "training_replay"
POLICY = "moderation_policyversion"
CASE, VOICE = "moderation_case", "moderation_casevoice"
PEOPLE = "(SELECT count(*) FROM hub_user u WHERE u.is_active AND NOT u.is_system)"
EXCEPTIONAL_KINDS = ", ".join(f"'{kind}'" for kind in EXCEPTIONAL)


@dataclass(frozen=True)
class Guard:
    """One trigger: what is refused before `event` on `table`, as (condition, sentence)."""

    table: str
    event: str
    refusals: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"guard_{self.table}_{self.event.lower()}"


@cache
def list_guards(vendor: str) -> tuple[Guard, ...]:
    return (
        Guard(RELEASE, "INSERT", begin_release()),
        Guard(RELEASE, "UPDATE", change_release(vendor)),
        Guard(RELEASE, "DELETE", (
            ("OLD.state NOT IN ('proposed', 'refused')", "A release that was published is never deleted."),
        )),
        Guard(APPROVAL, "INSERT", give_approval()),
        Guard(APPROVAL, "UPDATE", (("1 = 1", "An approval is never changed."),)),
        Guard(APPROVAL, "DELETE", (
            (f"{state_of('OLD')} NOT IN ('proposed', 'refused')", "The approvals of a published release stay."),
        )),
        *(guard for table, what in ((STAKE, "stakes"), (BASIS, "basis")) for guard in keep_as_proposed(table, what)),
        Guard(CASE, "INSERT", (
            (f"NEW.kind IN ({EXCEPTIONAL_KINDS}) AND NEW.state = 'allowed'", "A case begins open."),
        )),
        Guard(CASE, "UPDATE", allow_exception()),
        Guard(VOICE, "INSERT", raise_voice()),
        Guard(VOICE, "UPDATE", (("1 = 1", "What a moderator said is never changed."),)),
        Guard(SHOWN, "INSERT", show_release()),
        Guard(SHOWN, "UPDATE", change_shown()),
        Guard(SHOWN, "DELETE", (
            (f"EXISTS (SELECT 1 FROM {behind('OLD')})", "A release that was published is never deleted."),
        )),
        Guard(CHANGE, "INSERT", (
            (f"{state_of('NEW')} IS DISTINCT FROM NEW.state OR NEW.state IN ('proposed', 'refused')",
             "A change tells the state that the release has."),
            (f"EXISTS (SELECT 1 FROM {CHANGE} e WHERE e.id = NEW.id)", "The history of a release is only ever added to."),
        )),
        Guard(CHANGE, "UPDATE", (
            (changed("id", "release_id", "state", "at", "reason") + " OR (NEW.by_id IS NOT NULL AND "
             + changed("by_id") + ")", "The history of a release is only ever added to."),
        )),
        Guard(CHANGE, "DELETE", (("1 = 1", "The history of a release is only ever added to."),)),
        Guard(REPLAY, "UPDATE", change_replay()),
        Guard(REPLAY, "DELETE", (
            (f"EXISTS (SELECT 1 FROM training_run t JOIN {RELEASE} r ON r.repo_id = t.repo_id WHERE t.id = OLD.run_id"
             " AND r.state NOT IN ('proposed', 'refused'))",
             "The replays behind a published release stay."),
        )),
        Guard(LOG, "UPDATE", (("1 = 1", "The audit log is only ever added to."),)),
        Guard(LOG, "DELETE", (("1 = 1", "The audit log is only ever added to."),)),
        Guard(POLICY, "UPDATE", (("1 = 1", "A policy that was in force is never changed."),)),
        Guard(POLICY, "DELETE", (("1 = 1", "A policy that was in force is never forgotten."),)),
        Guard(POLICY, "INSERT", (
            (f"EXISTS (SELECT 1 FROM {POLICY} p WHERE p.number = NEW.number)",
             "This version of the policy is known already."),  # INSERT OR REPLACE would take it away unseen
        )),
        Guard(LOG, "INSERT", (
            (f"EXISTS (SELECT 1 FROM {LOG} e WHERE e.number = NEW.number OR e.hash = NEW.hash)",
             "The audit log holds this entry already."),  # INSERT OR REPLACE would take it away unseen
        )),
    )  # fmt: skip


def changed(*columns: str) -> str:
    return "(" + " OR ".join(f'NEW."{column}" IS DISTINCT FROM OLD."{column}"' for column in columns) + ")"


def state_of(row: str) -> str:
    """Of the release that an approval, a stake or a part of the basis belongs to."""
    return f"(SELECT r.state FROM {RELEASE} r WHERE r.id = {row}.release_id)"


def voices_in(case: str, more: str = "") -> str:
    """How many people who are still here allowed a case, whose key is the expression `case`."""
    return (
        f"(SELECT count(DISTINCT v.by_id) FROM {VOICE} v JOIN hub_user w ON w.id = v.by_id"
        f" WHERE v.case_id = {case} AND v.state = 'allowed' AND w.is_active AND NOT w.is_system{more})"
    )


def allow_exception() -> tuple[tuple[str, str], ...]:
    exceptional = f"NEW.kind IN ({EXCEPTIONAL_KINDS}) AND NEW.state = 'allowed'"
    return (
        ("NEW.kind <> OLD.kind", "A case stays what it was opened for."),
        (f"{exceptional} AND OLD.state <> 'allowed' AND {voices_in('NEW.id')} < {NEEDED_MODERATORS} AND {PEOPLE} <> 1",
         f"Against a verdict {NEEDED_MODERATORS} moderators have to allow it."),
        (f"{exceptional} AND OLD.state = 'allowed' AND " + changed("subject", "screening_id", "repo_id"),
         "What was allowed is not exchanged afterwards."),
    )  # fmt: skip


def raise_voice() -> tuple[tuple[str, str], ...]:
    case = f"SELECT 1 FROM {CASE} k WHERE k.id = NEW.case_id"
    moderator = "SELECT 1 FROM hub_user u WHERE u.id = NEW.by_id AND u.is_active AND u.is_moderator AND NOT u.is_system"
    twice = f"SELECT 1 FROM {VOICE} v WHERE v.id = NEW.id OR (v.case_id = NEW.case_id AND v.by_id = NEW.by_id)"
    run = f"SELECT CAST(k.subject ->> 'run' AS bigint) FROM {CASE} k WHERE k.id = NEW.case_id"
    makers = (
        f"SELECT t.proposed_by_id FROM training_run t WHERE t.id = ({run})",
        f"SELECT d.author_id FROM training_run t JOIN hub_discussion d ON d.id = t.pull_request_id WHERE t.id = ({run})",
        f"SELECT k.opened_by_id FROM {CASE} k WHERE k.id = NEW.case_id",
    )
    return (
        (f"NOT EXISTS ({case} AND k.state IN ('open', 'allowed'))", "This case is decided."),
        (f"NOT EXISTS ({moderator})", "A moderator speaks in a case."),
        (f"EXISTS ({twice})", "One moderator speaks once in a case."),
        *((f"NEW.state <> 'recused' AND {PEOPLE} <> 1 AND NEW.by_id IN ({found})",
           "Who has a part in a case does not decide it.") for found in makers),
    )  # fmt: skip


def begin_release() -> tuple[tuple[str, str], ...]:
    same = f"SELECT 1 FROM {RELEASE} r WHERE r.id = NEW.id OR (r.repo_id = NEW.repo_id AND r.version = NEW.version)"
    return (
        ("NEW.state <> 'proposed'", "A release begins as a proposal; the gate publishes it."),
        # INSERT OR REPLACE would take the row away without a word to the guard of deletions.
        (f"EXISTS ({same})", "This version of the repository exists already."),
    )


def change_release(vendor: str) -> tuple[tuple[str, str], ...]:
    states = ", ".join(f"'{state}'" for state in State.values)
    publishing = "(OLD.state = 'proposed' AND NEW.state = 'published')"
    return (
        (changed("id", "repo_id", "version", "commit", "digest", "gate", "created_at"),
         "What was proposed is never changed; take the release back and propose it again."),
        ("NEW.proposed_by_id IS NOT NULL AND " + changed("proposed_by_id"),
         "Who proposed a release is never changed."),
        (f"NEW.state NOT IN ({states})", "This is no state of a release."),
        ("OLD.state = 'refused' AND NEW.state <> 'refused'", "A release that was taken back stays so."),
        ("OLD.state = 'proposed' AND NEW.state NOT IN ('proposed', 'refused', 'published')",
         "This release was never published."),
        ("OLD.state NOT IN ('proposed', 'refused') AND NEW.state IN ('proposed', 'refused')",
         "A release that was published stays one."),
        (f"NOT {publishing} AND " + changed(*WRITTEN_ONCE),
         "Manifest and signature of a release are written once, by the gate."),
        ("OLD.state <> 'proposed' AND " + changed("notes"), "The notes of a release are not changed afterwards."),
        *((f"{publishing} AND ({condition})", sentence) for condition, sentence in publish_release(vendor)),
        ("OLD.state IN ('yanked', 'quarantined') AND NEW.state <> 'quarantined' AND NEW.state <> OLD.state"
         f" AND EXISTS (SELECT 1 FROM {standing_on()} WHERE b.release_id = NEW.id AND c.clearance = 'withheld')",
         "What this release stands on is withheld, so it is given out no more."),
    )  # fmt: skip


def publish_release(vendor: str) -> tuple[tuple[str, str], ...]:
    """Why the step from proposed to published is refused."""
    valid = (
        f"SELECT count(DISTINCT a.by_id) FROM {APPROVAL} a JOIN hub_user u ON u.id = a.by_id"
        " WHERE a.release_id = NEW.id AND a.digest = NEW.digest AND u.is_active AND NOT u.is_system"
        " AND a.by_id IS DISTINCT FROM NEW.proposed_by_id"
        f" AND NOT EXISTS (SELECT 1 FROM {STAKE} s WHERE s.release_id = NEW.id AND s.user_id = a.by_id)"
    )
    asked = (
        "coalesce(CAST(NEW.manifest -> 'policy' -> 'values' -> 'who_decides' ->> 'release_approvals' AS bigint),"
        f" {NEEDED_APPROVALS})"
    )
    without_stake = f" AND NOT EXISTS (SELECT 1 FROM {STAKE} s WHERE s.release_id = NEW.id AND s.user_id = v.by_id)"
    too_few = f"({voices_in('k.id', without_stake)} < {NEEDED_MODERATORS} AND {PEOPLE} <> 1)"
    model = "NEW.manifest ->> 'model_digest'"
    cleared = "c.clearance = 'cleared'"
    waiting = f"(b.repo_id = NEW.repo_id AND c.reason IN ('{AWAITS_RELEASE}', '{QUARANTINED}'))"
    screened = (
        "SELECT s.state FROM moderation_screening s WHERE s.subject = 'output' AND s.repo_id = NEW.repo_id"
        " AND s.digest = NEW.manifest ->> 'model_digest' AND s.finished_at IS NOT NULL ORDER BY s.id DESC LIMIT 1"
    )
    return (
        (f"{without_later(vendor, 'NEW')} IS DISTINCT FROM {without_later(vendor, 'OLD')}",
         "The manifest is not the one that was approved."),
        ("NEW.manifest ->> 'approved_digest' IS DISTINCT FROM NEW.digest",
         "The manifest does not say what was approved."),
        ("NEW.published_at IS NULL OR NEW.signature ->> 'signature' IS NULL", "A release is signed and dated."),
        *((f"EXISTS (SELECT 1 FROM hub_user u WHERE NOT u.is_system AND u.id IN ({found})"
           f" AND NOT EXISTS (SELECT 1 FROM {STAKE} s WHERE s.release_id = NEW.id AND s.user_id = u.id))",
           "It is not written down who has a stake in this release.") for found in known_makers(vendor)),
        (f"NEW.is_reviewed AND ({valid}) < {NEEDED_APPROVALS}",
         f"A release needs {NEEDED_APPROVALS} approvals by people without a stake in it."),
        (f"NEW.is_reviewed AND ({valid}) < {asked}",
         "A release needs as many approvals as the policy asks for that it names."),
        (f"NOT NEW.is_reviewed AND {PEOPLE} <> 1",
         "Only on a hub with one person a release is published without approvals."),
        (f"NOT EXISTS (SELECT 1 FROM {BASIS} b WHERE b.release_id = NEW.id)",
         "It is not written down what this release stands on."),
        (f"EXISTS (SELECT 1 FROM {standing_on()} WHERE b.release_id = NEW.id"
         f" AND NOT coalesce({cleared} OR (c.clearance = 'pending' AND {waiting}), {false(vendor)}))",
         "What this release stands on is not cleared."),
        (f"({screened}) IS DISTINCT FROM 'passed'", "What the model says is not cleared."),
        (f"EXISTS (SELECT 1 FROM {items(vendor, 'gate', 'g')} WHERE g.value ->> 'state' = 'failed')",
         "The gate found what stands against this release."),
        (f"EXISTS (SELECT 1 FROM {CASE} k WHERE k.kind = 'output' AND k.state = 'allowed' AND k.repo_id = NEW.repo_id"
         f" AND k.screening_id = ({screened.replace('s.state', 's.id')}) AND {too_few})",
         f"What the screens found was not set aside by {NEEDED_MODERATORS} moderators without a stake in it."),
        (f"EXISTS (SELECT 1 FROM training_evaluation e WHERE e.id IN ({judged(vendor)}) AND e.parent_name <> ''"
         " AND (e.verdict IN ('worse', 'insufficient')"
         " OR e.results -> 'overall' ->> 'verdict' IN ('worse', 'insufficient')) AND NOT EXISTS ("
         f"SELECT 1 FROM {CASE} k WHERE k.kind = 'exempt' AND k.state = 'allowed' AND k.repo_id = NEW.repo_id"
         f" AND k.subject ->> 'model_digest' = {model} AND e.id IN ({named(vendor)}) AND NOT {too_few}))",
         f"The evaluation speaks against it, and not {NEEDED_MODERATORS} moderators without a stake set that aside."),
    )  # fmt: skip


def known_makers(vendor: str) -> tuple[str, ...]:
    """Queries for keys of accounts that are known to have made part of it: each has a row among its stakes, or somebody
    wrote the release past the gate."""
    run = "CAST(NEW.manifest ->> 'run' AS bigint)"
    brought = f"{items(vendor, 'contributors', 'm')} WHERE m.value ->> 'roles' LIKE '%\"brought data of%'"
    return (
        "SELECT NEW.proposed_by_id",
        f"SELECT t.proposed_by_id FROM training_run t WHERE t.id = {run}",
        f"SELECT d.author_id FROM training_run t JOIN hub_discussion d ON d.id = t.pull_request_id WHERE t.id = {run}",
        f"SELECT n.id FROM hub_user n WHERE n.username IN (SELECT m.value ->> 'name' FROM {brought})",
    )


def standing_on() -> str:
    return f"{BASIS} b LEFT JOIN hub_content c ON c.repo_id = b.repo_id AND c.digest = b.digest"


def give_approval() -> tuple[tuple[str, str], ...]:
    release = f"SELECT 1 FROM {RELEASE} r WHERE r.id = NEW.release_id"
    twice = f"SELECT 1 FROM {APPROVAL} a WHERE a.id = NEW.id OR (a.release_id = NEW.release_id AND a.by_id = NEW.by_id)"
    stake = f"SELECT 1 FROM {STAKE} s WHERE s.release_id = NEW.release_id AND s.user_id = NEW.by_id"
    person = "SELECT 1 FROM hub_user u WHERE u.id = NEW.by_id AND u.is_active AND NOT u.is_system"
    return (
        (f"{state_of('NEW')} IS DISTINCT FROM 'proposed'", "Only a proposed release is approved."),
        (f"NOT EXISTS ({release} AND r.digest = NEW.digest)", "The approval speaks of another manifest."),
        (f"NOT EXISTS ({person})", "An approval is given by a person with an account."),
        (f"EXISTS ({stake}) OR EXISTS ({release} AND r.proposed_by_id = NEW.by_id)",
         "Who has a stake in a release does not approve it."),
        (f"EXISTS ({twice})", "One person approves once."),
    )  # fmt: skip


def keep_as_proposed(table: str, what: str) -> tuple[Guard, ...]:
    """Written while the release is proposed, and gone only with one that was taken back."""
    return (
        Guard(table, "INSERT", (
            (f"{state_of('NEW')} IS DISTINCT FROM 'proposed'", f"The {what} of a release are written when it is proposed."),
            (f"EXISTS (SELECT 1 FROM {table} t WHERE t.id = NEW.id)", f"The {what} of a release are never changed."),
        )),
        Guard(table, "UPDATE", (("1 = 1", f"The {what} of a release are never changed."),)),
        Guard(table, "DELETE", (
            (f"{state_of('OLD')} <> 'refused'", f"The {what} of a release stay with it."),
        )),
    )  # fmt: skip


def behind(row: str) -> str:
    """The published release that a row of what is shown stands for."""
    return (
        f"{RELEASE} r WHERE r.repo_id = {row}.repo_id AND 'v' || r.version = {row}.tag"
        " AND r.state NOT IN ('proposed', 'refused')"
    )


def show_release() -> tuple[tuple[str, str], ...]:
    alike = 'r."commit" = NEW."commit" AND r.state = NEW.state AND r.is_reviewed = NEW.is_reviewed'
    same = f"SELECT 1 FROM {SHOWN} s WHERE s.id = NEW.id OR (s.repo_id = NEW.repo_id AND s.tag = NEW.tag)"
    return (
        (f"NOT EXISTS (SELECT 1 FROM {behind('NEW')} AND {alike})", "Only what the gate published is shown."),
        (f"EXISTS ({same})", "This release is shown already."),
    )


def change_shown() -> tuple[tuple[str, str], ...]:
    return (
        (changed("id", "repo_id", "tag", "commit", "is_reviewed", "published_at"),
         "A release that was published is never changed."),
        (f"NOT EXISTS (SELECT 1 FROM {behind('NEW')} AND r.state = NEW.state)",
         "A release is shown in the state that it has."),
    )  # fmt: skip


def change_replay() -> tuple[tuple[str, str], ...]:
    return (
        (changed("id", "run_id", "asked_at"), "Which run was replayed, and when it was asked for, is never changed."),
        ("NEW.asked_by_id IS NOT NULL AND " + changed("asked_by_id"), "Who asked for a replay is never changed."),
        (
            "OLD.state <> 'running' AND " + changed("state", "sentence", "report", "finished_at"),
            "What a replay found is written once.",
        ),
    )


def without_later(vendor: str, row: str) -> str:
    """The manifest without what is added when it is published."""
    if vendor == "sqlite":
        return f"json_remove({row}.manifest, " + ", ".join(f"'$.{key}'" for key in ADDED_LATER) + ")"
    return f"({row}.manifest" + "".join(f" - '{key}'" for key in ADDED_LATER) + ")"


def items(vendor: str, key: str, alias: str) -> str:
    """The entries of a list in the manifest, as `alias`.value."""
    if vendor == "sqlite":
        return f"json_each(NEW.manifest, '$.{key}') {alias}"
    return f"jsonb_array_elements(coalesce(NEW.manifest -> '{key}', '[]')) {alias}(value)"


def judged(vendor: str) -> str:
    """Keys of the evaluations that the gate looked at, as the manifest names them."""
    if vendor == "sqlite":
        return f"SELECT j.value FROM {items(vendor, 'gate', 'g')}, json_each(g.value, '$.evidence.evaluations') j"
    each = "jsonb_array_elements_text(coalesce(g.value -> 'evidence' -> 'evaluations', '[]')) j(value)"
    return f"SELECT CAST(j.value AS bigint) FROM {items(vendor, 'gate', 'g')}, {each}"


def named(vendor: str) -> str:
    """Keys of the evaluations that the exception k speaks of."""
    if vendor == "sqlite":
        return "SELECT n.value FROM json_each(k.subject, '$.evaluations') n"
    return "SELECT CAST(n.value AS bigint) FROM jsonb_array_elements_text(coalesce(k.subject -> 'evaluations', '[]')) n(value)"


def false(vendor: str) -> str:
    return "0" if vendor == "sqlite" else "false"
