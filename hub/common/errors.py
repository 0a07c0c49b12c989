"""One family of refusals. A message is one sentence for the person: what, where, and how to mend it.

Skins turn them into JSON, HTML or git text (hub.api.error_responses); rules below raise the nearest."""


class HubError(Exception):
    """A refusal. `status` is the HTTP status, `code` the X-Error-Code that huggingface_hub reads."""

    status = 400
    code = ""

    def __init__(
        self, message: str, *, code: str | None = None, headers: dict[str, str] | None = None, **extra: object
    ):
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.headers = headers or {}
        self.extra = extra  # further keys of the JSON body


class InvalidInput(HubError):
    """The request is understood and wrong."""


class NotSignedIn(HubError):
    status = 401


class Forbidden(HubError):
    status = 403


class QuotaExceeded(Forbidden):
    """403, because clients try 413 and 5xx again or hide what they say."""


class NotFound(HubError):
    status = 404


class RepoNotFound(NotFound):
    """Missing, or private to others: the two look the same."""

    code = "RepoNotFound"


class RevisionNotFound(NotFound):
    code = "RevisionNotFound"


class Disabled(HubError):
    """Moderation took it offline. The stock client knows it by these words of a header, and raises DisabledRepoError."""

    status = 403

    def __init__(self, message: str):
        super().__init__(message, headers={"X-Error-Message": "Access to this resource is disabled."})


class ReleaseDisabled(Disabled, RevisionNotFound):
    """One release of a repository: gone as a revision, and for whoever pinned it with the words of Disabled."""

    code = ""


class EntryNotFound(NotFound):
    code = "EntryNotFound"


class Gated(HubError):
    status = 403
    code = "GatedRepo"


class Withheld(HubError):
    """The bytes exist and moderation has not cleared them for this reader."""

    status = 403
    code = "ContentWithheld"


class Conflict(HubError):
    status = 409


class StaleCommit(HubError):
    """The stated parent is not the head any more."""

    status = 412


class TooLarge(HubError):
    status = 413


class RangeNotSatisfiable(HubError):
    status = 416


class NotSupported(HubError):
    """501, because the stock client retries every other 5xx."""

    status = 501


class TooManyAttempts(HubError):
    """Wait as long as Retry-After says."""

    status = 429
