"""Which screens there are: the version of each, raised when its rules change, and what it goes by."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from moderation.screens.findings import Screen


@dataclass(frozen=True)
class ScreenSource:
    version: int
    source: str
    packages: tuple[str, ...] = ()  # whose releases change what it finds


SCREENS: dict[Screen, ScreenSource] = {
    "secrets": ScreenSource(1, "formats of keys as their issuers publish them; detect-secrets", ("detect-secrets",)),
    "personal_data": ScreenSource(1, "patterns with checksums (ISO/IEC 7812, ISO 13616) of this hub"),
    "unsafe_files": ScreenSource(
        3,
        "formats by their specifications: safetensors, GGUF, numpy, zip, tar; pyarrow and jinja2 in bounded children",
        ("modelaudit-picklescan", "pyarrow", "jinja2"),
    ),
    "licence": ScreenSource(1, "texts and identifiers of SPDX"),
    "hidden_text": ScreenSource(1, "Unicode TR36, TR39 and UTS51; rules of this hub"),
    "prompt_injection": ScreenSource(1, "arXiv 2302.12173 and OWASP LLM01; rules of this hub"),
    "harmful_text": ScreenSource(1, "rules of this hub; alt-profanity-check", ("alt-profanity-check",)),
    "contamination": ScreenSource(1, "longest shared text with public suites; arXiv 2411.03923"),
    "planted_triggers": ScreenSource(2, "Fisher's exact test, Bonferroni; arXiv 2510.07192; rules of this hub"),
}


def describe_screens() -> dict[str, dict[str, object]]:
    """What a record of a screening says of the screens that made it: {name: {"version", "source", "packages"}}."""
    return {
        name: {**asdict(screen), "packages": {package: _version_of(package) for package in screen.packages}}
        for name, screen in SCREENS.items()
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
