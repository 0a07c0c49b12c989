"""Licences: what a card says, what a licence file is, and notices that forbid publication.

Decisions: a licence never withholds content by itself, for people may lawfully publish under any terms; it decides
about releases, so a missing, unknown or non-commercial one is `info` here and the release gate reads it. Two things
are a `hold`: a card that reserves all rights, and a text marked confidential."""

import difflib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from moderation.screens.findings import Finding, Severity, quote

OPEN = set(
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
    "wtfpl ecl-2.0 "
    "epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc "
    "h-research "
    "intel-research lppl-1.3c ms-pl mpl-2.0 odc-by odbl open-mdw openmdw-1.0 openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa "
    "unlicense zlib pddl gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 deepfloyd-if-license 0bsd "
    "apple-amlr apple-ascl".split()
)
LIMITED = re.compile(r"(?:^|-)(?:nc|noncommercial|non-commercial|nd)(?:-|$)|research-only|academic|fair-noncommercial")
RESERVED = re.compile(r"all rights reserved|proprietary|confidential|no licen[cs]e", re.I)
SAMPLES_BYTES = 64 << 10
TEXTS: tuple[tuple[str, str], ...] = (
    ("apache-2.0", r"apache license\s+version 2\.0"),
    ("agpl-3.0", r"gnu affero general public license\s+version 3"),
    ("lgpl-3.0", r"gnu lesser general public license\s+version 3"),
    ("gpl-3.0", r"gnu general public license\s+version 3"),
    ("gpl-2.0", r"gnu general public license\s+version 2"),
    ("mpl-2.0", r"mozilla public license,? version 2\.0"),
    ("mit", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("isc", r"permission to use, copy, modify, and/?o?r? distribute this software for any purpose with or without fee"),
    ("bsd-3-clause", r"redistribution and use in source and binary forms(?s:.)*neither the name of"),
    ("bsd-2-clause", r"redistribution and use in source and binary forms"),
    ("cc0-1.0", r"cc0 1\.0 universal"),
    ("cc-by-nc-sa-4.0", r"attribution-noncommercial-sharealike 4\.0 international"),
    ("cc-by-nc-4.0", r"attribution-noncommercial 4\.0 international"),
    ("cc-by-sa-4.0", r"attribution-sharealike 4\.0 international"),
    ("cc-by-4.0", r"attribution 4\.0 international"),
    ("odbl", r"open database licen[cs]e \(odbl\)"),
    ("unlicense", r"this is free and unencumbered software released into the public domain"),
)
CONFIDENTIAL = re.compile(
    rb"\b(?:strictly confidential|company confidential|confidential and proprietary"
    rb"|confidential[^.\n]{0,60}\b(?:do not|not to be|not for) (?:distribut\w+|shar\w+|disclos\w+|publish\w*)"
    rb"|(?:do not|not for) (?:distribute|distribution|redistribution|publication)\b[^.\n]{0,40}\bconfidential)",
    re.I,
)


def licence_findings(card_yaml: dict[str, Any], files: list[str]) -> list[Finding]:
    """Findings about the `license` of a card's front matter. `files`: the repository's paths, among which a licence
    text may stand in for a named licence."""
    stated = card_yaml.get("license")
    names = [str(name).strip().lower() for name in (stated if isinstance(stated, list) else [stated]) if name]
    has_text = any(is_licence_file(path) for path in files)
    if not names:
        found = "though a licence file is there" if has_text else "and no licence file is there"
        message = (
            f"README.md names no licence {found}; a release needs one: write `license: apache-2.0` (or yours) on top."
        )
        return [_finding("missing_licence", "info", "license: (none)", message)]
    return [finding for name in names for finding in _judge(name, card_yaml, has_text)]


def _judge(name: str, card: dict[str, Any], has_text: bool) -> Iterator[Finding]:
    excerpt = f"license: {name}"
    if RESERVED.search(name) or RESERVED.search(str(card.get("license_name", ""))):
        message = "README.md reserves all rights, so nobody may use this; name the licence under which you share it."
        yield _finding("rights_reserved", "hold", excerpt, message)
    elif name in ("other", "unknown"):
        if name == "unknown" or not (card.get("license_name") or card.get("license_link") or has_text):
            message = f"README.md gives the licence as `{name}` and not which; add license_name and license_link."
            yield _finding("unknown_licence", "info", excerpt, message)
    elif LIMITED.search(name):
        what = f"README.md states `{quote(name)}`, which forbids commercial use or changes"
        message = f"{what}; a release that is made from it inherits that."
        yield _finding("limited_licence", "info", excerpt, message)
    elif name not in OPEN:
        near = difflib.get_close_matches(name, sorted(OPEN), 1)
        hint = f"did you mean `{near[0]}`?" if near else "use an SPDX identifier such as `apache-2.0`, or `other`."
        message = f"README.md states the unknown licence `{quote(name)[:40]}`; {hint}"
        yield _finding("unknown_licence", "info", excerpt, message)


def is_licence_file(path: str) -> bool:
    stem = PurePosixPath(path.lower()).name.split(".", 1)[0]
    return stem in ("license", "licence", "copying", "unlicense") or stem.startswith(("license-", "licence-"))


def identify_licence(text: str) -> str:
    """The licence whose characteristic words the text holds, as the identifier used on cards; "" when none fits."""
    lowered = " ".join(text.lower().split())
    return next((name for name, words in TEXTS if re.search(words, lowered)), "")


def read_licence_text(name: str, beginning: bytes) -> Iterator[Finding]:
    """From the first block of a text file: which licence a licence file is, and notices of confidentiality."""
    sample = beginning[:SAMPLES_BYTES]
    if is_licence_file(name):
        found = identify_licence(sample.decode("utf-8", "replace"))
        said = f"reads like {found}" if found else "is no licence text that is known here"
        rule = "licence_text" if found else "unknown_licence_text"
        message = f"{name} {said}; README.md should name the same licence."
        yield Finding("licence", rule, "info", name, found or "unknown", message)
    if match := CONFIDENTIAL.search(sample):
        where = f"{name}:{sample.count(10, 0, match.start()) + 1}"
        message = f"{where} says that the text is confidential; a moderator asks whether you may publish it."
        excerpt = quote(match.group().decode("utf-8", "replace"))
        yield Finding("licence", "confidential", "hold", where, excerpt, message)


def _finding(rule: str, severity: Severity, excerpt: str, message: str) -> Finding:
    return Finding("licence", rule, severity, "README.md", quote(excerpt), message)
