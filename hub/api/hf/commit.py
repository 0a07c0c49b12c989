"""Committing: small files inline, large ones by digest, onto a branch, a pull request or as a new one."""

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.accounts.permissions import require_commit
from hub.api.addresses import absolute
from hub.api.error_responses import header_text
from hub.api.hf.commit_body import CommitBody, read_commit_body
from hub.api.hf.endpoints import announced_length, answer, endpoint, flag_of, open_body, signed_in, with_repo
from hub.common.errors import InvalidInput, NotSupported
from hub.community.contributions import Contribution
from hub.community.contributions import commit as contribute
from hub.community.held_back import summarize_held
from hub.community.spools import open_spool
from hub.repos.models import Repo, StoredBlob
from hub.storage.git import AddPointer

SQL_BATCH = 500  # values in one IN (...)


@signed_in
@with_repo()
def take_commit(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    if flag_of(request.GET.get("hot_reload")):
        raise NotSupported("This hub has no running spaces to reload; leave hot-reload away and commit as usual.")
    create_pr = flag_of(request.GET.get("create_pr"))
    is_proposal = create_pr or rest.startswith("refs/pr/")
    require_commit(request.user, repo, is_proposal=is_proposal)  # before a large body is read
    most = settings.MAX_COMMIT_BODY_BYTES
    with open_spool() as spool:
        stream = open_body(request, limit=most, must_announce=True)
        max_file = settings.MAX_REGULAR_FILE_BYTES
        announced = announced_length(request)
        body = read_commit_body(stream, max_body=most, max_file=max_file, spool=spool, announced=announced)
        made = contribute(
            repo=repo,
            by=request.user,
            revision=rest,
            operations=with_sizes(body),
            title=body.summary,
            description=body.description,
            expected_parent=body.parent,
            create_pr=create_pr,
            door="api",
        )
    return answer(describe_contribution(request, repo, made), headers=warn_of_held(request, repo, made))


def with_sizes(body: CommitBody) -> list[Any]:
    """A copied large file comes without its size; the store knows it."""
    unknown = [sha256 for sha256, size in body.large.items() if size is None]
    sizes: dict[str, int] = {}
    for start in range(0, len(unknown), SQL_BATCH):
        rows = StoredBlob.objects.filter(pk__in=unknown[start : start + SQL_BATCH])
        sizes.update(rows.values_list("sha256", "size"))
    return [fill_size(operation, sizes) for operation in body.operations]


def fill_size(operation: Any, sizes: dict[str, int]) -> Any:
    if not isinstance(operation, AddPointer) or operation.size >= 0:
        return operation
    if operation.sha256 not in sizes:
        raise InvalidInput(
            f"{operation.path}: no file with sha256 {operation.sha256[:12]}… was uploaded; upload it first."
        )
    return replace(operation, size=sizes[operation.sha256])


def describe_contribution(request: HttpRequest, repo: Repo, made: Contribution) -> dict[str, Any]:
    item = {
        "success": True,
        "commitOid": made.revision.commit,
        "commitUrl": absolute(request, f"{repo.path}/commit/{made.revision.commit}"),
        "hookOutput": "",
    }
    if made.pull_request is not None:
        item["pullRequestUrl"] = absolute(request, made.pull_request.discussion.path)
    return item


def warn_of_held(request: HttpRequest, repo: Repo, made: Contribution) -> dict[str, str]:
    """The stock client logs a warning once for each topic, so each commit is one of its own."""
    oid = made.revision.commit
    path = f"{repo.path}/commit/{oid}" if made.pull_request is None else made.pull_request.discussion.path
    user: Any = request.user
    sentence = summarize_held(repo, [oid], user, page=absolute(request, path))
    return {"X-HF-Warning": header_text(f"held-{oid[:12]}; {sentence}")} if sentence else {}


commit = endpoint(POST=take_commit)
