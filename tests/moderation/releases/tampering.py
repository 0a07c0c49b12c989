"""A release and its log as people take them home, and ways to tamper with them."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moderation.releasing import verify_release

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100, "docs/é.md": b"text"}
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def make_manifest(**changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "schema": verify_release.SCHEMA,
        "repository": "alice/tides",
        "version": "1.0.0",
        "commit": "c" * 40,
        "files": {path: {"sha256": sha256(data), "size": len(data)} for path, data in FILES.items()},
        "contributors": [{"name": "charlie", "roles": ["brought data of charlie/rows"]}],
        "gate": [],
    }
    digest = "sha256:" + sha256(verify_release.canonical(manifest))
    manifest["approved_digest"] = digest
    manifest["approvals"] = [
        {"by": name, "at": "2026-11-23T08:00:00+00:00", "digest": digest} for name in ("bob", "dora")
    ]
    return {**manifest, "reviewed": True, "published_at": "2026-11-23T08:00:00+00:00", **changes}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    signed = KEY.sign(verify_release.canonical(manifest))
    public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    signature = {"algorithm": "ed25519", "public_key": public, "signature": base64.b64encode(signed).decode()}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (folder / "signature.json").write_text(json.dumps(signature))


def make_entries(count: int = 9, **published: Any) -> list[dict[str, Any]]:
    """A log that tells of the release, with an entry that is not public."""
    digest = make_manifest()["approved_digest"]
    subject = "alice/tides@v1.0.0"
    told = [
        ("repo.deleted", "alice/old", "alice", {}),
        ("review.given", "alice/tides", "bob", {}),  # not public
        ("release.proposed", subject, "alice", {"digest": digest}),
        ("release.approved", subject, "bob", {"digest": digest}),
        ("release.approved", subject, "dora", {"digest": digest}),
        ("release.published", subject, "", {"digest": digest, "reviewed": True} | published),
        ("release.yanked", subject, "alice", {"reason": "It is wrong."}),
        ("release.published", subject, "alice", {"reason": "It is not."}),
        ("case.allowed", "alice/other", "mona", {}),
    ]
    rows: list[dict[str, Any]] = []
    for action, about, actor, data in told[:count]:
        row = {"number": len(rows) + 1, "at": "2026-11-23T08:00:00+00:00", "actor": actor, "action": action,
               "subject": about, "data": data, "is_public": action != "review.given"}  # fmt: skip
        rows.append(chain(row, rows[-1]["hash"] if rows else verify_release.BEFORE_FIRST))
    return rows


def chain(row: dict[str, Any], previous: str) -> dict[str, Any]:
    row = {**row, "previous": previous}
    return {**row, "hash": verify_release.hash_entry(row)}


def write_log(path: Path, rows: list[dict[str, Any]], **head: Any) -> None:
    """As the hub gives it out: without the words of what is not public, and with a signed end."""
    shown = [
        row if row["is_public"] else {key: row[key] for key in ("number", "previous", "hash", "is_public")}
        for row in rows
    ]
    private = "".join(f"{row['number']}\n" for row in rows if not row["is_public"])
    end = {"number": len(rows), "hash": rows[-1]["hash"], "private": sha256(private.encode())} | head
    public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    signed = base64.b64encode(KEY.sign(json.dumps(end, sort_keys=True, separators=(",", ":")).encode())).decode()
    end["signature"] = {"algorithm": "ed25519", "public_key": public, "signature": signed}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*shown, {"head": end}]))


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the manifest and leave its signature."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / "manifest.json").read_text())
        change(manifest)
        (place / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def sign_again(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the manifest and sign it anew: what a hub that wants to deceive could do."""

    def spoil(place: Path) -> None:
        manifest = json.loads((place / "manifest.json").read_text())
        change(manifest)
        write(place, manifest)

    return spoil


def edit_log(change: Callable[[list[str]], Any], name: str = "audit.jsonl") -> Callable[[Path], None]:
    """Change the lines of a log: nine entries and the signed end."""

    def spoil(place: Path) -> None:
        lines = (place / name).read_text().splitlines(keepends=True)
        change(lines)
        (place / name).write_text("".join(lines))

    return spoil


def edit_entry(number: int, **changes: Any) -> Callable[[Path], None]:
    return edit_log(
        lambda lines: lines.__setitem__(number - 1, json.dumps({**json.loads(lines[number - 1]), **changes}) + "\n")
    )


def hide_entry(number: int) -> Callable[[Path], None]:
    """Without its words, as if it had never been public."""

    def hide(lines: list[str]) -> None:
        row = json.loads(lines[number - 1])
        bare = {key: row[key] for key in ("number", "previous", "hash")} | {"is_public": False}
        lines[number - 1] = json.dumps(bare) + "\n"

    return edit_log(hide)


def told_again(change: Callable[[list[dict[str, Any]]], Any], **head: Any) -> Callable[[Path], None]:
    """Another log, chained and signed anew: what a hub that wants to deceive could do."""

    def spoil(place: Path) -> None:
        rows = make_entries()
        change(rows)
        made: list[dict[str, Any]] = []
        for row in rows:
            made.append(
                chain({**row, "number": len(made) + 1}, made[-1]["hash"] if made else verify_release.BEFORE_FIRST)
            )
        write_log(place / "audit.jsonl", made, **head)

    return spoil


def always_told(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    """The same for who kept no other copy."""

    def spoil(place: Path) -> None:
        told_again(change)(place)
        shutil.copy(place / "audit.jsonl", place / "seen.jsonl")

    return spoil


def quarantine(rows: list[dict[str, Any]]) -> None:
    rows.append({**rows[5], "action": "release.quarantined", "data": {"reason": "It leaks."}})


def lay_down_another(lines: list[str]) -> None:
    last = make_entries()[8]
    lines.insert(9, json.dumps(chain({**last, "number": 10}, last["hash"])) + "\n")


def put_older_end(place: Path) -> None:
    older = (place / "seen.jsonl").read_text().splitlines(keepends=True)[-1]
    edit_log(lambda lines: lines.__setitem__(9, older))(place)


def fork_later(place: Path) -> None:
    write_log(place / "seen.jsonl", make_entries())
    told_again(lambda rows: rows[8].update(actor="eve"))(place)


def write_logs(place: Path, *, seen: int, now: int, **published: Any) -> None:
    write_log(place / "seen.jsonl", make_entries(seen, **published))
    write_log(place / "audit.jsonl", make_entries(now, **published))


def call_reviewed(place: Path) -> None:
    write(place, make_manifest(reviewed=False, approvals=[]))
    edit_manifest(lambda manifest: manifest.update(reviewed=True))(place)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip(path: str, at: int) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        data = bytearray((place / path).read_bytes())
        data[at] ^= 1
        (place / path).write_bytes(bytes(data))

    return spoil


TAMPERINGS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("a version", edit_manifest(lambda m: m.update(version="1.0.1")), "does not belong"),
    ("a commit", edit_manifest(lambda m: m.update(commit="d" * 40)), "does not belong"),
    ("an approver", edit_manifest(lambda m: m["approvals"][0].update(by="eve")), "does not belong"),
    ("an added key", edit_manifest(lambda m: m.update(extra=1)), "does not belong"),
    ("a removed key", edit_manifest(lambda m: m.pop("gate")), "does not belong"),
    ("another key", lambda p: re_key(p), "was changed"),
    ("algorithm", lambda p: edit_signature(p, algorithm="none"), "algorithm is 'none'"),
    ("no signature", lambda p: edit_signature(p, signature=None), "does not belong"),
    ("half a signature", lambda p: edit_signature(p, signature="AAAA"), "does not belong"),
    ("files after approval", sign_again(lambda m: m["files"].pop("docs/é.md")), "What was approved is not"),
    ("data after approval", sign_again(lambda m: m.update(contributors=[])), "What was approved is not"),
    ("an old approval", sign_again(lambda m: m["approvals"][1].update(digest="sha256:0")), "dora speaks of another"),
    ("one approver twice", sign_again(lambda m: m["approvals"][1].update(by="bob")), "names 1 people"),
    ("no approvals", sign_again(lambda m: m.update(approvals=[])), "names 0 people"),
    ("an approver who made it", sign_again(lambda m: m["approvals"][1].update(by="charlie")), "charlie approved it and made"),
    ("a flipped first byte", flip("model/model.safetensors", 0), "model.safetensors was changed"),
    ("a flipped last byte", flip("model/model.safetensors", -1), "model.safetensors was changed"),
    ("a flipped byte of text", flip("model/docs/é.md", 2), "docs/é.md was changed"),
    ("a missing file", lambda p: (p / "model/config.json").unlink(), "config.json is missing"),
    ("an empty file", lambda p: (p / "model/config.json").write_bytes(b""), "config.json has 0 bytes"),
    ("a longer file", lambda p: (p / "model/config.json").write_bytes(b"{} "), "config.json has 3 bytes"),
    ("an added file", lambda p: (p / "model/evil.py").write_bytes(b"x"), "evil.py is in the folder and not"),
    ("an added hidden file", lambda p: (p / "model/docs/.x").write_bytes(b"x"), "docs/.x is in the folder"),
    ("a renamed file", lambda p: (p / "model/config.json").rename(p / "model/c.json"), "config.json is missing"),
    ("a file that is a link", lambda p: relink(p / "model/config.json", p / "c"), "is a link"),
    ("a truncated file", lambda p: truncate(p / "model/model.safetensors", 350), "has 350 bytes"),
    ("two files exchanged", lambda p: exchange(p / "model/config.json", p / "model/docs/é.md"), "config.json has 4 bytes"),
    ("a folder in place of a file", lambda p: put_folder(p / "model/config.json"), "config.json is missing"),
    ("a renamed folder", lambda p: (p / "model/docs").rename(p / "model/doc"), "docs/é.md is missing"),
    ("approvals in another order", edit_manifest(lambda m: m["approvals"].reverse()), "does not belong"),
    ("files renamed in the manifest", edit_manifest(lambda m: m["files"].update({"x": m["files"].pop("config.json")})), "does not belong"),
    ("called reviewed", call_reviewed, "does not belong"),
    ("the manifest of an older release", lambda p: write_older(p), "config.json was changed"),
    ("an entry of the log changed", edit_entry(4, actor="eve"), "Entry 4 of the log was changed"),
    ("a time in the log changed", edit_entry(6, at="2026-11-24T08:00:00+00:00"), "Entry 6 of the log was changed"),
    ("a reason in the log changed", edit_entry(7, data={"reason": "Nothing."}), "Entry 7 of the log was changed"),
    ("a hash in the log flipped", edit_entry(2, hash="f" * 64), "Entry 3 of the log does not follow"),
    ("a link in the log flipped", edit_entry(5, previous="f" * 64), "Entry 5 of the log does not follow"),
    ("an entry of the log removed", edit_log(lambda lines: lines.pop(3)), "Entry 4 of the log is missing"),
    ("the first entry removed", edit_log(lambda lines: lines.pop(0)), "Entry 1 of the log is missing"),
    ("two entries exchanged", edit_log(lambda lines: lines.insert(3, lines.pop(4))), "Entry 4 of the log is missing"),
    ("an entry written twice", edit_log(lambda lines: lines.insert(3, lines[3])), "Entry 5 of the log is missing"),
    ("an entry added", edit_log(lay_down_another), "ends at entry 10"),
    ("the last entry cut off", edit_log(lambda lines: lines.pop(8)), "ends at entry 8"),
    ("the signed end cut off", edit_log(lambda lines: lines.pop()), "has no signed end"),
    ("cut off within a line", lambda p: truncate(p / "audit.jsonl", 900), "ends within a line"),
    ("entries after the signed end", edit_log(lambda lines: lines.append(lines[8])), "goes on after its signed end"),
    ("an older signed end", lambda p: put_older_end(p), "signed end is that of entry 6"),
    ("a public entry made silent", hide_entry(7), "words of a public entry"),
    ("rolled back", lambda p: write_logs(p, seen=9, now=6), "was rolled back"),
    ("forked", told_again(lambda rows: rows[0].update(actor="eve")), "was forked: entry 1"),
    ("forked later", lambda p: fork_later(p), "was forked: entry 9"),
    ("another log altogether", told_again(lambda rows: rows.__delitem__(slice(2, 9))), "rolled back"),
    ("a log without the release", lambda p: write_logs(p, seen=2, now=2), "does not say that alice/tides@v1.0.0 was published"),
    ("a log with another manifest", lambda p: write_logs(p, seen=9, now=9, digest="sha256:x"), "as this manifest"),
    ("approved by nobody in the log", always_told(lambda rows: rows.__delitem__(3)), "does not say that bob approved"),
    ("approved after it was published", always_told(lambda rows: rows.append(rows.pop(4))), "does not say that dora approved"),
    ("quarantined since", told_again(quarantine), "quarantined since, entry 10 of the log: It leaks."),
    ("a log signed by another key", lambda p: re_key_log(p), "not with the one that you gave"),
    ("a path that leads out", sign_again(lambda m: m["files"].update({"../x": {"sha256": "0", "size": 0}})), "../x is no path"),
]  # fmt: skip


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def exchange(first: Path, second: Path) -> None:
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def write_older(place: Path) -> None:
    """A genuine manifest of an earlier version beside the files of this one."""
    older = dict(make_manifest()["files"])
    older["config.json"] = {"sha256": sha256(b"[]"), "size": 2}
    manifest = {name: value for name, value in make_manifest().items() if name not in verify_release.ADDED_LATER}
    manifest |= {"version": "0.9.0", "files": older}
    digest = "sha256:" + sha256(verify_release.canonical(manifest))
    approvals = [{**row, "digest": digest} for row in make_manifest()["approvals"]]
    write(place, {**manifest, "approved_digest": digest, "approvals": approvals, "reviewed": True})


def re_key_log(place: Path) -> None:
    lines = (place / "audit.jsonl").read_text().splitlines(keepends=True)
    other = Ed25519PrivateKey.generate()
    head = json.loads(lines[-1])["head"]
    signature = head.pop("signature")
    signature["public_key"] = base64.b64encode(other.public_key().public_bytes_raw()).decode()
    signature["signature"] = base64.b64encode(other.sign(verify_release.canonical(head))).decode()
    lines[-1] = json.dumps({"head": {**head, "signature": signature}}) + "\n"
    (place / "audit.jsonl").write_text("".join(lines))


def re_key(place: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    edit_signature(place, public_key=base64.b64encode(other).decode())


def edit_signature(place: Path, **changes: Any) -> None:
    signature = json.loads((place / "signature.json").read_text())
    (place / "signature.json").write_text(json.dumps({**signature, **changes}))


def relink(path: Path, target: Path) -> None:
    path.rename(target)
    path.symlink_to(target)
