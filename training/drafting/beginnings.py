"""A model from nothing: which network, from which texts, for how long; what that takes, and the recipe that says it."""

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from hub.common.errors import InvalidInput
from hub.repos.find import find_repo
from hub.repos.models import Repo
from training.drafting.choices import data_for
from training.drafting.drafts import MAX_DATASETS, Draft
from training.drafting.estimates import (
    QUICK_S,
    STARTUP_S,
    Estimate,
    Fit,
    Size,
    fit_memory,
    say_figures,
    say_roughly,
    seconds_per_token,
)
from training.drafting.starts import Start, newest_name
from training.drafting.wizard import Chosen, list_suites, look_at_one
from training.engine.networks import NETWORKS, Preset, count_parameters, describe_network, find_preset
from training.engine.recipe import (
    Architecture,
    Columns,
    Contribution,
    EvaluateSuite,
    Recipe,
    RepoRef,
    Train,
    TrainTokenizer,
    format_recipe,
)

USUAL_FAMILY, USUAL_SIZE = "llama", "10m"
MIN_VOCABULARY, MAX_VOCABULARY = 260, 1 << 18
MIN_TASTE_TOKENS = 20_000
SHOWN_DATASETS = 24
LITTLE = 20  # times fewer tokens than it learns well from
SENSIBLE_S = 86400.0  # a plan that takes longer is advised against
LENGTHS = (
    Size("taste", "A taste", "It learns which letters follow one another.", 0),
    Size("once", "Once through the data", "Every text is read once.", 1),
    Size("whole", "As long as it pays", "20 tokens a parameter, the data again and again if it is less.", 0),
)


@dataclass(frozen=True)
class Beginning:
    """The answers given so far, as they stand in the address."""

    family: str = USUAL_FAMILY
    size: str = USUAL_SIZE
    vocabulary: int = 0  # 0: what suits the size
    data: tuple[str, ...] = ()
    length: str = "taste"
    title: str = ""
    problem: str = ""  # with what was typed

    @property
    def preset(self) -> Preset:
        return find_preset(self.family, self.size)

    @property
    def tokens_known(self) -> int:
        """Of the tokenizer that will be trained."""
        return self.vocabulary or self.preset.vocabulary

    @property
    def parameters(self) -> int:
        return count_parameters(self.preset, self.tokens_known)


def read_beginning(query: QueryDict) -> Beginning:
    """What is not known is taken as its usual value; what a person typed and cannot be is a problem."""
    family, size, length = query.get("family", ""), query.get("size", ""), query.get("length", "")
    family = family if family in NETWORKS else USUAL_FAMILY
    vocabulary = query.get("vocabulary", "")
    is_number = vocabulary.isascii() and vocabulary.isdigit() and len(vocabulary) <= 6
    is_good = is_number and MIN_VOCABULARY <= int(vocabulary) <= MAX_VOCABULARY
    return Beginning(
        family=family,
        size=size if size in NETWORKS[family].sizes else USUAL_SIZE,
        vocabulary=int(vocabulary) if is_good else 0,
        data=tuple(dict.fromkeys(name[:200] for name in query.getlist("data") if name))[:MAX_DATASETS],
        length=length if length in {row.name for row in LENGTHS} else "taste",
        title=query.get("title", "").strip(),
        problem=f"The vocabulary is a whole number from {MIN_VOCABULARY:,} to {MAX_VOCABULARY:,}; leave it empty for what suits the "
        "size."
        if vocabulary and not is_good
        else "",
    )


@dataclass(frozen=True)
class Cost:
    """What a network takes on this machine."""

    preset: Preset
    parameters: int
    fit: Fit
    lengths: list[Estimate]  # of those whose tokens are known: once through the data when it was looked at
    million_tokens_s: float

    @property
    def million_tokens(self) -> str:
        return f"about {say_roughly(self.million_tokens_s)}" if self.million_tokens_s >= 60 else "less than a minute"

    @property
    def by_length(self) -> list[tuple[Size, Estimate | None]]:
        known = {row.size: row for row in self.lengths}
        return [(size, known.get(size)) for size in LENGTHS]


def cost_of(beginning: Beginning, tokens: int = 0) -> Cost:
    """`tokens` of the chosen texts, where somebody looked."""
    start = start_of(beginning)
    pace = seconds_per_token(start)
    counts = {row: tokens if row.passes else count_tokens(beginning, row.name) for row in LENGTHS}
    rows = [Estimate(row, STARTUP_S + count * pace, False) for row, count in counts.items() if count]
    return Cost(beginning.preset, beginning.parameters, fit_memory(start), rows, 1e6 * pace)


@dataclass(frozen=True)
class Texts:
    """The chosen datasets, as a network that knows no tokens yet would read them."""

    rows: tuple[Chosen, ...]
    columns: dict[str, str]  # name of a dataset -> its column with the text, where that is not called so

    @property
    def tokens(self) -> int:
        """Roughly: the tokenizer is trained later."""
        return sum(row.preview.likely_tokens for row in self.rows)

    @property
    def refusal(self) -> str:
        """Why nothing can be learnt from them as they are, and what to do, or ""."""
        refused = next((row for row in self.rows if row.refusal), None)
        if refused is None:
            return ""
        name = refused.repo.full_name
        which = "" if name in refused.refusal else f"{name}: "
        return (
            f"{which}{refused.refusal} Put the texts alone into a dataset of their own, each in a row with the "
            "column text, and tick that one."
        )


def look_at_texts(beginning: Beginning, user: Any) -> Texts:
    """Each dataset by the wizard's own look, with the column that holds its texts. Raises RepoNotFound."""
    rows, columns = [], {}
    for name in beginning.data:
        row = look_at_one(name, Draft(goal="text", data=(name,)), user, None)
        guess: dict[str, str] = next(
            (item["guess"] for item in row.preview.findings if item["name"] == "wrong_column"), {}
        )
        if "text" in guess:
            columns[row.repo.full_name] = guess["text"]
            row = look_at_one(name, Draft(goal="text", data=(name,), columns=(("text", guess["text"]),)), user, None)
        rows.append(row)
    return Texts(tuple(rows), columns)


def warn_of_little(beginning: Beginning, tokens: int) -> str:
    """What so few texts do to so large a network, or ""."""
    enough = beginning.preset.tokens
    if not tokens or tokens * LITTLE >= enough:
        return ""
    return (
        f"Your texts have about {say_figures(tokens)} tokens, and a model of this size learns well from {say_figures(enough)}. "
        "From so few it learns your texts by heart and little else: add texts, choose a smaller size, or improve a model that "
        "is there."
    )


def advise(beginning: Beginning) -> str:
    """What to choose instead where this machine would train for longer than a day, or ""."""
    pace = seconds_per_token(start_of(beginning))
    whole_s = STARTUP_S + beginning.preset.tokens * pace
    if whole_s <= SENSIBLE_S:
        return ""
    sizes = [Beginning(beginning.family, size) for size in NETWORKS[beginning.family].sizes]
    fitting = [row for row in sizes if STARTUP_S + row.preset.tokens * seconds_per_token(start_of(row)) <= SENSIBLE_S]
    largest = max(fitting, key=lambda row: row.parameters, default=None)
    instead = (
        f"The largest size of this family that learns all it can within a day here is {in_words(largest.size)} parameters."
        if largest
        else "No size of this family does so within a day here: choose a taste or a larger machine."
    )
    million = max(0.0, (SENSIBLE_S - STARTUP_S) / pace / 1e6)
    return (
        f"To train this size for as long as it pays takes about {say_roughly(whole_s)} on this machine, which is not "
        f"sensible. {instead} At this size a day is enough for about {float(f'{million:.2g}'):,g} million tokens: "
        "passes over the data count each time."
    )


def in_words(size: str) -> str:
    """10m reads like ten metres: "10 million"."""
    return f"{size[:-1]} {'billion' if size.endswith('b') else 'million'}"


def start_of(beginning: Beginning) -> Start:
    """The wizard's word for what a proposal starts from, so that its estimates serve here as well."""
    network = describe_network(beginning.preset, beginning.tokens_known)
    return Start(make_recipe(beginning, (), ()), None, None, "", parameters=beginning.parameters, config=network)


def count_tokens(beginning: Beginning, length: str) -> int:
    if length == "whole":
        return beginning.preset.tokens
    affordable = round(QUICK_S / seconds_per_token(Start(None, None, None, "", parameters=beginning.parameters)))
    return max(MIN_TASTE_TOKENS, affordable)


def list_datasets(user: Any, beginning: Beginning) -> list[Repo]:
    """What was chosen, then what may be read and is no evaluation suite."""
    found = data_for(user).order_by("-updated_at")
    chosen = find_data(beginning, user)
    return [*chosen, *found.exclude(pk__in=[repo.pk for repo in chosen])[:SHOWN_DATASETS]]


def find_data(beginning: Beginning, user: Any) -> list[Repo]:
    """The chosen datasets. Raises RepoNotFound for one that is not there for this person."""
    return [find_repo("dataset", name, user, action="read_files") for name in beginning.data]


def compose(beginning: Beginning, user: Any) -> str:
    """The recipe as YAML. Raises InvalidInput without data, for data without texts, and for what was typed wrong."""
    if beginning.problem:
        raise InvalidInput(beginning.problem)
    if not beginning.data:
        raise InvalidInput("Tick at least one dataset: the model learns from what you choose.")
    data, texts = find_data(beginning, user), look_at_texts(beginning, user)
    if texts.refusal:
        raise InvalidInput(texts.refusal)
    suites = [EvaluateSuite(RepoRef(repo.full_name, newest_name(repo))) for repo in list_suites(user)[:1]]
    mix = tuple(contribution_of(repo, texts.columns.get(repo.full_name)) for repo in data)
    return format_recipe(make_recipe(beginning, mix, tuple(suites)))


def contribution_of(repo: Repo, column: str | None) -> Contribution:
    columns = Columns(text=(column,)) if column else None
    return Contribution("data", RepoRef(repo.full_name, repo.default_branch), format="text", columns=columns)


def make_recipe(beginning: Beginning, mix: tuple[Contribution, ...], suites: tuple[EvaluateSuite, ...]) -> Recipe:
    preset = beginning.preset
    length: dict[str, Any] = {"epochs": 1.0}
    if beginning.length != "once":
        length = {"tokens": count_tokens(beginning, beginning.length)}
    return Recipe(
        version=1,
        architecture=Architecture(
            preset.family, preset.layers, preset.width, preset.heads, preset.kv_heads, preset.context_tokens
        ),
        tokenizer=TrainTokenizer(vocabulary=beginning.tokens_known),
        contributions=mix,
        train=Train(method="pretrain", **length),
        evaluate=suites,
    )
