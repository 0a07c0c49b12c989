"""The bytes of a content, wherever they lie."""

import io
from typing import BinaryIO

from hub.repos.models import Content
from hub.repos.places import pair, store


def open_content(content: Content) -> BinaryIO:
    """Seekable. Raises UnknownContent."""
    if content.is_large:
        return store().open(content.oid)
    return io.BytesIO(pair(content.repo).members.read_blob(content.oid))
