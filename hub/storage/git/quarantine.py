"""Where a push waits for its judgement: a bare repository of its own that borrows what the pusher may build on.

Nothing in it is visible through the repository it is meant for until `migrate`."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

from hub.storage.errors import InvalidOperation, TooLarge
from hub.storage.git.commits import ancestors_not_in
from hub.storage.git.inspection import TreeInspector
from hub.storage.git.objects import copy_objects, sync_folder
from hub.storage.git.packets import PIECE_BYTES, Readable
from hub.storage.git.processes import LONG_S, GitFailed, limit_memory, run_git, start_git, stop_git
from hub.storage.git.refs import peel
from hub.storage.git.repository import GitRepo
from hub.storage.git.stamps import read_stamp
from hub.storage.git.trees import root_of

FOLDER = "incoming"
ABANDONED_S = 24 * 3600.0
# Harmless slips of old clients that sit in many histories and cannot be mended without rewriting them.
FSCK = "--strict=badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore"

INCOMPLETE = (
    "The push misses objects that its commits name; if your clone is shallow, "
    "run 'git fetch --unshallow' first, otherwise fetch and push again."
)
SIGNS_OF_GAPS = ("did not receive expected object", "of unexpected type", "unresolved delta")  # in index-pack's words


def list_visible_refs(
    repo: GitRepo, *, visible: Callable[[str], bool] | None = None, public: GitRepo | None = None
) -> dict[str, str]:
    """What a pusher sees: all of `public`, when given, and those references of `repo` that `visible` names."""
    own = {ref: oid for ref, oid in repo.refs().items() if visible is None or visible(ref)}
    return own if public is None else dict(sorted({**public.refs(), **own}.items()))


class Quarantine:
    """`repo` reads like any repository; `known` are the commits the pusher already sees, to exclude from "new"."""

    def __init__(
        self,
        destination: GitRepo,
        *,
        visible: Callable[[str], bool] | None = None,
        public: GitRepo | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.destination = destination
        self.options = options  # what the pusher gave with `git push -o`
        self.messages: list[str] = []
        self.stamp = read_stamp(destination.path)
        self.seen_refs = list_visible_refs(destination, visible=visible, public=public)
        self._visible = visible
        self._public = public
        self._reached: set[bytes] = set()  # ids of what the checked tips bring
        self._folder = destination.path / FOLDER / secrets.token_hex(8)
        self.repo = GitRepo(self._folder / "push.git")

    def __enter__(self) -> "Quarantine":
        self._folder.mkdir(parents=True)
        try:
            self.repo.create(borrows_from=[str(folder.resolve()) for folder in self._list_lenders()])
            handle = self.repo.handle
            self.known = tuple(sorted({peel(handle, oid) for oid in self.seen_refs.values()}))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.repo.let_go()
        shutil.rmtree(self._folder, ignore_errors=True)

    def tell(self, line: str) -> None:
        """Show a line to the pusher ("remote: ...")."""
        self.messages.append(line)

    def list_new_commits(self, tip: str) -> list[str]:
        """Commits that the push brings below `tip`, oldest first."""
        return ancestors_not_in(self.repo.handle, peel(self.repo.handle, tip), self.known)

    def _list_lenders(self) -> list[Path]:
        if self._public is None:
            return self.destination.object_folders
        # A thin pack may name any object it could borrow and so copy its content; a commit may name any blob.
        # Hence a stranger borrows from the public half and from copies of their own pull requests only.
        own = {oid for ref, oid in self.destination.refs().items() if self._visible is None or self._visible(ref)}
        lent = GitRepo(self._folder / "lent.git")
        lent.create()
        if own:
            held = sorted(set(self._public.refs().values()))
            copy_objects(self.destination.path, lent.path, wanted=sorted(own), held=held)
        return [*self._public.object_folders, *lent.object_folders]

    def unpack(self, body: Readable, *, limit_bytes: int) -> None:
        """Stream the pack into the quarantine, checked object by object (git's fsck).

        Raises TooLarge, or InvalidOperation with what git found wrong."""
        arguments = ["index-pack", "--stdin", "--fix-thin", FSCK]
        with tempfile.TemporaryFile() as complaints:
            process = start_git(self.repo.path, *arguments, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints)
            limit_memory(process)
            try:
                assert process.stdin is not None
                _feed(body, process.stdin, limit_bytes)
                process.wait(timeout=LONG_S)
            except subprocess.TimeoutExpired:
                raise TooLarge("Unpacking the push takes too long; push in smaller steps.") from None
            finally:
                stop_git(process)
            if process.returncode:
                complaints.seek(0)
                raise InvalidOperation(_explain(complaints.read(100_000).decode(errors="replace")))

    def check(self, tips: Iterable[str]) -> None:
        """Everything the tips reach is here, and every tree is one we can keep. Raises InvalidOperation, TooLarge."""
        tips = sorted(set(tips))
        if not tips:
            return
        lines = [*tips, *(f"^{oid}" for oid in self.known)]
        given = "".join(f"{line}\n" for line in lines).encode()
        try:
            listing = ["rev-list", "--objects", "--no-object-names", "--stdin"]
            self._reached.update(run_git(self.repo.path, *listing, stdin=given, limit_s=LONG_S).split())
        except GitFailed:
            raise InvalidOperation(INCOMPLETE) from None
        handle = self.repo.handle
        commits = {oid for tip in tips for oid in self.list_new_commits(tip)}
        TreeInspector(handle).inspect({root_of(handle, oid) for oid in commits})

    def migrate(self, accepted: Iterable[str], *, everything: bool) -> None:
        """Move the objects in, durably; only what `accepted` reaches unless `everything` was accepted. What the pack holds
        beside that was looked at by nobody and stays out: members can ask for any object by its id.

        The caller stands in the destination's queue and moves references afterwards."""
        accepted = sorted(set(accepted))
        if not accepted:
            return
        if not everything or self._holds_more():
            copy_objects(self.repo.path, self.destination.path, wanted=accepted, held=list(self.known))
            return
        source, target = self.repo.path / "objects", self.destination.path / "objects"
        files = [file for file in source.glob("*/*") if file.parent.name != "info" and file.is_file()]
        # A pack counts once its index is there, so that goes last.
        for file in sorted(files, key=lambda file: file.suffix == ".idx"):
            folder = target / file.parent.name
            folder.mkdir(exist_ok=True)
            os.replace(file, folder / file.name)
        for folder in {target / file.parent.name for file in files} | {target}:
            sync_folder(folder)

    def _holds_more(self) -> bool:
        """Whether something came that no checked tip reaches. What completes a thin pack is in the destination already."""
        indexes = (self.repo.path / "objects" / "pack").glob("pack-*.idx")
        told = b"".join(run_git(self.repo.path, "show-index", stdin=index.read_bytes()) for index in indexes)
        more = {line.split(b" ")[1] for line in told.splitlines()} - self._reached
        here = self.destination.handle.odb
        return not all(here.exists(oid.decode()) for oid in more)


def _feed(body: Readable, pipe: IO[bytes], limit_bytes: int) -> None:
    taken = 0
    try:
        while piece := body.read(PIECE_BYTES):
            taken += len(piece)
            if taken > limit_bytes:
                raise TooLarge(
                    f"The push is larger than {limit_bytes} bytes; "
                    "put large files under git-lfs or push in smaller steps."
                )
            pipe.write(piece)
        pipe.close()
    except BrokenPipeError:
        pass  # git refused early; its words are on stderr


def _explain(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    for line in lines:
        if line.startswith("error: object "):
            return f"The push holds a malformed object ({line.removeprefix('error: ')[:200]}); rewrite that commit."
    if any(words in line for words in SIGNS_OF_GAPS for line in lines):
        return INCOMPLETE
    if not lines or any("early EOF" in line for line in lines):
        return "The push ended early; push again."
    return f"The push does not unpack ({lines[-1].removeprefix('fatal: ')[:200]}); push again."


def sweep_leftovers(repo: GitRepo, *, now: float | None = None) -> int:
    """Remove what killed processes left unfinished more than a day ago; how many files and folders."""
    moment = time.time() if now is None else now
    patterns = (f"{FOLDER}/*", "objects/pack/tmp_*", "objects/??/tmp_*", "*.part")
    found = [item for pattern in patterns for item in repo.path.glob(pattern)]
    abandoned = [item for item in found if moment - item.stat().st_mtime > ABANDONED_S]
    for item in abandoned:
        if item.is_dir():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
    return len(abandoned)
