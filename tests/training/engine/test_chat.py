"""One loaded model answers many conversations: token by token, cancellable, with a bounded queue."""

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine import chat
from training.engine.chat import MAX_LINE_BYTES, MAX_WAITING, Speech, serve
from training.engine.generate import Prompt, Settings, answer_prompts
from training.engine.serving import Served

ROOT = Path(__file__).parents[3]
TIDE = [{"role": "user", "content": "tide"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return open_tiny(tmp_path_factory.mktemp("model"))


def talk(served: Served, *lines: Any) -> list[dict[str, Any]]:
    """What the program says to these lines, once its input has ended."""
    raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    out = io.StringIO()
    serve(served, io.BytesIO(raw), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_tokens_come_one_by_one_and_make_the_text(served: Served) -> None:
    said = talk(served, {"id": "a", "messages": TIDE, "max_new_tokens": 12})
    *tokens, end = said
    assert len(tokens) > 1
    assert "".join(record["token"] for record in tokens) == end["text"]
    assert (end["done"], end["cancelled"]) == (True, False)
    (answer,) = answer_prompts(served, [Prompt("a", messages=tuple(TIDE))], Settings(12))
    assert (end["text"], end["tokens"]) == (answer.text, answer.tokens)


def test_sampling_is_repeated_by_its_seed(served: Served) -> None:
    def text(id: str, seed: int) -> str:
        question = {"id": id, "messages": TIDE, "max_new_tokens": 12, "temperature": 1.0, "seed": seed}
        return str(talk(served, question)[-1]["text"])

    assert text("a", 1) == text("b", 1) != text("c", 2)


def test_questions_are_answered_in_their_order(served: Served) -> None:
    said = talk(served, *({"id": str(n), "messages": TIDE, "max_new_tokens": 2} for n in range(3)))
    assert [record["id"] for record in said if record.get("done")] == ["0", "1", "2"]


class Conversation:
    """A program that is talked to while it runs."""

    def __init__(self, served: Served) -> None:
        import os

        reading, self.writing = os.pipe()
        self.close = lambda: os.close(self.writing)
        self.heard: list[dict[str, Any]] = []
        self.told = threading.Condition()
        self.thread = threading.Thread(target=serve, args=(served, os.fdopen(reading, "rb"), self), daemon=True)
        self.thread.start()

    def write(self, text: str) -> None:
        with self.told:
            self.heard += [json.loads(line) for line in text.splitlines()]
            self.told.notify()

    def flush(self) -> None:
        pass

    def say(self, record: dict[str, Any]) -> None:
        import os

        os.write(self.writing, json.dumps(record).encode() + b"\n")

    def wait(self, is_it: Any) -> dict[str, Any]:
        with self.told:
            assert self.told.wait_for(lambda: any(map(is_it, self.heard)), timeout=30), self.heard
            return next(filter(is_it, self.heard))

    def end(self) -> None:
        self.close()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()


@pytest.fixture
def endless(tmp_path: Path) -> Served:
    """A model that has not finished by itself before somebody cancels it."""
    served = open_tiny(tmp_path / "model", context_tokens=8192)
    served.model.generation_config.eos_token_id = None
    served.tokenizer.eos_token = None
    return served


def test_an_answer_is_cancelled_while_it_is_written(endless: Served) -> None:
    talking = Conversation(endless)
    talking.say({"id": "a", "messages": TIDE, "max_new_tokens": 6000})
    talking.wait(lambda r: r["id"] == "a" and "token" in r)
    talking.say({"id": "a", "cancel": True})
    end = talking.wait(lambda r: r["id"] == "a" and r.get("done"))
    assert end["cancelled"] is True
    assert 0 < end["tokens"] < 6000
    assert end["text"] == "".join(r["token"] for r in talking.heard if "token" in r)
    talking.say({"id": "b", "messages": TIDE, "max_new_tokens": 2})
    assert talking.wait(lambda r: r["id"] == "b" and r.get("done"))["cancelled"] is False
    talking.end()


def test_a_waiting_question_is_cancelled_and_a_full_queue_refuses(endless: Served) -> None:
    talking = Conversation(endless)
    talking.say({"id": "first", "messages": TIDE, "max_new_tokens": 6000})
    talking.wait(lambda r: r["id"] == "first")
    for n in range(MAX_WAITING + 1):
        talking.say({"id": f"q{n}", "messages": TIDE, "max_new_tokens": 1})
    refused = talking.wait(lambda r: "error" in r)
    assert (refused["id"], refused["error"]["code"]) == (f"q{MAX_WAITING}", "busy")
    talking.say({"id": "q0", "messages": TIDE})
    assert talking.wait(lambda r: r["id"] == "q0")["error"]["code"] == "duplicate"
    talking.say({"id": "q3", "cancel": True})
    assert talking.wait(lambda r: r["id"] == "q3")["cancelled"] is True
    talking.say({"id": "nobody", "cancel": True})  # too late is no error: the answer was just finished
    talking.say({"id": "first", "cancel": True})
    talking.end()
    answered = [r["id"] for r in talking.heard if r.get("done") and not r["cancelled"]]
    assert answered == [f"q{n}" for n in range(MAX_WAITING) if n != 3]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{\n", "bad_request"),
        (b"[1]\n", "bad_request"),
        (b"\xff\n", "bad_request"),
        ({"messages": TIDE}, "bad_request"),
        ({"id": 3, "messages": TIDE}, "bad_request"),
        ({"id": "x" * 300, "messages": TIDE}, "bad_request"),
        ({"id": "a", "messages": TIDE, "temprature": 1}, "bad_request"),
        ({"id": "a", "messages": []}, "bad_messages"),
        ({"id": "a"}, "bad_messages"),
        ({"id": "a", "messages": TIDE, "temperature": 99}, "bad_setting"),
        ({"id": "a", "messages": TIDE, "max_new_tokens": "9"}, "bad_setting"),
        ({"id": "a", "messages": TIDE, "max_new_tokens": 400}, "context_exceeded"),
        ({"id": "a", "messages": [{"role": "user", "content": "tide " * 300}]}, "context_exceeded"),
        (b"x" * (MAX_LINE_BYTES + 100) + b"\n", "too_large"),
        (b"[" * 100_000 + b"\n", "bad_request"),
    ],
)
def test_what_is_refused_is_told_and_the_next_question_answered(served: Served, line: Any, code: str) -> None:
    first, *rest = talk(served, line, {"id": "next", "messages": TIDE, "max_new_tokens": 1})
    refused = next(record for record in [first, *rest] if "error" in record)
    assert refused["error"]["code"] == code
    assert [record["id"] for record in rest if record.get("done")] == ["next"]


def test_a_letter_of_several_tokens_is_held_back_until_it_is_whole(served: Served) -> None:
    speech = Speech(served.tokenizer)
    tokens = served.tokenizer("Ebbe & Flut: 潮", add_special_tokens=False)["input_ids"]
    pieces = [speech.add(token) for token in tokens]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == speech.text == "Ebbe & Flut: 潮"
    assert speech.finish() == ""


def test_an_unfinished_letter_is_told_at_the_end(served: Served) -> None:
    speech = Speech(served.tokenizer)
    for token in served.tokenizer("a潮", add_special_tokens=False)["input_ids"][:-1]:
        speech.add(token)
    assert speech.text == "a"
    assert speech.finish() and speech.text.startswith("a\ufffd")


@pytest.mark.slow
def test_the_program_ends_in_peace_when_nobody_listens_while_its_input_is_open(tmp_path: Path) -> None:
    model = make_tiny_folder(tmp_path / "model")
    arguments = [sys.executable, "-m", "training.engine", "chat", "--model", str(model), "--device", "cpu"]
    program = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert program.stdin and program.stdout
    program.stdout.readline()  # ready
    program.stdout.close()
    program.stdin.write(json.dumps({"id": "a", "messages": TIDE, "max_new_tokens": 9}).encode() + b"\n")
    program.stdin.flush()
    assert program.wait(timeout=60) == 0
    program.stdin.close()


def test_it_ends_when_nobody_listens(served: Served) -> None:
    class Deaf(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    line = json.dumps({"id": "a", "messages": TIDE}).encode() + b"\n"
    serve(served, io.BytesIO(line * 2), Deaf())


def test_the_command_says_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_tiny_folder(tmp_path / "model")

    (tmp_path / "questions").write_text(json.dumps({"id": "a", "messages": TIDE, "max_new_tokens": 2}))
    monkeypatch.setattr(chat.sys, "stdin", (tmp_path / "questions").open())
    assert chat.main(["--model", str(model), "--device", "cpu"]) == 0
    ready, *rest = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (ready["stage"], ready["state"], ready["context_tokens"]) == ("chat", "ready", 256)
    assert rest[-1]["done"] is True
