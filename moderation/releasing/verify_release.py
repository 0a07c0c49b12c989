"""Verify a release of Model Commons on any machine, without a network and without the hub.

    python verify_release.py manifest.json [folder] [--signature signature.json] [--key BASE64]
                             [--policy policy.yaml] [--log audit.jsonl [--seen older.jsonl]]

Needs Python 3.9 or later and the package "cryptography". It checks that
  - the manifest carries the hub's signature, byte for byte (with --key: by exactly this key);
  - each approval speaks of exactly this manifest, and a release that calls itself reviewed has two of them by two people, or
    as many as the policy asks for that it names; with --policy: that file is this policy;
  - with a folder: every file that the release names is there with the stated SHA-256, and nothing else is;
  - with the log of decisions: no entry was changed, left out, moved or added, its signed end is there, the release and its
    approvals stand in it and nobody took it back since; with an older copy too: the log goes on from that copy.
Exit status: 0 all of it holds, 1 something does not, 2 the question could not be asked (a file is missing, wrong use)."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = "https://model-commons.org/schemas/release/v1"
ADDED_LATER = ("approved_digest", "approvals", "reviewed", "published_at")
NEEDED_APPROVALS = 2
PIECE_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 256 << 20
MAX_LINE_BYTES = 1 << 20  # of the log
BEFORE_FIRST = "0" * 64  # what the first entry of the log follows
HASHED = ("number", "at", "actor", "action", "subject", "data", "is_public", "previous")
STATES = ("release.published", "release.yanked", "release.quarantined")
# What download tools leave in a folder beside the files themselves.
LEFT_BY_TOOLS = (
    ".git",
    ".cache",
    ".gitattributes",
    ".gitignore",
    "manifest.json",
    "signature.json",
    "verify_release.py",
)


class Unusable(Exception):
    """The question could not be asked."""


def canonical(value: Any) -> bytes:
    """The bytes that are signed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise Unusable(f"{path} is larger than {MAX_MANIFEST_BYTES >> 20} MiB; this is no manifest.")
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=refuse_twins)
    except OSError as problem:
        raise Unusable(
            f"{path} cannot be read ({problem.strerror}); download it from the page of the release."
        ) from None
    except ValueError as problem:
        raise Unusable(f"{path} is not JSON ({problem}); download it again from the page of the release.") from None
    if not isinstance(value, dict):
        raise Unusable(f"{path} is no JSON object; download it again from the page of the release.")
    return value


def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two programs could read a twice-given key differently."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key appears twice")
    return table


def check_signature(manifest: dict[str, Any], signature: dict[str, Any], key: str | None) -> str:
    """A problem in a sentence, or ""."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise Unusable("The package 'cryptography' is missing; install it with: pip install cryptography") from None
    if signature.get("algorithm") != "ed25519":
        return f"The signature's algorithm is {signature.get('algorithm')!r}; this hub signs with ed25519."
    if key and signature.get("public_key") != key:
        return f"It was signed with the key {signature.get('public_key')}, not with the one that you gave."
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(signature["public_key"], validate=True))
        public.verify(base64.b64decode(signature["signature"], validate=True), canonical(manifest))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return "The signature does not belong to this manifest: one of the two was changed."
    return ""


def check_approvals(manifest: dict[str, Any]) -> list[str]:
    """Problems, one sentence each."""
    part = {name: value for name, value in manifest.items() if name not in ADDED_LATER}
    digest = "sha256:" + hashlib.sha256(canonical(part)).hexdigest()
    problems = []
    if manifest.get("approved_digest") != digest:
        problems.append("What was approved is not what stands in this manifest.")
    approvals = [row for row in manifest.get("approvals") or [] if isinstance(row, dict)]
    problems += [
        f"The approval of {row.get('by')} speaks of another manifest."
        for row in approvals
        if row.get("digest") != digest
    ]
    people = {row.get("by") for row in approvals}
    needed = needed_approvals(manifest)
    if manifest.get("reviewed") is True and len(people) < needed:
        problems.append(f"It calls itself reviewed and names {len(people)} people who approved; {needed} are needed.")
    made = {
        row.get("name")
        for row in manifest.get("contributors") or []
        for role in row.get("roles", [])
        if role.startswith("brought data") or role == "proposed the recipe"
    }
    problems += [f"{name} approved it and made part of it." for name in sorted(str(one) for one in people & made)]
    return problems


def needed_approvals(manifest: dict[str, Any]) -> int:
    """By the policy that the manifest names; two where it names none, and never fewer."""
    values: Any = manifest
    for name in ("policy", "values", "who_decides", "release_approvals"):
        values = values.get(name) if isinstance(values, dict) else None
    return max(NEEDED_APPROVALS, values) if isinstance(values, int) else NEEDED_APPROVALS


def check_policy(manifest: dict[str, Any], path: Path) -> str:
    """A problem in a sentence, or ""."""
    named = manifest.get("policy")
    if not isinstance(named, dict):
        return "It names no file of a policy, so none can be compared."
    try:
        digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise Unusable(f"{path} cannot be read ({problem.strerror}); download it from /policy/history.") from None
    return "" if digest == named.get("digest") else f"{path.name} is not the policy that the release names."


def check_files(manifest: dict[str, Any], folder: Path) -> list[str]:
    """Problems, one sentence each. Links are not followed: they could lead out of the folder."""
    if not folder.is_dir():
        raise Unusable(f"{folder} is no folder; give the one into which you downloaded the release.")
    named = manifest.get("files") or {}
    problems = []
    for path, pin in sorted(named.items()):
        if path.startswith(("/", "\\")) or ".." in path.replace("\\", "/").split("/"):
            problems.append(f"{path} is no path inside a folder.")
            continue
        problem = check_file(folder / path, pin)
        if problem and not (path in LEFT_BY_TOOLS and not (folder / path).exists()):
            problems.append(f"{path} {problem}")
    problems += [f"{path} is in the folder and not in the release." for path in list_others(folder, named)]
    return problems


def check_file(path: Path, pin: dict[str, Any]) -> str:
    if path.is_symlink() and not is_cached(path):
        return "is a link, not a file."
    if not path.is_file():
        return "is missing."
    if path.stat().st_size != pin["size"]:
        return f"has {path.stat().st_size:,} bytes; the release says {pin['size']:,}."
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return "" if digest.hexdigest() == pin["sha256"] else "was changed: its SHA-256 is another."


class Broken(Exception):
    """The log is not what the hub wrote."""


def read_log(path: Path, key: str | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(entries in order, the signed end). Raises Broken with the first thing that is wrong."""
    rows: list[dict[str, Any]] = []
    head: dict[str, Any] | None = None
    previous, private = BEFORE_FIRST, hashlib.sha256()
    for row in read_lines(path):
        if head is not None:
            raise Broken(f"{path.name} goes on after its signed end.")
        if "head" in row:
            head = row["head"]
            continue
        number = len(rows) + 1
        if row.get("number") != number:
            raise Broken(f"Entry {number} of the log is missing or not in its place.")
        if row.get("previous") != previous:
            raise Broken(f"Entry {number} of the log does not follow the one before it.")
        if "action" not in row:  # not public: only what keeps the chain together
            private.update(b"%d\n" % number)
        elif row.get("hash") != hash_entry(row):
            raise Broken(f"Entry {number} of the log was changed after it was written.")
        previous = str(row.get("hash"))
        rows.append(row)
    if not isinstance(head, dict):
        raise Broken(f"{path.name} has no signed end: it was cut off, or the download was.")
    check_head(head, {"number": len(rows), "hash": previous, "private": private.hexdigest()}, key)
    return rows, head


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise Broken(f"{path.name} ends within a line: it was cut off, or the download was.")
                row = json.loads(line, object_pairs_hook=refuse_twins)
                if not isinstance(row, dict):
                    raise ValueError("a line is no object")
                yield row
    except OSError as problem:
        raise Unusable(f"{path} cannot be read ({problem.strerror}); download it from /audit.jsonl.") from None
    except ValueError as problem:
        raise Broken(f"{path.name} is no log of decisions ({problem}).") from None


def hash_entry(row: dict[str, Any]) -> str:
    content = {name: row.get(name) for name in HASHED}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_head(head: dict[str, Any], found: dict[str, Any], key: str | None) -> None:
    """Raises Broken."""
    signature = head.get("signature")
    stated = {name: value for name, value in head.items() if name != "signature"}
    problem = check_signature(stated, signature if isinstance(signature, dict) else {}, key)
    if problem:
        raise Broken(f"The end of the log: {problem}")
    if stated.get("number") != found["number"] or stated.get("hash") != found["hash"]:
        raise Broken(
            f"The log ends at entry {found['number']}, and its signed end is that of entry {stated.get('number')}."
        )
    if stated != found:
        raise Broken("The words of a public entry of the log were taken out.")


def check_log(manifest: dict[str, Any] | None, path: Path, seen: Path | None, key: str | None) -> list[str]:
    """Problems, one sentence each."""
    try:
        rows, _ = read_log(path, key)
        if seen is not None:
            older, _ = read_log(seen, key)
            if len(older) > len(rows):
                return [f"The log was rolled back: it ends before entry {len(older)}, which {seen.name} has."]
            for old, new in zip(older, rows):  # noqa: B905  Python 3.9 has no strict=
                if old.get("hash") != new.get("hash"):
                    return [f"The log was forked: entry {old.get('number')} of {seen.name} is another one."]
    except Broken as problem:
        return [str(problem)]
    return find_release(manifest, rows) if manifest is not None else []


def find_release(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Problems of what the log says about the release."""
    subject = f"{manifest.get('repository')}@v{manifest.get('version')}"
    said = [row for row in rows if row.get("subject") == subject]
    digest = manifest.get("approved_digest")
    published = [
        row for row in said if row.get("action") == "release.published" and "digest" in (row.get("data") or {})
    ]
    if not published or published[-1]["data"].get("digest") != digest:
        return [f"The log does not say that {subject} was published as this manifest."]
    given = {
        row.get("actor")
        for row in said
        if row.get("action") == "release.approved"
        and row["number"] < published[-1]["number"]
        and (row.get("data") or {}).get("digest") == digest
    }
    people = [str(row.get("by")) for row in manifest.get("approvals") or [] if isinstance(row, dict)]
    problems = [f"The log does not say that {name} approved it." for name in people if name not in given]
    state = [row for row in said if row.get("action") in STATES][-1]
    if state["action"] != "release.published":
        reason = str((state.get("data") or {}).get("reason", ""))[:300]
        word = state["action"].partition(".")[2]
        if word == "quarantined":
            problems.append(f"It was quarantined since, entry {state['number']} of the log: {reason}")
        else:
            print(f"note  it was {word} since, entry {state['number']} of the log: {reason}")
    return problems


def is_cached(path: Path) -> bool:
    """huggingface_hub lays out snapshots as links to files named by their digest, under one folder of the model."""
    return path.resolve().parent.name == "blobs"


def list_others(folder: Path, named: dict[str, Any]) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        at = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if (at / name).as_posix() not in LEFT_BY_TOOLS]
        for name in sorted(files):
            path = (at / name).as_posix()
            if path not in named and path not in LEFT_BY_TOOLS:
                yield path


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify a release of Model Commons, offline.")
    parser.add_argument("manifest", type=Path, nargs="?", help="manifest.json of the release; without it the log alone")
    parser.add_argument("folder", type=Path, nargs="?", help="folder with the downloaded files")
    parser.add_argument("--signature", type=Path, help="signature.json; the one beside the manifest if not given")
    parser.add_argument("--policy", type=Path, help="the policy.yaml of the commit that the release names")
    parser.add_argument("--log", type=Path, help="the log of decisions of the hub, from /audit.jsonl")
    parser.add_argument("--seen", type=Path, help="an older copy of that log: the new one has to go on from it")
    parser.add_argument("--key", help="public key (base64) that you trust this hub to have")
    return parser.parse_args(arguments)


def verify(options: argparse.Namespace) -> list[str]:
    """Prints what was found; returns the problems."""
    if options.manifest is None:
        return verify_log(options)
    manifest = read_json(options.manifest)
    signature = read_json(options.signature or options.manifest.with_name("signature.json"))
    if manifest.get("schema") != SCHEMA:
        raise Unusable(f"{options.manifest} is no manifest of a release (schema {manifest.get('schema')!r}).")
    print(f"{manifest.get('repository')} v{manifest.get('version')}, commit {manifest.get('commit')}")
    problems = [problem for problem in [check_signature(manifest, signature, options.key)] if problem]
    if not problems:
        print(f"ok    signed with the key {signature['public_key']}")
        if not options.key:
            print("      compare this key with the one that the hub shows at /policy, or give it with --key")
    approval_problems = check_approvals(manifest)
    if not approval_problems and not problems:
        if manifest.get("reviewed") is True:
            people = ", ".join(str(row["by"]) for row in manifest["approvals"])
            print(f"ok    approved by {people}")
        else:
            print("note  UNREVIEWED: published on a hub with one person")
    problems += approval_problems
    if options.policy is not None:
        policy_problem = check_policy(manifest, options.policy)
        if not policy_problem:
            named = manifest["policy"]
            print(f"ok    judged by this policy: {named['repository'] or 'of the hub itself'} {named['commit']}")
        problems += [policy_problem] if policy_problem else []
    if options.folder is not None:
        file_problems = check_files(manifest, options.folder)
        if not file_problems:
            print(f"ok    all {len(manifest['files'])} files are those of the release")
        problems += file_problems
    if options.log is not None:
        log_problems = check_log(manifest, options.log, options.seen, options.key or signature.get("public_key"))
        if not log_problems:
            print("ok    the log of decisions is whole, and says the same of this release")
        problems += log_problems
    return problems


def verify_log(options: argparse.Namespace) -> list[str]:
    """The log of decisions by itself, of a hub that may have no release."""
    if options.log is None:
        raise Unusable("Give manifest.json of a release, or --log audit.jsonl, or both.")
    problems = check_log(None, options.log, options.seen, options.key)
    if not problems:
        print("ok    the log of decisions is whole, and its end is signed")
        if not options.key:
            print("      compare its key with the one that the hub shows at /policy, and give it with --key")
    return problems


def main(arguments: list[str] | None = None) -> int:
    options = read_arguments(arguments)
    try:
        problems = verify(options)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return 2
    for problem in problems:
        print(f"BAD   {problem}")
    what = "release" if options.manifest is not None else "log"
    print(f"The {what} does NOT verify." if problems else f"The {what} verifies.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
