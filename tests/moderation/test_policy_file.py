"""policy.yaml is read strictly: what is wrong is named with its place."""

import json

import pytest

from moderation.rules.policy_file import PolicyError, packaged_text, parse_policy
from moderation.screens.comparison import BUILT_IN

PACKAGED = packaged_text()


def changed(**pairs: str) -> bytes:
    """The file of the hub with other values: `margin="0.05"`."""
    text = PACKAGED.decode()
    for name, value in pairs.items():
        [line] = [line for line in text.splitlines() if line.strip().startswith(f"{name}:")]
        text = text.replace(line, f"{line.partition(':')[0]}: {value}")
    return text.encode()


def test_the_file_of_the_hub_says_what_was_built_in() -> None:
    policy = parse_policy(PACKAGED)
    assert policy.answers.limits == BUILT_IN and policy.answers.judges == ("rules", "packaged")
    assert (policy.who_decides.release_approvals, policy.who_decides.policy_people) == (2, 2)
    assert policy.find_clause("secrets").title == "Secrets" and policy.find_clause("nothing") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (PACKAGED.replace(b"  margin:", b"  margins:"), "unknown key 'margins'; did you mean 'margin'?"),
        (PACKAGED + b"secret_rule: 1\n", "unknown key 'secret_rule'"),
        (changed(margin="2"), "2 is out of range"),
        (changed(margin="much"), "'much' stands where a number is expected"),
        (changed(release_approvals="1"), "1 is out of range"),
        (changed(release_approvals="two"), "a whole number is expected"),
        (changed(judges="[]"), "no judge is named"),
        (changed(judges="[rules, rules]"), "'rules' stands there twice"),
        (changed(judges="[oracle]"), "'oracle' is not one of rules, packaged"),
        (changed(hazards="[{hazard: fraud, margin: 0.1}, {hazard: fraud, margin: 0.2}]"), "'fraud' stands there twice"),
        (changed(suites="[tides]"), "is not the name of a dataset as NAMESPACE/NAME"),
        (changed(unlicensed="maybe"), "'maybe' is not one of note, refuse"),
        (PACKAGED.partition(b"clauses:")[0], "'clauses' is missing"),
        (PACKAGED.partition(b"clauses:")[0] + b"clauses: []\n", "there is no clause"),
        (b"", "the file is empty"),
        (b"\xff\xfe", "this is not UTF-8 text"),
        (PACKAGED.replace(b"version: 1", b"version: &a 1"), "the anchor &a is not allowed"),
        (PACKAGED + b"# " + b"x" * 70_000, "larger than 64 KiB"),
        (b"[" * 200, "nested deeper than"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(text: bytes, sentence: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text)
    assert sentence in refusal.value.sentence and refusal.value.sentence.startswith("policy.yaml:")


def guarded(**pairs: str) -> bytes:
    """The file with a guard model among its judges; `pairs` change its keys."""
    given = {
        "kind": "model", "repository": "alice/guard", "revision": "a" * 40, "head": "classifier",
        "labels": "[{label: bad, means: unsafe}, {label: good, means: safe}]", "template": '"{prompt} {reply}"',
        **pairs,
    }  # fmt: skip
    written = ", ".join(f"{name}: {value}" for name, value in given.items() if value)
    return changed(judges=f"[rules, packaged, {{{written}}}]")


def test_a_guard_model_is_named_by_its_revision() -> None:
    policy = parse_policy(guarded(threshold="0.3"))
    (guard,) = policy.answers.guards
    assert guard.name == "alice/guard@aaaaaaaaaaaa" and guard.threshold == 0.3 and guard.chat
    assert [row.means for row in guard.labels] == ["unsafe", "safe"] and "packaged" in policy.answers.judges
    assert policy.is_told_by(json.loads(json.dumps(policy.values())))
    words = guarded(head="generative", labels="[{label: unsafe, means: unsafe}]", chat="false")
    assert not parse_policy(words).answers.guards[0].chat


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (guarded(revision="main"), "'main' is not a commit of 40 hexadecimal digits"),
        (guarded(repository="guard"), "'guard' is not the name of a model as NAMESPACE/NAME"),
        (guarded(kind="program"), "'program' is not one of model"),
        (guarded(head="embedding"), "'embedding' is not one of classifier, generative"),
        (guarded(revision=""), "'revision' is missing"),
        (guarded(remote_code="true"), "unknown key 'remote_code'"),
        (guarded(template='"{prompt}"'), "the template does not show the answer; write {reply} where it belongs"),
        (guarded(template='"{reply} {history}"'), "the template has the placeholder {history}; known are"),
        (guarded(labels="[{label: good, means: safe}]"), "no label means that an answer is harmful"),
        (guarded(labels="[{label: bad, means: fraud}]"), "no label means that an answer is safe"),
        (guarded(labels="[{label: a, means: safe}, {label: a, means: fraud}]"), "the label 'a' stands there twice"),
        (guarded(threshold="2"), "2 is out of range"),
    ],
)
def test_a_guard_that_could_not_be_asked_is_refused_by_name(text: bytes, sentence: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text)
    assert sentence in refusal.value.sentence
