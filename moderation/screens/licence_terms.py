"""What a licence asks of whatever is made from the thing it covers: facts about common licences, each with its source.

Facts, not advice. What is not in the table is unknown here, and said to be unknown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CREATIVE_COMMONS = "https://creativecommons.org/licenses"


@dataclass(frozen=True)
class Terms:
    """Of one licence. `passes_to`: what may stand on a derivative where the licence says which; None: any."""

    name: str  # in lower case, as cards write it; SPDX's identifier where SPDX has one
    source: str
    is_commercial: bool = True  # commercial use is allowed
    is_changeable: bool = True  # changed versions may be passed on
    passes_to: frozenset[str] | None = None
    is_custom: bool = False  # restrictions of use, or an agreement of its own, that go along with every derivative


def _rows(names: str, source: str, **facts: Any) -> Iterator[Terms]:
    for name in names.split():
        yield Terms(name, source.format(version=name.rsplit("-", 1)[-1]), **facts)


def _alike(name: str, also: str, source: str, **facts: Any) -> Iterator[Terms]:
    yield Terms(name, source, passes_to=frozenset({name, *also.split()}), **facts)


TABLE: tuple[Terms, ...] = (
    # Notices stay, and little else: nothing that another licence on the derivative would break.
    *_rows(
        "apache-2.0 mit isc 0bsd zlib ncsa ms-pl postgresql bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 afl-3.0 "
        "artistic-2.0 ecl-2.0 unlicense wtfpl",
        "https://opensource.org/licenses; text at https://spdx.org/licenses",
    ),
    *_rows("cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
    *_rows("pddl odc-by", "https://opendatacommons.org/licenses"),
    *_rows("cdla-permissive-1.0 cdla-permissive-2.0", "https://cdla.dev; 2.0, section 3: results are not restricted"),
    *_rows("openmdw-1.0 open-mdw", "https://openmdw.ai/license/1-0: no restriction on use, modification, distribution"),
    *_rows("etalab-2.0", "https://www.etalab.gouv.fr/licence-ouverte-open-licence: attribution alone"),
    *_rows("cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0", CREATIVE_COMMONS + "/by/{version}/legalcode, section 3"),
    # Share alike. Later versions: section 4(b) of the older texts; GPL: the list of compatible licences.
    *_alike("cc-by-sa-3.0", "cc-by-sa-4.0", CREATIVE_COMMONS + "/by-sa/3.0/legalcode, section 4(b)"),
    *_alike("cc-by-sa-4.0", "gpl-3.0", "https://creativecommons.org/compatiblelicenses (GPLv3 since 2015)"),
    *_alike("gpl-2.0", "", "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html, section 2(b)"),
    *_alike("gpl-3.0", "agpl-3.0", "https://www.gnu.org/licenses/gpl-3.0.html, sections 5(c) and 13"),
    *_alike("agpl-3.0", "gpl-3.0", "https://www.gnu.org/licenses/agpl-3.0.html, sections 5(c) and 13"),
    *_alike("lgpl-2.1", "gpl-2.0 gpl-3.0 lgpl-3.0", "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html, section 3"),
    *_alike("lgpl-3.0", "gpl-3.0 agpl-3.0", "https://www.gnu.org/licenses/lgpl-3.0.html, section 2"),
    *_alike("mpl-2.0", "gpl-2.0 gpl-3.0 agpl-3.0 lgpl-2.1 lgpl-3.0",
            "https://www.mozilla.org/MPL/2.0, sections 1.12 and 3.3"),
    *_alike("osl-3.0", "", "https://opensource.org/license/osl-3-0-php, section 1(c)"),
    *_alike("eupl-1.2", "gpl-2.0 gpl-3.0 agpl-3.0 osl-3.0 mpl-2.0 lgpl-2.1 lgpl-3.0 cc-by-sa-3.0",
            "https://eupl.eu/1.2/en, section 5 and appendix"),
    *_alike("odbl", "", "https://opendatacommons.org/licenses/odbl/1-0, section 4.4"),
    *_alike("cdla-sharing-1.0", "", "https://cdla.dev/sharing-1-0, section 3.1"),
    *_alike("gfdl", "", "https://www.gnu.org/licenses/fdl-1.3.html, section 4"),
    # Not for commercial use.
    *_rows("cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0", CREATIVE_COMMONS + "/by-nc/{version}/legalcode", is_commercial=False),
    *_alike("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", CREATIVE_COMMONS + "/by-nc-sa/3.0/legalcode, section 4(b)",
            is_commercial=False),
    *_alike("cc-by-nc-sa-4.0", "", CREATIVE_COMMONS + "/by-nc-sa/4.0/legalcode, section 3(b)", is_commercial=False),
    # No changed versions.
    *_rows("cc-by-nd-3.0 cc-by-nd-4.0", CREATIVE_COMMONS + "/by-nd/{version}/legalcode, section 2(a)", is_changeable=False),
    *_rows("cc-by-nc-nd-3.0 cc-by-nc-nd-4.0", CREATIVE_COMMONS + "/by-nc-nd/{version}/legalcode, section 2(a)",
           is_changeable=False, is_commercial=False),
    # Restrictions of use that every derivative has to pass on (RAIL), and agreements of one maker.
    *_alike("creativeml-openrail-m", "", "https://huggingface.co/spaces/CompVis/stable-diffusion-license, section 4 and III.5",
            is_custom=True),
    *_alike("openrail++", "", "CreativeML Open RAIL++-M, section III.4 and attachment A", is_custom=True),
    *_alike("bigscience-openrail-m", "", "https://www.licenses.ai/blog/2022/8/26/bigscience-open-rail-m-license, section 4",
            is_custom=True),
    *_alike("bigscience-bloom-rail-1.0", "", "https://huggingface.co/spaces/bigscience/license, section 4", is_custom=True),
    *_alike("bigcode-openrail-m", "", "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement, section 4",
            is_custom=True),
    *_alike("openrail", "", "https://www.licenses.ai: every RAIL passes its restrictions of use on", is_custom=True),
    *_alike("llama2", "", "https://ai.meta.com/llama/license, section 1(b)", is_custom=True),
    *_alike("llama3", "", "https://www.llama.com/llama3/license, section 1(b)", is_custom=True),
    *_alike("llama3.1", "", "https://www.llama.com/llama3_1/license, section 1(b)", is_custom=True),
    *_alike("llama3.2", "", "https://www.llama.com/llama3_2/license, section 1(b)", is_custom=True),
    *_alike("llama3.3", "", "https://www.llama.com/llama3_3/license, section 1(b)", is_custom=True),
    *_alike("llama4", "", "https://www.llama.com/llama4/license, section 1(b)", is_custom=True),
    *_alike("gemma", "", "https://ai.google.dev/gemma/terms, section 3.1", is_custom=True),
    *_alike("deepfloyd-if-license", "", "https://github.com/deep-floyd/IF, LICENSE-MODEL, section 1(b)", is_custom=True),
)  # fmt: skip
TERMS = {terms.name: terms for terms in TABLE}
# SPDX writes whether later versions may be chosen; that choice widens what may follow, which is left to a person.
ALIASES = {
    **{f"{name}-{kind}": name for name in ("gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-2.1", "lgpl-3.0")
       for kind in ("only", "or-later")},
    "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "gfdl-1.3-only": "gfdl", "gfdl-1.3-or-later": "gfdl",
    "lgpl": "lgpl-3.0", "apache 2.0": "apache-2.0",
}  # fmt: skip


def find_terms(name: str) -> Terms | None:
    """What is known of a licence by the name that a card gives it; None: nothing."""
    lowered = name.strip().lower()
    return TERMS.get(ALIASES.get(lowered, lowered))


def named_licences(card: dict[str, Any]) -> list[str]:
    """The licences that a card names, in lower case; several are a choice. `other` stands for its license_name."""
    stated = card.get("license")
    names = [str(name).strip().lower() for name in (stated if isinstance(stated, list) else [stated]) if name]
    own = str(card.get("license_name") or "").strip().lower()
    return list(dict.fromkeys(own if name == "other" and own else name for name in names))


def why_not_follow(upstream: str, own: str) -> str:
    """ "" where what is made under `upstream` may be passed on under `own`, else what stands against it: "forbids ..."."""
    above, below = find_terms(upstream), find_terms(own)
    if above is None or not above.is_changeable:
        return "forbids that changed versions are passed on" if above else ""
    if above.passes_to is not None:
        if (below.name if below else own) in above.passes_to:
            return ""
        if above.is_custom:
            return "asks that its restrictions of use and its text go along with whatever is made from it"
        return "asks that what is made from it has the same licence"
    if not above.is_commercial and (below is None or below.is_commercial):
        return "forbids commercial use"
    return ""


def may_follow(upstream: str) -> str:
    """Licences that may stand on what is made under `upstream`, for a sentence; "" for none or any."""
    terms = find_terms(upstream)
    if terms is None or not terms.is_changeable:
        return ""
    if terms.passes_to is not None:
        return " or ".join([terms.name, *sorted(terms.passes_to - {terms.name})])
    return "" if terms.is_commercial else f"{terms.name} or another that forbids it"
