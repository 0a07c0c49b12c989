"""What the release gate looks at: each requirement with a state, a sentence and its evidence."""

from hub.repos.models import Repo
from moderation.gate.evidence import check_evaluation, check_outputs, check_reproducibility
from moderation.gate.files import SQL_BATCH, check_files, check_licence, contents_by_digest
from moderation.gate.inputs import check_data, list_basis
from moderation.gate.licences import check_lineage
from moderation.gate.origins import files_of, find_maker, find_run, is_suite, read_lock, run_behind, suites_of
from moderation.gate.requirements import FAILED, PASSED, WARNING, Requirement
from moderation.gate.weights import check_weights, watched
from moderation.rules.policies import in_force
from moderation.rules.policy_file import Policy

__all__ = [
    "FAILED",
    "PASSED",
    "Requirement",
    "SQL_BATCH",
    "WARNING",
    "contents_by_digest",
    "files_of",
    "find_maker",
    "check_outputs",
    "find_run",
    "inspect",
    "is_suite",
    "list_basis",
    "read_lock",
    "run_behind",
    "suites_of",
    "watched",
]


def inspect(repo: Repo, commit: str, *, is_lifting: bool = False, policy: Policy | None = None) -> list[Requirement]:
    """Every requirement for releasing `commit`, in the order in which a person would ask, by a policy (else that in force).

    `is_lifting`: it was published before, so what its own quarantine closed is no obstacle."""
    policy = policy or in_force().policy
    run = find_run(repo, commit)
    entries = files_of(repo, commit)
    return [
        check_weights(repo, commit, entries, run),
        check_lineage(repo, commit, run, check_licence(repo, entries)),
        check_files(repo, entries, run, is_lifting=is_lifting),
        check_data(run, policy.data),
        check_evaluation(run, policy.evaluation),
        check_outputs(run),
        check_reproducibility(run),
    ]
