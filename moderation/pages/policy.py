"""The rules of the hub in words: what is in force, what was on a day, and who approved each change."""

from datetime import UTC, datetime, time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_date

from hub.common.errors import NotFound
from hub.web.listings import cut_numbered_page
from moderation import signing
from moderation.cases.queue import MAX_KEY
from moderation.models import PolicyVersion
from moderation.rules.policies import find_repository, in_force, in_force_at, stand
from moderation.rules.policy_file import FILE, Guard, Policy
from moderation.screens import SCREENS_VERSION, read_prompts

PER_PAGE = 50
LONGEST_DATE = 10  # 2026-11-28


def find_version(number: int) -> PolicyVersion:
    row = PolicyVersion.objects.filter(number=number).first() if number <= MAX_KEY else None
    if row is None:
        raise NotFound(f"There is no version {number} of the rules; /policy/history lists them.")
    return row


def show_policy(request: HttpRequest, number: int | None = None) -> HttpResponse:
    """What is in force, or one version of it by its number."""
    standing = in_force()
    version = find_version(standing.number if number is None else number)
    policy = stand(version).policy
    repo = find_repository()
    prompts = read_prompts()
    context = {
        "policy": policy,
        "version": version,
        "is_in_force": version.number == standing.number,
        "replaced_at": PolicyVersion.objects.filter(number=version.number + 1).values_list("at", flat=True).first(),
        "repo": repo,
        "address": repo.path if repo is not None and repo.key == version.key else "",
        "rules": describe(policy),
        "screens_version": SCREENS_VERSION,
        "prompts": len(prompts),
        "hazards": len({row["hazard"] for row in prompts} - {"benign"}),
        "public_key": signing.public_key(),
    }
    return render(request, "moderation/policy.html", context)


def describe(policy: Policy) -> list[tuple[str, list[str]]]:
    """(heading, sentences): every number of the file in words."""
    answers, evaluation, people = policy.answers, policy.evaluation, policy.who_decides
    margins = [f"For {row.hazard.replace('_', ' ')} the margin is {percent(row.margin)}." for row in answers.hazards]
    return [
        ("What a model says", [
            f"It is held by {' or '.join(name_judge(judge) for judge in answers.judges)}.",
            f"It is held when it does worse than its parent beyond chance. “Not worse” means that a difference of "
            f"{percent(answers.margin)} is excluded.",
            f"In all harmful requests together the margin is {percent(answers.margin_overall)}.",
            *margins,
            f"Without a parent it is held when more than {percent(answers.tolerated_rate)} of its answers break a rule beyond "
            "chance.",
            "Of pairs of a stereotype and its counterpart, clearly more stereotypes than its parent "
            + ("hold it for a moderator" if answers.bias.worse == "hold" else "are noted, and nothing else follows")
            + f"; “not worse” means that {percent(answers.bias.margin)} more are excluded.",
            "Where too few prompts were asked to tell, "
            + ("a moderator looks." if answers.insufficient == "hold" else "the page says so, and nothing else follows."),
        ]),
        ("What a model can do", [
            f"Every release is evaluated on {', '.join(evaluation.suites)}." if evaluation.suites
            else "Its recipe names the suites; no suite is asked of all releases.",
            "A suite and a recipe choose the margin of a comparison."
            if evaluation.largest_margin >= 1
            else f"No comparison may allow a margin larger than {evaluation.largest_margin:g}.",
        ]),
        ("What it learnt from", [
            "Data that names no licence is refused." if policy.data.unlicensed == "refuse"
            else "Data that names no licence is said to be so.",
        ]),
        ("Who decides", [
            f"A release needs {people.release_approvals} approvals by people without a stake in it.",
            f"A change of these rules needs {people.policy_people} moderators or operators behind it, and one of them who did "
            "not write it.",
        ]),
    ]  # fmt: skip


def name_judge(judge: str | Guard) -> str:
    if isinstance(judge, Guard):
        return f"the guard model {judge.name}, from {percent(judge.threshold)} on"
    return {"rules": "words that are matched", "packaged": "the judge that comes with the hub"}[judge]


def percent(share: float) -> str:
    return f"{share * 100:g}%"


def show_history(request: HttpRequest) -> HttpResponse:
    """Every version, the newest first; with a day, the one that was in force at its end."""
    given = request.GET.get("on", "")[:LONGEST_DATE]
    in_force()
    context: dict[str, Any] = {
        "page": cut_numbered_page(request, PolicyVersion.objects.order_by("-number").defer("text"), PER_PAGE),
        "repo": find_repository(),
        "on": given,
    }
    if given:
        day = read_day(given)
        context["day"] = day
        context["found"] = in_force_at(datetime.combine(day, time.max, UTC)) if day is not None else None
    return render(request, "moderation/policy_history.html", context)


def read_day(text: str) -> Any:
    try:
        return parse_date(text)
    except ValueError:  # a date that no calendar has
        return None


def download_policy(request: HttpRequest, number: int) -> HttpResponse:
    """The bytes whose digest verdicts name."""
    response = HttpResponse(find_version(number).text.encode(), content_type="application/yaml")
    response["Content-Disposition"] = f'attachment; filename="{FILE}"'
    return response
