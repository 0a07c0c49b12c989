"""Two people change one recipe: what joins, what clashes, and which number each contribution carries."""

import pytest

from training.engine.recipe import Recipe, parse_recipe
from training.engine.recipe_changes import RecipeConflict, merge_recipes, number_contributions

BASE = """\
version: 1
base: alice/tiny@main
contributions:
  - data: alice/tides@main
    pull_request: 1
train: {method: lora, epochs: 1}
evaluate:
  - suite: alice/core@main
"""


def change(*edits: tuple[str, str], text: str = BASE) -> Recipe:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return parse_recipe(text)


def add(name: str, more: str = "") -> tuple[str, str]:
    return "train:", f"  - data: {name}@main\n{more}train:"


def names(recipe: Recipe) -> list[str]:
    return [row.repo.repo for row in recipe.contributions]


def test_two_added_contributions_are_both_kept():
    merged = merge_recipes(parse_recipe(BASE), change(add("bob/boats")), change(add("carol/clouds")))
    assert names(merged) == ["alice/tides", "bob/boats", "carol/clouds"]
    assert merged.contributions[0].pull_request == 1


def test_two_recipes_written_anew_for_the_same_base_are_one():
    first = change(("alice/tides@main", "bob/boats@main"))
    merged = merge_recipes(None, first, change(("    pull_request: 1\n", "")))
    assert names(merged) == ["bob/boats", "alice/tides"] and merged.train == first.train


def test_a_recipe_that_holds_all_of_ours_is_a_change_of_it():
    """Who proposes to an unreleased model builds on a recipe that their own copy of the history does not have."""
    theirs = change(add("bob/boats"), ("epochs: 1", "epochs: 3"))
    assert merge_recipes(None, parse_recipe(BASE), theirs) == theirs


def test_the_same_dataset_brought_twice_is_one_line_with_the_targets_number():
    ours = change(add("bob/boats", "    pull_request: 7\n"))
    merged = merge_recipes(parse_recipe(BASE), ours, change(add("bob/boats")))
    assert names(merged) == ["alice/tides", "bob/boats"] and merged.contributions[1].pull_request == 7


def test_two_splits_of_a_dataset_are_two_lines():
    theirs = change(add("alice/tides", "    split: second\n"))
    assert len(merge_recipes(parse_recipe(BASE), parse_recipe(BASE), theirs).contributions) == 2


def test_what_one_side_left_out_stays_out():
    without = change(("contributions:\n  - data: alice/tides@main\n    pull_request: 1\n", ""), add("x/y"),
                     ("  - data: x/y", "contributions:\n  - data: x/y"))  # fmt: skip
    assert names(without) == ["x/y"]
    merged = merge_recipes(parse_recipe(BASE), without, change(add("bob/boats")))
    assert names(merged) == ["x/y", "bob/boats"]


def test_a_better_setting_joins_a_new_contribution():
    better = change(("epochs: 1", "epochs: 3, learning_rate: 0.001"))
    merged = merge_recipes(parse_recipe(BASE), better, change(add("bob/boats")))
    assert merged.train == better.train and len(merged.contributions) == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "clashes"),
    [
        (("epochs: 1", "epochs: 2"), ("epochs: 1", "steps: 9"), ["train.epochs"]),
        (("method: lora", "method: full"), ("epochs: 1", "epochs: 2"), None),
        (("tiny@main", "tiny@v1"), ("tiny@main", "tiny@v2"), ["base"]),
        (("core@main", "core@v1"), ("core@main", "core@v2"), ["evaluate (alice/core)"]),
        (("tides@main", "tides@v1"), ("tides@main", "tides@v2"), ["contributions (alice/tides)"]),
    ],
)
def test_only_what_both_change_differently_clashes(ours, theirs, clashes):
    if clashes is None:
        assert merge_recipes(parse_recipe(BASE), change(ours), change(theirs))
        return
    with pytest.raises(RecipeConflict) as caught:
        merge_recipes(parse_recipe(BASE), change(ours), change(theirs))
    assert caught.value.keys == clashes


def test_our_values_are_preferred_where_that_is_asked_for():
    ours = change(("epochs: 1", "epochs: 2"))
    theirs = change(("epochs: 1", "epochs: 5, seed: 9"), add("bob/boats"))
    merged = merge_recipes(parse_recipe(BASE), ours, theirs, prefer_ours=True)
    assert merged.train is not None and (merged.train.epochs, merged.train.seed) == (2, 9)
    assert names(merged) == ["alice/tides", "bob/boats"]


def test_a_new_contribution_gets_the_number_and_comments_stay():
    text = BASE.replace("train:", "  - data: bob/boats@main  # from the harbour\n    format: text\ntrain:")
    numbered = number_contributions(text, parse_recipe(BASE), 12)
    assert numbered == text.replace("# from the harbour\n", "# from the harbour\n    pull_request: 12\n")


def test_numbers_are_the_hubs_whatever_the_text_claims():
    claimed = BASE.replace("pull_request: 1", "pull_request: 99").replace(
        "train:", "  - data: bob/boats@main\n    pull_request: 3\ntrain:"
    )
    numbered = parse_recipe(number_contributions(claimed, parse_recipe(BASE), 12))
    assert [row.pull_request for row in numbered.contributions] == [1, 12]


@pytest.mark.parametrize("line", ["contributions: [{data: bob/boats@main}]\n", "contributions:\n- data: bob/boats@main\n",
                                  "contributions:\n  -\n    data: bob/boats@main\n"])  # fmt: skip
def test_every_way_of_writing_a_list_is_numbered(line):
    text = f"version: 1\nbase: alice/tiny@main\n{line}train: {{method: lora}}\n"
    numbered = parse_recipe(number_contributions(text, None, 4))
    assert [row.pull_request for row in numbered.contributions] == [4]
    assert number_contributions(number_contributions(text, None, 4), None, 4) == number_contributions(text, None, 4)
