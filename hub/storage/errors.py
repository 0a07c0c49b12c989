"""What the byte store and the git rooms raise. Each message is one sentence for the person who made the request."""


class StorageError(Exception):
    """Base of everything below; str() is one sentence that says what, where and, if it can be mended, how."""


class StoreUnavailable(Exception):
    """The storage behind the store does not answer at the moment; nothing is lost, and trying again helps.

    No StorageError: whoever mends one of those would take a pause for lost or refused bytes."""


class DigestMismatch(StorageError):
    """The bytes that arrived are not the bytes that were announced (digest or size)."""


class UnknownContent(StorageError):
    """Nothing with this digest is stored here."""


class InvalidRange(StorageError):
    """The byte range lies outside the file."""


class MalformedXorb(StorageError):
    """A xorb breaks the format, a limit, or its own hash."""


class MalformedShard(StorageError):
    """A shard breaks the format, or describes files that its xorbs do not hold."""


class MalformedSafetensors(StorageError):
    """The header of a safetensors file breaks the format."""


class NotOwned(StorageError):
    """A shard refers to chunks that the uploader has neither uploaded nor shown to hold."""


class TooLarge(StorageError):
    """A size limit is exceeded."""


class UnknownRevision(StorageError):
    """No branch, tag, reference or commit has this name."""


class UnknownPath(StorageError):
    """The commit holds no such file or folder."""


class StaleParent(StorageError):
    """The reference has moved on since the stated parent."""


class MergeConflict(StorageError):
    """Both sides changed the same files; `paths` lists them."""

    def __init__(self, paths: list[str]) -> None:
        shown = ", ".join(paths[:5]) + (" and more" if len(paths) > 5 else "")
        super().__init__(f"Both sides changed {shown}; bring the branch up to date and resolve the conflict there.")
        self.paths = paths


class InvalidOperation(StorageError):
    """A commit operation is refused as stated (bad path, bad name, contradiction)."""
