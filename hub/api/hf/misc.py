"""Small addresses: checking a card, what the client asks in passing, and a plain word for what is not here."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.api.hf.endpoints import View, answer, endpoint, read_json, text_of
from hub.common.errors import InvalidInput, NotFound, NotSupported, RepoNotFound
from hub.common.markdown import Card
from hub.repos.cards import read_card

TEXT_OR_LIST = ("license", "language", "base_model", "datasets", "tags", "task_categories", "size_categories")
ONE_TEXT = ("pipeline_tag", "library_name", "pretty_name", "license_name", "license_link")


def check_card(request: HttpRequest) -> HttpResponse:
    """Answers JSON whatever comes in; 400 when the metadata cannot be used."""
    try:
        body = read_json(request)
        content = text_of(body, "content")
    except InvalidInput as problem:
        return answer({"errors": [{"message": problem.message}], "warnings": []}, status=400)
    card = read_card(content)
    errors = [{"message": card.problem}] if card.problem else []
    errors += [{"message": message} for message in list_card_errors(card.metadata)]
    warnings = [] if errors else [{"message": message} for message in list_card_warnings(card)]
    return answer({"errors": errors, "warnings": warnings}, status=400 if errors else 200)


def list_card_errors(metadata: dict[str, Any]) -> list[str]:
    errors = []
    for key in TEXT_OR_LIST:
        value = metadata.get(key)
        is_list = isinstance(value, list) and all(isinstance(item, str | bool) for item in value)
        if value is not None and not is_list and not isinstance(value, str | bool):
            errors.append(f'"{key}" must be a text or a list of texts; write for example "{key}: [one, two]".')
    for key in ONE_TEXT:
        if metadata.get(key) is not None and not isinstance(metadata[key], str):
            errors.append(f'"{key}" must be a text.')
    return errors


def list_card_warnings(card: Card) -> list[str]:
    if not card.metadata:
        return ["empty or missing yaml metadata in repo card; begin README.md with '---', 'license: ...', '---'."]
    if not card.metadata.get("license"):
        return [
            "The card names no license: others may not use what it describes; add for example 'license: cc-by-4.0'."
        ]
    return []


def list_agents(request: HttpRequest) -> HttpResponse:
    return answer({"agents": []})


def ignore_telemetry(request: HttpRequest, **_: Any) -> HttpResponse:
    """The client counts its use in passing; nothing is kept here."""
    return HttpResponse(status=204)


def refuse_unknown(request: HttpRequest, **_: Any) -> HttpResponse:
    raise NotFound(f"This hub has no address {request.path}; its own ones are listed under /api/docs.")


def refuse_nameless(request: HttpRequest, *, type: str, name: str) -> HttpResponse:
    raise RepoNotFound(f"There is no {type} repository {name!r} here: every name is written NAMESPACE/NAME.")


def refuse_unsupported(what: str) -> View:
    """501, because the client retries every other 5xx."""

    def refuse(request: HttpRequest, **_: Any) -> HttpResponse:
        raise NotSupported(f"This hub has no {what}.")

    return every_method(refuse)


def every_method(view: View) -> View:
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return endpoint(**dict.fromkeys(methods, view))


validate_yaml = endpoint(POST=check_card)
agent_harnesses = endpoint(GET=list_agents)
telemetry = every_method(ignore_telemetry)
unknown = every_method(refuse_unknown)
nameless = every_method(refuse_nameless)
