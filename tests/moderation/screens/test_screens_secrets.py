import json
import time
from pathlib import Path

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

import moderation.screens
from moderation.screens import screen_text, worst
from tests.moderation.screens.screened import VALUES, only, rules, screen


def test_a_key_is_never_public_and_says_what_where_and_how_to_mend_it():
    key = VALUES["aws_key"]
    finding = only(screen("notes.md", f"# Notes\n\nexport KEY={key}\n".encode()))
    assert (finding.screen, finding.rule, finding.severity) == ("secrets", "aws_access_key", "block")
    assert finding.where == "notes.md:3"
    assert "notes.md:3" in finding.message and "revoke" in finding.message


def test_an_excerpt_shows_four_characters_of_a_key_and_no_more():
    key = VALUES["ghp"]
    finding = only(screen("a.txt", f"token {key}".encode()))
    assert finding.excerpt.startswith(key[:4])
    assert key[4:8] not in finding.excerpt + finding.message


def test_a_key_in_a_chat_row_is_found_with_row_and_column():
    rows = [{"messages": [{"role": "user", "content": "hello"}]} for _ in range(5)]
    rows.append({"messages": [{"role": "user", "content": f"use\n{VALUES['hf']}\nplease"}, {"role": "assistant"}]})
    data = "\n".join(json.dumps(row) for row in rows).encode()
    assert only(screen("chat.jsonl", data)).where == "row 6, column messages[0].content"


def test_a_key_hidden_in_json_escapes_is_found():
    key = VALUES["hf"]
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in key)
    finding = only(screen("rows.jsonl", f'{{"text": "first"}}\n{{"text": "{hidden}"}}\n'.encode()))
    assert finding.rule == "hub_token" and "2" in finding.where


def test_a_key_across_the_edge_of_two_blocks_is_found_once():
    key, block = VALUES["ghp"].encode(), 1 << 20
    for before in range(block - 50, block + 10, 3):
        data = b"a " * (before // 2) + key + b" the end"
        found = [finding.rule for finding in screen("one-line.txt", data) if finding.severity != "info"]
        assert found == ["github_token"], before


def test_a_private_key_is_found_in_text_and_in_a_json_string():
    assert "private_key" in rules(screen("id.txt", VALUES["pem_rsa"].encode()))
    account = json.dumps({"type": "service_account", "private_key": VALUES["pem_rsa"]}).encode()
    assert "private_key" in rules(screen("account.json", account))
    armour = "-----BEGIN " + "PRIVATE KEY-----"
    assert screen("docs.md", f"The file starts with {armour} and a newline.".encode()) == []


def test_a_published_example_key_waits_for_a_person():
    example = "AK" + "IAIOSFODNN7" + "EXAMPLE"
    assert worst(screen("a.md", f"Use {example} here".encode())) == "hold"


def test_the_same_key_a_thousand_times_is_one_finding_and_a_thousand_keys_are_a_number():
    key = VALUES["ghp"]
    assert len(screen("a.txt", f"{key}\n".encode() * 1000)) == 1
    many = screen("b.txt", "\n".join(VALUES["ghp"] for _ in range(1000)).encode())
    assert len(many) == 21 and many[-1].excerpt == "+980 more"


def test_model_cards_and_tokenizer_files_hold_no_secrets():
    digests = "\n".join(f"| file-{n} | sha256:{VALUES['sha256']} | {VALUES['git_sha']} |" for n in range(200))
    assert screen("README.md", digests.encode()) == []
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{VALUES['sha256']}\nsize 269\n"
    assert screen("model.safetensors.txt", pointer.encode()) == []
    vocabulary = json.dumps({"model": {"vocab": {f"token{n}": n for n in range(5000)}}, "pad_token": "<pad>"})
    assert screen("tokenizer.json", vocabulary.encode()) == []


def test_keys_are_found_in_a_utf16_file_and_in_other_encodings():
    text = f"Schlüssel: {VALUES['aws_key']}\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"):
        assert "aws_access_key" in rules(screen("a.txt", text.encode(encoding))), encoding


def test_a_file_made_of_findings_ends_in_time():
    line = ("[" + ",".join(f'"{VALUES["ghp"]}"' for _ in range(1500)) + "]\n").encode()
    started = time.monotonic()
    findings = screen(
        "a.jsonl", line * 40 + b"".join(VALUES["hf"].encode() + b"\n" for _ in range(20_000)), budget_s=1.0
    )
    assert time.monotonic() - started < 5
    assert worst(findings) == "block"


def test_a_text_that_is_no_file_is_screened_under_its_own_name():
    finding = only(screen_text(f"see {VALUES['glpat']}", where="description of pull request 3"))
    assert finding.where == "description of pull request 3" and finding.severity == "block"


def test_no_scanner_trips_on_the_screens_own_files():
    folder = Path(moderation.screens.__file__).parent
    plugins = [
        {"name": name} for name in ("AWSKeyDetector", "GitHubTokenDetector", "PrivateKeyDetector", "SlackDetector")
    ]
    with transient_settings({"plugins_used": [*plugins, {"name": "StripeDetector"}, {"name": "JwtTokenDetector"}]}):
        for path in [*folder.glob("*.py"), *folder.glob("*.jsonl"), *Path(__file__).parent.glob("*.py")]:
            assert not [found for line in path.read_text().splitlines() for found in scan_line(line)], path.name
            assert worst(screen(path.name, path.read_bytes())) != "block", path.name
