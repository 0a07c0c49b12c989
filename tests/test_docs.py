"""The documents say what is there: every setting, every command, every folder, and no link leads nowhere."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def read_settings() -> set[str]:
    """Names of the environment variables that the settings read."""
    names = {"DATA_DIR", "SECRET_KEY", "ENGINE_THREADS"}  # the last is read by the training program
    for node in ast.walk(ast.parse((ROOT / "hub" / "site" / "settings.py").read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("env_"):
            names.add(ast.literal_eval(node.args[0]))
    return names


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_setting_is_in_the_operators_table_and_the_table_names_no_other() -> None:
    table = section((ROOT / "docs" / "operating.md").read_text(), "Settings")
    rows = re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == read_settings()


def test_no_other_part_of_the_hub_reads_a_setting_that_is_not_described() -> None:
    usual = {"PATH", "CUDA_VISIBLE_DEVICES"}  # of the system, not of the hub
    for room in ("hub", "training", "moderation"):
        for path in (ROOT / room).rglob("*.py"):
            found = set(re.findall(r"os\.(?:environ\.get\(|getenv\()\"([A-Z_]+)\"", path.read_text()))
            own = (
                ROOT / "hub" / "site",
                ROOT / "training" / "engine",
            )  # what starts before there are settings, or without
            if not any(path.is_relative_to(folder) for folder in own):
                assert found <= read_settings() | usual, path


def test_every_command_is_described() -> None:
    text = section((ROOT / "docs" / "operating.md").read_text(), "Commands")
    described = set(re.findall(r"^\| `\./manage\.py (\w+)", text, re.MULTILINE))
    commands = {path.stem for path in ROOT.glob("*/management/commands/*.py") if path.stem != "__init__"}
    for room in ("moderation", "training"):
        commands |= {path.stem for path in (ROOT / room).glob("management/commands/[a-z]*.py")}
    own = {"run_demo"}  # what `./manage.py demo` calls by itself
    assert commands - own <= described
    assert described <= commands | {"up", "test", "demo", "prepare"}


def test_the_usage_of_each_command_is_the_one_that_is_described() -> None:
    import argparse
    from importlib import import_module

    text = section((ROOT / "docs" / "operating.md").read_text(), "Commands")
    for name in ("account", "organization", "import_folder"):
        parser = argparse.ArgumentParser()
        import_module(f"hub.management.commands.{name}").Command().add_arguments(parser)
        options = {word for action in all_actions(parser) for word in action.option_strings if word.startswith("--")}
        lines = [line for line in text.splitlines() if line.startswith(f"| `./manage.py {name} ")]
        assert set(re.findall(r"--[a-z-]+", " ".join(lines))) == options - {"--help"}, name


def all_actions(parser):  # type: ignore[no-untyped-def]
    for action in parser._actions:
        yield action
        for inner in getattr(action, "choices", None) or ():
            if isinstance(action.choices, dict):
                yield from all_actions(action.choices[inner])


def test_the_tree_of_the_readme_names_every_folder_at_the_top() -> None:
    tree = section((ROOT / "README.md").read_text(), "The tree")
    cells = [line.split("|")[1] for line in tree.splitlines() if line.startswith("| `")]
    names = [name for cell in cells for name in re.findall(r"`([\w./]+)`", cell)]
    for name in names:
        assert (ROOT / name).exists(), name
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    folders = {path.split("/")[0] for path in tracked if "/" in path}
    assert {folder for folder in folders if not folder.startswith(".")} <= {name.split("/")[0] for name in names}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_relative_link_leads_nowhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link in [first or second for first, second in LINK.findall(text)]:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{document.name} links to {link}"


def anchors_of(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_commands_in_code_blocks_name_files_that_exist() -> None:
    for page in PAGES:
        for script in re.findall(r"^(\.\.?/[\w./-]+)", page.read_text(), re.MULTILINE):
            assert (ROOT / script).exists(), f"{page.name}: {script}"
