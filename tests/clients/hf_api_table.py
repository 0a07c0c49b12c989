"""`python -m tests.clients.hf_api_table` writes docs/hf_api.md; test_surface.py says when that is due."""

from tests.clients.surface import ROOT, write_document

DOCUMENT = ROOT / "docs" / "hf_api.md"

if __name__ == "__main__":
    DOCUMENT.write_text(write_document())
