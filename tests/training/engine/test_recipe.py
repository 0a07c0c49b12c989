"""A recipe is read whole or refused whole, with the place of every problem."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine import recipe as recipe_module
from training.engine.errors import RecipeErrors
from training.engine.recipe import (
    Architecture,
    Contribution,
    EvaluateSuite,
    Merge,
    MergeModel,
    Prepare,
    Recipe,
    RepoRef,
    Train,
    TrainTokenizer,
    describe_schema,
    format_recipe,
    parse_recipe,
    referenced_repos,
)
from training.engine.yaml_document import Node, format_scalar, read_yaml

DOCS = Path(__file__).parents[3] / "docs" / "recipe.md"

LORA = """\
version: 1
base: commons/small@v1.0.0
contributions:
  - data: alice/tides@main
    pull_request: 12
train: {method: lora, rank: 8, steps: 20}
evaluate:
  - suite: commons/core@v3
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(RecipeErrors) as refused:
        parse_recipe(text)
    return [str(problem) for problem in refused.value.problems]


def test_a_wrong_file_is_told_fifty_lines_long_at_most() -> None:
    told = problems_of(LORA + "".join(f"key{number}: 1\n" for number in range(3000)))
    assert len(told) == 50 and told[0].startswith("recipe.yaml:9:1: unknown key 'key0'")


def test_a_recipe_is_read_with_its_defaults() -> None:
    recipe = parse_recipe(LORA)
    assert recipe.base == RepoRef("commons/small", "v1.0.0")
    assert recipe.contributions == (
        Contribution("data", RepoRef("alice/tides", "main"), "train", "chat", 1.0, pull_request=12),
    )
    assert recipe.train == Train(method="lora", rank=8, steps=20)
    assert recipe.evaluate == (EvaluateSuite(RepoRef("commons/core", "v3"), None),)
    assert (recipe.tokenizer, recipe.output, recipe.prepare) == ("inherit", "merged", Prepare())


def test_what_came_later_and_is_not_used_does_not_change_the_digest_of_a_recipe() -> None:
    written = format_recipe(parse_recipe(LORA))
    assert not [key for key in ("compile", "objective", "beta", "target_margin") if key in written]
    assert "compile: on" in format_recipe(parse_recipe(LORA.replace("steps: 20", "steps: 20, compile: on")))


def test_one_epoch_is_trained_where_no_length_is_written() -> None:
    train = parse_recipe(LORA.replace(", steps: 20", "")).train
    assert train is not None and train.epochs == 1.0


def test_a_reference_without_a_revision_means_main() -> None:
    assert parse_recipe(LORA.replace("@v1.0.0", "")).base == RepoRef("commons/small", "main")


def test_every_problem_is_told_at_once_with_line_and_column() -> None:
    text = LORA.replace("rank: 8", "ranks: 8").replace("lora", "lor").replace("@main", "@../etc") + "outputs: merged\n"
    assert problems_of(text) == [
        "recipe.yaml:4:11: 'alice/tides@../etc' does not name a repository; "
        "write NAMESPACE/NAME@REVISION, such as commons/tides@main",
        "recipe.yaml:6:17: 'lor' is not one of pretrain, full, lora; did you mean 'lora'?",
        "recipe.yaml:6:22: unknown key 'ranks'; did you mean 'rank'?",
        "recipe.yaml:9:1: unknown key 'outputs'; did you mean 'output'?",
    ]


def test_what_is_planned_is_understood_where_it_is_only_shown() -> None:
    text = LORA.replace("  - data", "  - adapter: bob/words@main\n    weight: 0.6\n  - data")
    recipe = parse_recipe(text, allow_planned=True)
    assert [c.kind for c in recipe.contributions] == ["adapter", "data"]
    assert parse_recipe(format_recipe(recipe), allow_planned=True) == recipe


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("  - data", "  - adapter: bob/x@main\n  - data", "kind 'adapter' are not supported yet; use data:"),
        ("  - data", "  - model: bob/x@main\n  - data", "kind 'model' are not supported yet; use data:"),
        ("version: 1", "version: 1\ntokenizer: {extend: [<tide>]}", "extend is not supported yet"),
        (
            "base: commons/small@v1.0.0",
            "merge: {method: task_arithmetic, base: a/b@m, models: [{model: a/c@m}]}",
            "merge is not supported yet",
        ),
    ],
)
def test_what_is_planned_is_refused_by_name(old: str, new: str, what: str) -> None:
    (problem,) = problems_of(LORA.replace(old, new))
    assert what in problem


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("version: 1\n", "", "'version' is missing"),
        ("version: 1", "version: 2", "version 2 is newer than this program"),
        ("base: commons/small@v1.0.0\n", "", "the recipe has no start"),
        ("version: 1", "version: 1\narchitecture: {family: llama, layers: 1, width: 8, heads: 1}", "keep exactly one"),
        ("version: 1", "version: 1\ntokenizer: {train: {vocabulary: 300}}", "belong to the base's tokenizer"),
        ("steps: 20", "steps: 20, epochs: 2", "stands beside 'epochs'"),
        ("method: lora", "method: full", "'rank' belongs to method lora"),
        ("method: lora, rank: 8", "method: full, variant: dora", "'variant' belongs to method lora"),
        ("rank: 8", "decay_steps: 4", "'decay_steps' belongs to schedule wsd"),
        ("method: lora", "method: dpo", "'dpo' is not one of pretrain, full, lora; write method: lora, objective: dpo"),
        ("rank: 8", "beta: 0.2", "'beta' belongs to objective dpo or simpo"),
        ("rank: 8", "objective: dpo", "objective dpo learns from rows with two answers; write format: preference"),
        (
            "    pull_request: 12",
            "    format: preference",
            "need an objective that prefers one; write train: {objective: dpo}",
        ),
        ("method: lora, rank: 8", "method: full", "only method lora makes an adapter"),
        ("steps: 20", "batch_tokens: 16, context_tokens: 64", "smaller than one row"),
        ("rank: 8", "rank: 0", "0 is out of range"),
        ("rank: 8", "rank: 8.5", "stands where a whole number"),
        ("rank: 8", "rank: yes", "stands where a whole number"),
        ("rank: 8", "learning_rate: .inf", "stands where a number"),
        ("rank: 8", "learning_rate: 1e999", "inf is out of range"),
        ("rank: 8", "seed: true", "'true' stands where a whole number"),
        ("    pull_request: 12", "    weight: -1", "the weight of data must be above 0"),
        ("    pull_request: 12", "    weight: 0", "0 is out of range"),
        ("    pull_request: 12", "    model: a/b@c", "names more than one repository"),
        ("  - data: alice/tides@main", "  - split: test", "names no repository"),
        ("  - data", "  - data: alice/tides@main\n  - data", "is listed twice (first in line 4)"),
        ("  - data: alice/tides@main\n    pull_request: 12", "  []", "there is no data to train on"),
        ("train: {method: lora, rank: 8, steps: 20}", "train: lora", "stands where the training settings is expected"),
        ("rank: 8", "rank: ", "'rank' has no value"),
        ("rank: 8", "rank: 8, rank: 9", "'rank' appears twice (first in line 6)"),
        ("train:", "train: &x", "the anchor &x is not allowed"),
        ("train:", "train: !!python/object:os.system", "the tag tag:yaml.org,2002:python/object:os.system"),
        ("rank: 8", "rank: *x", "the alias *x is not allowed"),
        ("evaluate:", "---\nevaluate:", "a second document starts here"),
        ("evaluate:", "{", "this is not YAML"),
    ],
)
def test_what_contradicts_or_is_malformed_is_refused(old: str, new: str, what: str) -> None:
    assert old in LORA
    text = LORA.replace(old, new, 1)
    if "makes an adapter" in what:
        text += "output: adapter\n"
    assert any(what in problem for problem in problems_of(text)), problems_of(text)


@pytest.mark.parametrize(
    ("name", "shape", "what"),
    [
        ("width", "width: 100, heads: 3", "width 100 does not divide into 3 heads"),
        ("kv_heads", "width: 64, heads: 4, kv_heads: 3", "kv_heads 3 does not divide heads"),
    ],
)
def test_a_network_that_cannot_exist_is_refused(name: str, shape: str, what: str) -> None:
    text = (
        f"version: 1\narchitecture: {{family: llama, layers: 2, {shape}}}\ntokenizer: {{train: {{vocabulary: 300}}}}\n"
        "contributions: [{data: a/b@c, format: text}]\ntrain: {method: pretrain}\n"
    )
    assert any(what in problem for problem in problems_of(text))


def test_random_weights_need_their_own_tokenizer_and_pretraining() -> None:
    text = LORA.replace(
        "base: commons/small@v1.0.0", "architecture: {family: llama, layers: 1, width: 8, heads: 1, context_tokens: 64}"
    )
    told = "\n".join(problems_of(text))
    assert "random weights have no tokenizer to inherit" in told
    assert "method lora needs a model to start from" in told


@pytest.mark.parametrize(
    "text", ["[" * 60_000, "a: " * 20_000, "- " * 30_000, "x" * 70_000, "", "# nothing\n", "\0", "- 1"]
)
def test_hostile_or_empty_text_is_refused_quickly(text: str) -> None:
    assert problems_of(text)


def test_an_old_recipe_is_upgraded_and_keeps_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(root: Node) -> Node:
        entries = {("train" if name == "training" else name): pair for name, pair in root.value.items()}
        entries["version"] = (entries["version"][0], Node(1, *place(entries["version"][1])))
        return Node(entries, root.line, root.column)

    def place(node: Node) -> tuple[int, int]:
        return node.line, node.column

    monkeypatch.setitem(recipe_module.UPGRADES, 0, rename)
    old = LORA.replace("version: 1", "version: 0").replace("train:", "training:")
    assert parse_recipe(old) == parse_recipe(LORA)
    assert problems_of(old.replace("lora", "lor"))[0].startswith("recipe.yaml:6:20: 'lor'")


def test_referenced_repositories_are_listed_once() -> None:
    recipe = parse_recipe(LORA.replace("evaluate:", "evaluate:\n  - suite: commons/core@v3\n    margin: 0.5"))
    assert referenced_repos(recipe) == [
        ("model", RepoRef("commons/small", "v1.0.0")),
        ("dataset", RepoRef("alice/tides", "main")),
        ("dataset", RepoRef("commons/core", "v3")),
    ]


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,20}", fullmatch=True)
revisions = st.one_of(st.sampled_from(["main", "v1.0.0", "refs/pr/3", "1e5", "0", "true"]), names)
refs = st.builds(lambda a, b, r: RepoRef(f"{a}/{b}", r), names, names, revisions)
auto = st.just("auto")


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


datasets = st.builds(
    Contribution,
    st.just("data"),
    refs,
    st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True),
    st.sampled_from(["chat", "instruction", "text", "classification"]),
    numbers(0.01, 1000),
    st.none() | st.integers(1, 10**6),
)
mixes = st.lists(datasets, min_size=1, max_size=4, unique_by=lambda c: (c.repo, c.split)).map(tuple)
lengths = st.sampled_from([{"epochs": 2.5}, {"epochs": "auto"}, {"steps": 7}, {"tokens": 10_000}])


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    start = draw(st.sampled_from(["base", "architecture"]))
    method = "pretrain" if start == "architecture" else draw(st.sampled_from(["pretrain", "full", "lora"]))
    adapter = {"rank": draw(st.integers(1, 64) | auto), "alpha": draw(numbers(0.01, 64) | auto)}
    adapter["variant"] = draw(st.sampled_from(["plain", "rslora", "dora"]))
    schedule = draw(st.sampled_from(["cosine", "linear", "constant", "wsd"]))
    train = Train(
        method=method,
        **(adapter if method == "lora" else {}),
        **draw(lengths),
        context_tokens=draw(st.integers(8, 512) | auto),
        batch_tokens=draw(st.integers(512, 4096) | auto),
        optimizer=draw(st.sampled_from(["adamw", "adam", "sgd", "muon"])),
        learning_rate=draw(numbers(1e-9, 1) | auto),
        schedule=schedule,
        decay_steps=draw(st.integers(1, 50) | auto) if schedule == "wsd" else "auto",
        warmup_steps=draw(st.integers(0, 50) | auto),
        precision=draw(st.sampled_from(["auto", "fp32", "bf16"])),
        seed=draw(st.integers(0, 2**31 - 1) | auto),
    )
    shape = Architecture("llama", 2, 64, 4, draw(st.sampled_from([1, 2, 4, "auto"])), 1024, draw(st.integers(0, 9)))
    suites = draw(st.lists(st.builds(EvaluateSuite, refs, st.none() | numbers(0, 1)), max_size=2).map(tuple))
    return Recipe(
        version=1,
        train=train,
        base=draw(refs) if start == "base" else None,
        architecture=shape if start == "architecture" else None,
        tokenizer="inherit" if start == "base" else TrainTokenizer("bpe", draw(st.integers(260, 9999))),
        contributions=draw(mixes),
        prepare=Prepare("none", draw(st.sampled_from(["minhash", "exact"])), draw(st.booleans()), "keep"),
        evaluate=suites,
        output="adapter" if method == "lora" and draw(st.booleans()) else "merged",
    )


@settings(max_examples=150, deadline=None)
@given(recipes())
def test_what_is_written_is_read_back_equal(recipe: Recipe) -> None:
    assert parse_recipe(format_recipe(recipe)) == recipe


def test_a_merge_is_written_and_read_back() -> None:
    merge = Merge("task_arithmetic", RepoRef("a/b", "main"), (MergeModel(RepoRef("a/c", "v1"), 0.5),))
    recipe = Recipe(version=1, merge=merge)
    assert parse_recipe(format_recipe(recipe), allow_planned=True) == recipe


scalars = st.one_of(
    st.text(max_size=30),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)


@settings(max_examples=200, deadline=None)
@given(scalars)
def test_any_scalar_is_written_so_that_it_reads_back(value: str | int | float | bool | None) -> None:
    if isinstance(value, str) and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return  # no UTF-8 text can hold these
    root, problems = read_yaml(f"key: {format_scalar(value)}\n")
    assert not problems
    assert root.plain() == {"key": value}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="version: 1\n-{}[]&*!|>#'\"trainbase@/", max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse_recipe(text)
    except RecipeErrors as refused:
        assert all(re.match(r"recipe\.yaml:\d+:\d+: .", str(problem)) for problem in refused.problems)


def test_the_documentation_describes_every_key() -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    table = [tuple(cell.strip().strip("`") for cell in line.strip("|").split(" | ")) for line in lines]
    described = [row for row in table if len(row) == 4]
    assert described == describe_schema()


def test_the_examples_of_the_documentation_are_recipes() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.S)
    assert len(examples) >= 3
    for example in examples:
        recipe = parse_recipe(example)
        assert parse_recipe(format_recipe(recipe)) == recipe
