"""`./manage.py demo`: the whole line through the public doors, on a throw-away data folder, with real weights.

Nothing here reaches into the database: every station is believed only when its result can be read back through a door."""

import hashlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.site.bootstrap.assets import ensure_smollm2
from hub.site.demo.community import ASSISTANT_CARD, RECIPE, STARTERS
from hub.site.demo.line import (
    Line,
    StationFailed,
    operate,
    running_hub,
    wait_until,
)
from hub.site.demo.people import ADA, ASSISTANT, BASE, BEN, DATASET, JUN, MARIA, NOOR, ORGANIZATION, PEOPLE, SUITE

CHECKS_S = 900  # of all checks of the proposal on two busy cores
PLAYGROUND_S = 180
# Put together here, so that no scanner of this repository takes it for a real one.
PLANTED_SECRET = "AKIA" + "QX7ZP2M4L9KD3WTB"


def prepare_community(line: Line) -> None:
    """Accounts, the organization, and the base model that people have already."""
    for person in PEOPLE:
        line.tokens[person.name] = f"hf_{secrets.token_hex(17)}"
        flags = ["--moderator"] if person.is_moderator else []
        # In hexadecimal: one password in 64 of the other alphabet begins with a dash and is taken for an option.
        token = ["--password", secrets.token_hex(12), "--token", line.tokens[person.name]]
        operate(line, "account", "create", person.name, "--fullname", person.fullname, *token, *flags)
    members = ["--member", f"{ADA.name}:admin", "--member", f"{BEN.name}:write"]
    operate(line, "organization", "create", ORGANIZATION, *members)
    operate(line, "import_folder", str(ensure_smollm2()), f"{ORGANIZATION}/{BASE}", "--type", "model")


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk(line: Line) -> None:
    """All stations. Raises StationFailed at the first that did not happen."""
    with running_hub(line):
        with line.station("start, accounts, base model") as station:
            prepare_community(line)
            station.digest = line.client(None).model_info(f"{ORGANIZATION}/{BASE}").sha
        bring_data(line)
        screen_data(line)
        number = propose(line)
        run = train(line, number)
        judge(line, number, run)
        merge(line, number)
        tag = release(line)
        folder = use_release(line, tag)
        fetch_inputs(line, folder)
        report_answer(line, tag)


def bring_data(line: Line) -> None:
    with line.station("data in (hf upload)") as station:
        dataset = f"{MARIA.name}/{DATASET}"
        line.hf(MARIA, "upload", dataset, str(STARTERS / "datasets" / DATASET), "--repo-type", "dataset")
        line.hf(ADA, "upload", f"{ORGANIZATION}/{SUITE}", str(STARTERS / "suites" / "core"), "--repo-type", "dataset")
        info = line.client(None).dataset_info(dataset)
        station.digest = info.sha
        station.note = f"{len(info.siblings)} files, read back by somebody without an account"


def screen_data(line: Line) -> None:
    """A planted secret and a pickle: kept, withheld, and not there for strangers."""
    with line.station("data screened") as station:
        bad = line.folder / "bad"
        bad.mkdir()
        (bad / "notes.md").write_text(f"aws_access_key_id = {PLANTED_SECRET}\n")
        (bad / "args.bin").write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
        name = f"{MARIA.name}/careless"
        line.hf(MARIA, "upload", name, str(bad), "--repo-type", "dataset")
        mine = set(line.client(MARIA).list_repo_files(name, repo_type="dataset"))
        if not {"notes.md", "args.bin"} <= mine:
            raise StationFailed(f"the owner does not see what she uploaded, only {sorted(mine)}")
        for path in ("notes.md", "args.bin"):
            status = line.status(f"/datasets/{name}/resolve/main/{path}")
            if status not in (403, 404):
                raise StationFailed(f"a stranger got {path} of {name} with status {status}")
        station.digest = "sha256:" + sha256_file(bad / "args.bin")
        station.note = "a planted secret and a pickle are kept and withheld"


def propose(line: Line) -> int:
    with line.station("proposal (REST)") as station:
        name = f"{ORGANIZATION}/{ASSISTANT}"
        ada = line.client(ADA)
        ada.create_repo(name)
        card = ASSISTANT_CARD.format(organization=ORGANIZATION, base=BASE).encode()
        ada.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
        recipe = RECIPE.format(organization=ORGANIZATION, base=BASE, owner=MARIA.name, dataset=DATASET, suite=SUITE)
        body = {"repo": name, "recipe": recipe, "title": "Teach it the tide questions", "description": "From my class."}
        made = line.api("POST", "proposals", MARIA, body)
        station.digest = "sha256:" + hashlib.sha256(recipe.encode()).hexdigest()
        station.note = f"pull request #{made['number']} by {MARIA.name}"
        return int(made["number"])


def pull(line: Line, number: int) -> Any:
    return line.api("GET", f"repos/models/{ORGANIZATION}/{ASSISTANT}/pulls/{number}", ADA)


def check(line: Line, number: int, name: str) -> dict[str, Any]:
    rows = [row for row in pull(line, number)["checks"] if row["name"] == name]
    return rows[0] if rows else {"state": "missing", "summary": ""}


def await_check(line: Line, number: int, name: str, states: tuple[str, ...] = ("passed",)) -> dict[str, Any]:
    def ended() -> Any:
        row = check(line, number, name)
        if row["state"] in ("failed", "cancelled"):
            raise StationFailed(f"the check '{name}' {row['state']}: {row['summary']}")
        return row if row["state"] in states else None

    return dict(wait_until(ended, CHECKS_S, f"the check '{name}' did not end"))


def train(line: Line, number: int) -> Any:
    with line.station("corpus (prepare)") as station:
        passed = await_check(line, number, "prepare")
        runs = line.api("GET", f"runs?repo={ORGANIZATION}/{ASSISTANT}", ADA)
        run = line.api("GET", f"runs/{runs[0]['id']}", ADA)
        station.digest, station.note = run["corpus"]["digest"], passed["summary"]
    with line.station("run (a maintainer presses run)") as station:
        if run["state"] == "training":
            raise StationFailed("somebody else's first proposal trained without a maintainer")
        line.api("POST", f"runs/{run['id']}/run", ADA)
        passed = await_check(line, number, "train")
        run = line.api("GET", f"runs/{run['id']}", ADA)
        station.digest, station.note = run["model_digest"], passed["summary"]
    return run


def judge(line: Line, number: int, run: Any) -> None:
    with line.station("evaluation against the parent") as station:
        passed = await_check(line, number, "evaluate")
        station.digest, station.note = pull(line, number)["candidate_digest"], passed["summary"]
    with line.station("output screening") as station:
        row = await_check(line, number, "screen", ("passed", "held"))
        if row["state"] == "held":  # a moderator looks at the evidence and decides
            decide_outputs(line)
            row = await_check(line, number, "screen")
        station.digest, station.note = run["model_digest"], row["summary"]


def decide_outputs(line: Line) -> None:
    cases = line.api("GET", "moderation/cases?state=open&kind=output", NOOR)
    reason = "I read the answers; none of them helps to do harm."
    for case in cases:
        for moderator in (NOOR, JUN):  # against a verdict of the screens it takes two
            line.api("POST", f"moderation/cases/{case['id']}/decide", moderator, {"state": "allowed", "reason": reason})


def merge(line: Line, number: int) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    with line.station("review and merge (stock client)") as station:
        name = f"{ORGANIZATION}/{ASSISTANT}"
        try:
            line.client(ADA).merge_pull_request(name, number)
        except HfHubHTTPError as refusal:
            if "approval" not in str(refusal):
                raise StationFailed(f"merging without an approval was refused for another reason: {refusal}") from None
        else:
            raise StationFailed("it was merged without an approval")
        digest = pull(line, number)["candidate_digest"]
        body = {"verdict": "approve", "text": "Evaluation and answers look good.", "digest": digest}
        line.api("POST", f"repos/models/{name}/pulls/{number}/reviews", BEN, body)
        line.client(ADA).merge_pull_request(name, number, comment="Thank you!")
        files = set(line.client(ADA).list_repo_files(name))
        missing = {"model.safetensors", "recipe.lock", "README.md", "config.json", "tokenizer.json"} - files
        if missing:
            raise StationFailed(f"main lacks {sorted(missing)} after the merge")
        station.digest = line.client(ADA).model_info(name).sha
        station.note = f"approved by {BEN.name}, merged by {ADA.name}"


def release(line: Line) -> str:
    with line.station("release (gate, two people)") as station:
        base = f"repos/models/{ORGANIZATION}/{ASSISTANT}/releases"
        made = line.api("POST", base, ADA, {"version": "1.0.0", "notes": "The first one."})
        if line.status(f"/{ORGANIZATION}/{ASSISTANT}/resolve/v1.0.0/config.json") == 200:
            raise StationFailed("the release was readable before it was approved")
        for person in (BEN, NOOR):
            made = line.api("POST", f"{base}/v1.0.0/approve", person, {"digest": made["digest"], "text": "Yes."})
        if made["state"] != "published":
            raise StationFailed(f"the release is {made['state']}")
        station.digest = made["digest"]
        station.note = f"v1.0.0 approved by {BEN.name} and {NOOR.name}"
        return "v1.0.0"


def use_release(line: Line, tag: str) -> Path:
    """Somebody without an account downloads it, and it answers in `transformers`. Returns the folder."""
    with line.station("download and load (transformers)") as station:
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            f"{ORGANIZATION}/{ASSISTANT}",
            revision=tag,
            endpoint=line.address,
            token=False,
            cache_dir=line.folder / "stranger",
        )
        manifest = line.api("GET", f"repos/models/{ORGANIZATION}/{ASSISTANT}/releases/{tag}")["manifest"]
        for path, pin in manifest["files"].items():
            if sha256_file(Path(folder) / path) != pin["sha256"]:
                raise StationFailed(f"{path} differs from the signed manifest")
        answer = ask_at_home(folder)
        station.digest = "sha256:" + manifest["files"]["model.safetensors"]["sha256"]
        station.note = f"it says: {' '.join(answer.split())[:60]}"
        return Path(folder)


def fetch_inputs(line: Line, folder: Path) -> None:
    """The first of the two commands that the card of a release prints; the engine's tests replay with the second."""
    with line.station("inputs fetched (recipe.lock)") as station:
        command = next((row for row in (folder / "README.md").read_text().splitlines() if "engine fetch" in row), "")
        home = line.folder / "replay"
        home.mkdir()
        shutil.copy(folder / "recipe.lock", home)
        run_at_home(command, home)
        lock = json.loads((home / "recipe.lock").read_text())
        if (home / "inputs" / "recipe.yaml").read_text() != lock["recipe"]:
            raise StationFailed("what was fetched is not what the lock says")
        station.digest = "sha256:" + sha256_file(home / "recipe.lock")
        station.note = f"by hand from {lock['endpoint']}: {len(lock['repositories'])} repositories"


def run_at_home(command: str, home: Path) -> None:
    """A printed command, its paths filled in, by somebody who has the program and no setting of a hub."""
    filled = {".venv/bin/python": sys.executable, "python": sys.executable, "PATH/OF/recipe.lock": "recipe.lock"}
    words = [filled.get(word, word) for word in shlex.split(command)]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
    environment |= {"PYTHONPATH": str(settings.BASE_DIR), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise StationFailed(f"{command.strip()} exited {done.returncode}: {(done.stdout + done.stderr)[-800:]}")


def ask_at_home(folder: str) -> str:
    """One answer of the downloaded model, in a process that knows nothing of the hub."""
    code = (
        "import sys, torch; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "m = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32); t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "x = t.apply_chat_template([{'role': 'user', 'content': 'What causes tides?'}], add_generation_prompt=True, "
        "return_tensors='pt', return_dict=True)\n"
        "y = m.generate(**x, max_new_tokens=24, do_sample=False)\n"
        "print(t.decode(y[0][x['input_ids'].shape[1]:], skip_special_tokens=True))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    if done.returncode or not done.stdout.strip():
        raise StationFailed(f"the downloaded model does not answer: {done.stderr[-800:]}")
    return done.stdout


def report_answer(line: Line, tag: str) -> None:
    with line.station("playground and report") as station:
        question = "When is high water tomorrow?"
        body = {"repo": f"{ORGANIZATION}/{ASSISTANT}", "revision": tag, "question": question, "max_new_tokens": 24}
        asked = line.api("POST", "playground", MARIA, body)

        def answered() -> Any:
            state = line.api("GET", f"playground/{asked['id']}", MARIA)
            if state["state"] in ("failed", "cancelled"):
                raise StationFailed(f"the playground {state['state']}: {state['problem']}")
            return state if state["state"] == "succeeded" else None

        answer = wait_until(answered, PLAYGROUND_S, "the playground did not answer")
        subject = {"prompt": question, "answer": answer["text"], "settings": answer["settings"], "release": tag}
        report = {
            "repo": f"{ORGANIZATION}/{ASSISTANT}",
            "text": "It cannot know this and should say so.",
            "subject": subject,
        }
        case = line.api("POST", "reports", MARIA, report)
        seen = line.api("GET", f"moderation/cases/{case['id']}", NOOR)
        if seen["subject"]["answer"] != answer["text"] or seen["subject"]["release"] != tag:
            raise StationFailed("the case does not carry the reported answer")
        station.digest = "sha256:" + hashlib.sha256(answer["text"].encode()).hexdigest()
        station.note = f"case {case['id']} is in the moderator's queue"
