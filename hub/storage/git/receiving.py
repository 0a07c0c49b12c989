"""Taking a push: read its commands, quarantine its pack, hear the judge, move objects and references.

git's own receive-pack is not run and no hook exists: the judge is a function of the caller."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import pygit2

from hub.storage.errors import InvalidOperation, StaleParent, StorageError, UnknownRevision
from hub.storage.git.operations import Anything, check_ref, short_name
from hub.storage.git.packets import (
    DATA_BAND,
    FLUSH,
    PROGRESS_BAND,
    Readable,
    drain,
    format_band,
    format_packet,
    read_packets,
)
from hub.storage.git.quarantine import Quarantine
from hub.storage.git.refs import RefMove, is_commit, move_refs, peel, queue
from hub.storage.git.repository import GitRepo
from hub.storage.git.stamps import refuse_purged

CAPABILITIES = (
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options "
    "object-format=sha1 agent=model-commons"
)
MAX_COMMANDS = 5000
MAX_PUSH_BYTES = 2 * 1024**3  # what callers give unless a repository's quota says less
MAX_SENTENCE = 1000  # characters
ZERO = "0" * 40
COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n]+)\n?")


@dataclass(frozen=True)
class RefCommand:
    old: str | None  # None: the pusher creates
    new: str | None  # None: the pusher deletes
    ref: str


@dataclass(frozen=True)
class RefResult:
    """The answer to one command: a refusal in one sentence, or none."""

    command: RefCommand
    refusal: str | None = None
    written: str | None = None  # the reference really written, where it is not the command's (refs/for/main)
    expected: str | None | Anything = None  # what `written` must be before; None: it must not exist

    @property
    def ok(self) -> bool:
        return self.refusal is None

    @property
    def ref(self) -> str:
        return self.written or self.command.ref

    @property
    def move(self) -> RefMove:
        is_other = self.written is not None and self.written != self.command.ref
        return RefMove(self.ref, self.command.new, self.expected if is_other else self.command.old)


class Push(NamedTuple):
    commands: list[RefCommand]
    capabilities: frozenset[str]
    options: tuple[str, ...]  # `git push -o`


Judge = Callable[[Quarantine, list[RefCommand]], list[RefResult]]


def read_commands(body: Readable) -> Push:
    """The part of a push before its pack; `body` then stands at the pack. Raises InvalidOperation."""
    commands: list[RefCommand] = []
    capabilities: frozenset[str] = frozenset()
    for line in read_packets(body, limit=MAX_COMMANDS):
        if line.startswith(b"shallow "):
            continue  # whether anything is missing is found by looking, not by what the client says
        line, _, offered = line.partition(b"\0")
        if offered:
            capabilities = frozenset(offered.decode(errors="replace").split())
        commands.append(_read_command(line))
    names = [command.ref for command in commands]
    if len(set(names)) < len(names):
        raise InvalidOperation("The push names a reference twice; push each once.")
    options = read_packets(body, limit=100) if commands and "push-options" in capabilities else ()
    return Push(commands, capabilities, tuple(option.decode(errors="replace").rstrip("\n") for option in options))


def _read_command(line: bytes) -> RefCommand:
    match = COMMAND.fullmatch(line)
    if match is None:
        raise InvalidOperation("The push holds a line that is no command; signed pushes are not supported.")
    old, new, ref = (field.decode(errors="replace") for field in match.groups())
    return RefCommand(old=None if old == ZERO else old, new=None if new == ZERO else new, ref=ref)


def receive(
    repo: GitRepo,
    body: Readable,
    *,
    judge: Judge,
    limit_bytes: int = MAX_PUSH_BYTES,
    visible: Callable[[str], bool] | None = None,
    public: GitRepo | None = None,
    after: Callable[[list[RefResult]], Iterable[str]] | None = None,
    unpacking: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bytes:
    """Take one push into `repo` and return the whole answer for the client, refusals included.

    `judge` sees the commands that are well formed and answers each, in order; a StorageError refuses them all.
    `after` hears every final result once references have moved and may return lines for the pusher.
    `unpacking` surrounds the wait for git, which may last as long as a pack unfolds to.
    With `public`, the pusher is a stranger who may build on that half and on what `visible` names in `repo`."""
    push = read_commands(body)
    if not push.commands:
        return b""  # a client that probes whether it may push
    quarantine = Quarantine(repo, visible=visible, public=public, options=push.options)
    try:
        with quarantine:
            if any(command.new for command in push.commands):
                with unpacking():
                    quarantine.unpack(body, limit_bytes=limit_bytes)
            results = _decide(quarantine, push.commands, judge)
            results = _settle(repo, quarantine, results, is_atomic="atomic" in push.capabilities)
    except StorageError as refusal:
        results = [RefResult(command, refusal=str(refusal)) for command in push.commands]
        drain(body, limit_bytes=limit_bytes)
    lines = [*quarantine.messages, *(after(results) if after else ())]
    return format_report(push.capabilities, results, lines=lines)


def _decide(quarantine: Quarantine, commands: Sequence[RefCommand], judge: Judge) -> list[RefResult]:
    """One result for each command, in order; the judge hears only of those that can be carried out."""
    early = {command.ref: _find_fault(quarantine, command) for command in commands}
    sound = [command for command in commands if early[command.ref] is None]
    quarantine.check(command.new for command in sound if command.new)
    judged = judge(quarantine, sound) if sound else []
    assert [result.command for result in judged] == sound, "The judge answers each command, in order."
    answers = {result.command.ref: result for result in judged}
    return [answers.get(command.ref) or RefResult(command, refusal=early[command.ref]) for command in commands]


def _find_fault(quarantine: Quarantine, command: RefCommand) -> str | None:
    try:
        check_ref(command.ref)
    except InvalidOperation as refusal:
        return str(refusal)
    if quarantine.seen_refs.get(command.ref) != command.old:
        return _stale_sentence(command.ref)
    if command.new is None:
        return None if command.old else f"'{short_name(command.ref)}' does not exist; nothing to delete."
    return _find_fault_of_target(quarantine.repo.handle, command.ref, command.new)


def _find_fault_of_target(handle: pygit2.Repository, ref: str, new: str) -> str | None:
    if is_commit(handle, new):
        return None
    try:
        peel(handle, new)
    except UnknownRevision:
        return f"'{short_name(ref)}' can only point to a commit that the push or the repository holds."
    return None if ref.startswith("refs/tags/") else f"'{short_name(ref)}' can only point to a commit, not to a tag."


def _stale_sentence(ref: str) -> str:
    # Without the id it moved to: that may be pending, and the pusher a stranger.
    return f"'{short_name(ref)}' has moved meanwhile; fetch, look at the changes and push again."


def _settle(repo: GitRepo, quarantine: Quarantine, results: list[RefResult], *, is_atomic: bool) -> list[RefResult]:
    refused = [result for result in results if not result.ok]
    if is_atomic and refused:
        return [_refuse(result, "The push is atomic and another reference was refused.") for result in results]
    accepted = [result for result in results if result.ok]
    if not accepted:
        return results
    with queue(repo.path):
        refuse_purged(repo.path, quarantine.stamp)
        tips = [result.command.new for result in accepted if result.command.new]
        quarantine.migrate(tips, everything=not refused)
        groups = [accepted] if is_atomic else [[result] for result in accepted]
        moved = {result.command.ref: result for group in groups for result in _move(repo, group)}
    return [moved.get(result.command.ref, result) for result in results]


def _move(repo: GitRepo, group: list[RefResult]) -> list[RefResult]:
    try:
        move_refs(repo.path, [result.move for result in group])
    except StaleParent:
        return [_refuse(result, _stale_sentence(result.ref)) for result in group]
    except StorageError as refusal:
        return [_refuse(result, str(refusal)) for result in group]
    return group


def _refuse(result: RefResult, sentence: str) -> RefResult:
    return replace(result, refusal=result.refusal or sentence)


def format_report(capabilities: frozenset[str], results: Sequence[RefResult], *, lines: Sequence[str]) -> bytes:
    """report-status as the client asked for it. Source: https://git-scm.com/docs/gitprotocol-pack"""
    is_v2 = "report-status-v2" in capabilities
    packets = [b"unpack ok\n", *(packet for result in results for packet in _format_result(result, is_v2))]
    report = b"".join(format_packet(packet) for packet in packets) + FLUSH
    if not is_v2 and "report-status" not in capabilities:
        report = b""
    if "side-band-64k" not in capabilities:
        return report
    progress = b"".join(format_band(PROGRESS_BAND, _one_line(line) + b"\n") for line in lines)
    return progress + format_band(DATA_BAND, report) + FLUSH


def _format_result(result: RefResult, is_v2: bool) -> list[bytes]:
    name = result.command.ref.encode()
    if result.refusal is not None:
        return [b"ng %s %s\n" % (name, _one_line(result.refusal))]
    if not is_v2 or result.ref == result.command.ref:
        return [b"ok %s\n" % name]
    return [b"ok %s\n" % name, b"option refname %s\n" % result.ref.encode()]


def _one_line(text: str) -> bytes:
    # A client prints this on a terminal: no escape sequence of a contributor's file name may reach it.
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain.rstrip()[:MAX_SENTENCE].encode(errors="replace")
