"""Pushes by git: judged ref by ref in quarantine, before anything of them is in the repository.

Branches and tags need write access; refs/pr/N belongs to its author; refs/for/BRANCH opens a pull request."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.common.paging import read_number
from hub.community.contributions import reader_for
from hub.community.discussions import take_number
from hub.community.held_back import describe_held
from hub.community.models import Discussion, PullRequest
from hub.community.pull_requests import check_accepts_push, find_pull_request, head_moved, start_point
from hub.community.recipe_locks import LOCK, check_lock
from hub.repos.blobs import may_commit_blob, store
from hub.repos.commits import register_commits
from hub.repos.largeness import is_text
from hub.repos.models import PendingWrite, Repo
from hub.repos.places import pair
from hub.repos.purged import refuse_purged
from hub.repos.reader import digest_of
from hub.repos.refs import check_branch_name, check_direct_change, check_tag_name
from hub.storage.git.wire import Quarantine, RefCommand, RefResult

SAMPLE_BYTES = 8000  # git itself looks this far for a NUL
FOR = "refs/for/"


class PushJudge:
    """One push by one person into one repository. `address` makes the absolute address of a path, for the answer."""

    def __init__(self, repo: Repo, by: User, *, address: Callable[[str], str]):
        self.repo = repo
        self.by = by
        self.address = address
        self.opened: dict[str, PullRequest] = {}  # command's ref -> the pull request it opens
        self.held: tuple[str, ...] = ()  # commits the repository had before this push
        self.told: set[int] = set()  # contents whose clearance the answer names already
        self.pending: dict[str, PendingWrite] = {}  # command's ref -> what a crash from here on leaves to be finished

    def judge(self, quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        self.held = quarantine.known
        return [self.judge_command(quarantine, command) for command in commands]

    def judge_command(self, quarantine: Quarantine, command: RefCommand) -> RefResult:
        try:
            self.check_ref(quarantine, command)
            if command.new is not None:
                self.check_files(quarantine, command)
            with transaction.atomic():  # never a pull request without the note that its ref is on the way
                result = self.accept(quarantine, command)
                self.pending[command.ref] = PendingWrite.objects.create(
                    repo=self.repo, ref=result.ref, by=self.by, door="git"
                )
        except HubError as refusal:
            return RefResult(command, refusal=refusal.message)
        return result

    def check_ref(self, quarantine: Quarantine, command: RefCommand) -> None:
        ref, repo = command.ref, self.repo
        kind, _, name = ref.removeprefix("refs/").partition("/")
        if kind in ("heads", "tags"):
            if not can(self.by, "write", repo):
                raise HubError(
                    f"you have no write access to {repo.full_name}; open a pull request instead: "
                    f"git push origin HEAD:{FOR}{repo.default_branch}"
                )
            if kind == "tags":
                check_tag_name(repo, name)
            else:
                self.check_branch(quarantine, command, name)
        elif kind == "pr" and is_number(name):
            if command.new is None:
                raise HubError("a pull request is closed on its page, not deleted by git")
            check_accepts_push(find_pull_request(repo, int(name), self.by), self.by)
        elif kind == "for":
            if command.new is None or not can(self.by, "propose", repo):
                raise HubError("sign in with a token that may write to open a pull request")
            start_point(repo, self.by, name)
        else:
            raise HubError(f"{ref} is kept by the hub; push to a branch, or to {FOR}{repo.default_branch}")

    def check_branch(self, quarantine: Quarantine, command: RefCommand, name: str) -> None:
        check_branch_name(self.repo, name)
        check_direct_change(self.repo, name)
        if name != self.repo.default_branch:
            return
        if command.new is None:
            raise HubError(f"{name} is the default branch and stays")
        is_forward = command.old is None or quarantine.repo.is_ancestor(command.old, command.new)
        if not is_forward and self.repo.has_release_policy:
            raise HubError(
                f"the history of {name} belongs to releases and is not rewritten; merge or rebase, then push"
            )

    def check_files(self, quarantine: Quarantine, command: RefCommand) -> None:
        """Large and binary files come as LFS pointers whose bytes this person has shown to have; recipe.lock is the hub's."""
        assert command.new is not None
        tip = quarantine.repo.peel(command.new)  # of an annotated tag
        lock = quarantine.repo.entry(tip, LOCK)
        if lock is not None:
            check_lock(self.repo, digest_of(lock))
        brought = quarantine.repo.new_blobs(tip, quarantine.known)
        refuse_purged(self.repo, ((blob.path, f"git:{blob.oid}") for blob in brought))
        refuse_purged(self.repo, ((blob.path, f"sha256:{blob.pointer.sha256}") for blob in brought if blob.pointer))
        for path, oid, size, pointer in brought:
            if pointer is not None:
                stored = store().renew(pointer.sha256)
                if stored is None or not may_commit_blob(repo=self.repo, by=self.by, sha256=pointer.sha256):
                    raise HubError(
                        f"{path}: its large file was not uploaded; run 'git lfs push --all origin' and push again"
                    )
                if stored.size != pointer.size:
                    raise HubError(f"{path}: its pointer says {pointer.size} bytes, the file has {stored.size}")
            elif size > settings.MAX_REGULAR_FILE_BYTES:
                raise HubError(
                    f"{path} has {size:,} bytes; run 'git lfs migrate import --include=\"{path}\"' and push again"
                )
            elif not is_text(quarantine.repo.read_blob(oid)[:SAMPLE_BYTES]):
                raise HubError(f"{path} is binary; run 'git lfs migrate import --include=\"{path}\"' and push again")

    def accept(self, quarantine: Quarantine, command: RefCommand) -> RefResult:
        if not command.ref.startswith(FOR):
            return RefResult(command)
        pull_request = self.open(quarantine, command)
        self.opened[command.ref] = pull_request
        return RefResult(command, written=pull_request.ref, expected=None)

    def open(self, quarantine: Quarantine, command: RefCommand) -> PullRequest:
        """The rows of a pull request whose ref the push is about to make."""
        assert command.new is not None
        target = command.ref.removeprefix(FOR)
        title = quarantine.repo.commit_info(command.new).title[:300]
        discussion = Discussion.objects.create(
            repo=self.repo,
            number=take_number(self.repo),
            title=title if len(title) >= 3 else f"Update: {title}",
            author=self.by,
            is_pull_request=True,
        )
        base = start_point(self.repo, self.by, target)
        return PullRequest.objects.create(discussion=discussion, target=target, base=base, head=base)

    def after(self, results: list[RefResult]) -> Iterable[str]:
        """Rows, screens and candidates for what is in; lines for the person at the terminal."""
        lines: list[str] = []
        for result in results:
            opened = self.opened.get(result.command.ref)
            if result.ok:
                lines += self.register(result, opened)
            elif opened is not None:
                opened.discussion.delete()
            pending = self.pending.pop(result.command.ref, None)
            if pending is not None:
                pending.delete()
        return lines

    def register(self, result: RefResult, opened: PullRequest | None) -> list[str]:
        command = result.command
        old = None if opened else command.old
        register_commits(
            repo=self.repo, ref=result.ref, old=old, new=command.new, by=self.by, door="git", held=self.held
        )
        if not result.ref.startswith("refs/pr/"):
            return self.tell_of_held(command, f"{self.repo.path}/commit/")
        pull_request = opened or find_pull_request(self.repo, int(result.ref.removeprefix("refs/pr/")), self.by)
        head_moved(pull_request, by=self.by)
        number, path = pull_request.discussion.number, pull_request.discussion.path
        lines = [f"{'Opened' if opened else 'Updated'} pull request #{number}:", f"  {self.address(path)}"]
        if opened:
            lines.append(f"To add to it: git push origin HEAD:{pull_request.ref}")
        return lines + self.tell_of_held(command, path)

    def tell_of_held(self, command: RefCommand, path: str) -> list[str]:
        """Of what this push brought, what the screens did not clear. `path` of its page; "/" at its end takes the commit."""
        if command.new is None:
            return []
        members = pair(self.repo).members
        tip = members.peel(command.new)
        commits = members.ancestors_not_in(tip, [oid for oid in self.held if members.has_commit(oid)])
        page = self.address(f"{path}{tip}" if path.endswith("/") else path)
        return describe_held(self.repo, commits, self.by, page=page, told=self.told)


def is_number(name: str) -> bool:
    """Only as the hub itself writes it: refs/pr/007 would be a second ref of number 7, which nobody keeps."""
    number = read_number(name)
    return number is not None and name == str(number)


def visible_refs(repo: Repo, user: Any) -> Callable[[str], bool] | None:
    """Which members' refs a pusher may see and build on: all of them for members, for a stranger their own pull requests
    as far as nothing hidden was merged into them. What a ref reaches can be copied by naming it."""
    if can(user, "read_members", repo):
        return None
    return reader_for(repo, user).own_refs().__contains__
