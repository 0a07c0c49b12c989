"""What was decided follows again from what is stored, and a change of either shows."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from moderation.models import Finding, Release, Screening
from tests.guards import lifted
from training.models import Sampling

pytestmark = pytest.mark.django_db(transaction=True)


def recompute() -> str:
    said = StringIO()
    try:
        call_command("recompute_verdicts", stdout=said)
    except CommandError as problem:
        return said.getvalue() + str(problem)
    return said.getvalue()


def test_every_verdict_follows_from_what_is_stored(published: Release) -> None:
    assert recompute() == "All 2 verdicts are what their evidence says.\n"


def test_a_change_of_evidence_or_verdict_shows(published: Release) -> None:
    screening = Screening.objects.get(subject="output")
    report, answers = screening.report, Sampling.objects.get().answers
    rows = Screening.objects.filter(pk=screening.pk)

    def try_it(change: Any, undo: Any, sentence: str) -> None:
        change()
        said = recompute()
        assert sentence in said and "1 of 2 verdicts" in said, said
        undo()

    hazards = {**report["hazards"], "overall": {**report["hazards"]["overall"], "verdict": "fail"}}
    try_it(
        lambda: rows.update(report={**report, "hazards": hazards}), lambda: rows.update(report=report),
        "overall: fail is stored, and pass computed",
    )  # fmt: skip
    key = "AKIA" + "QYLPMN5HNXZ3TEST"
    leaky = [{**answers[0], "text": f"Take aws_access_key_id = {key}"}, *answers[1:]]
    try_it(
        lambda: Sampling.objects.update(answers=leaky), lambda: Sampling.objects.update(answers=answers),
        "findings are stored",
    )  # fmt: skip
    try_it(
        lambda: rows.update(state="held"), lambda: rows.update(state="passed"), "it is held, and passed by its answers"
    )
    with lifted():
        released = Release.objects.filter(pk=published.pk)
        try_it(
            lambda: released.update(manifest={**published.manifest, "version": "1.0.1"}),
            lambda: released.update(manifest=published.manifest),
            "another digest than the one that was approved",
        )
    assert not Finding.objects.filter(content=None, severity="block").exists()
    assert "All 2 verdicts" in recompute()
