"""The operator's commands: stable words, one sentence for what is wrong, and no need to stop the site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.django_db


def run(capsys, *words):
    call_command(*words)
    return capsys.readouterr().out


# --- account


def test_an_account_is_made_with_everything_that_was_given(capsys):
    from django.contrib.auth import authenticate

    from hub.accounts.models import User
    from hub.accounts.tokens import find_token

    words = (
        "--email a@example.org --fullname Ann --password tides-2026 --token my-old-token --staff --moderator".split()
    )
    assert run(capsys, "account", "create", "ann", *words) == "Account ann made.\nThe token was imported.\n"
    user = User.objects.get(username="ann")
    assert (user.email, user.fullname, user.is_staff, user.is_moderator) == ("a@example.org", "Ann", True, True)
    assert authenticate(username="ann", password="tides-2026") == user
    assert find_token("my-old-token").user == user and find_token("my-old-token").role == "write"


def test_a_name_may_begin_with_an_underscore(capsys):
    run(capsys, "account", "create", "_robot", "--password", "tides-2026")
    run(capsys, "organization", "create", "__lab", "--member", "_robot:admin")
    from hub.accounts.names import find_owner

    assert (find_owner("_robot").username, find_owner("__LAB").name) == ("_robot", "__lab")


def test_without_a_password_a_link_to_set_one_is_printed_and_works_once(capsys, client):
    out = run(capsys, "account", "create", "ann")
    link = re.search(r"/login/link/\S+", out)[0]
    assert client.get(link).status_code == 200
    client.post(link, {"password": "tides-and-harbours"})
    client.logout()
    assert client.login(username="ann", password="tides-and-harbours")
    client.logout()
    assert client.post(link, {"password": "somebody-elses-words"}).status_code == 404
    assert not client.login(username="ann", password="somebody-elses-words")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["alice"], "The name 'alice' is taken"),
        (["ALICE"], "is taken"),
        (["a--b"], "cannot be used"),
        (["api"], "used by the site itself"),
        (["ann", "--token", "alices-token"], "belongs to another account"),
        (["ann", "--token", ""], "A token needs at least 8 characters and no white space"),
        (["ann", "--token", "abcdefg"], "A token needs at least 8 characters"),
        (["ann", "--token", "two words"], "no white space"),
        (["ann", "--password", "abc"], "It must contain at least 8 characters"),
        (["ann", "--password", "password1"], "too common"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_sentence_and_leaves_nothing(alice, words, sentence):
    from hub.accounts.models import Namespace, User
    from hub.accounts.tokens import create_token

    create_token(user=alice.user, name="old", token="alices-token")
    with pytest.raises(CommandError, match=sentence):
        call_command("account", "create", *words)
    assert [row.username for row in User.objects.all()] == ["alice"] == [row.name for row in Namespace.objects.all()]


def test_what_an_account_may_do_is_changed_and_shown(capsys, alice, client):
    asked = {"headers": {"Authorization": f"Bearer {alice.token}"}}
    said = run(capsys, "account", "role", "Alice", "--moderator", "--staff")
    assert said == "alice: active, operates the hub, decides moderation cases.\n"
    assert client.get("/api/whoami-v2", **asked).status_code == 200
    client.force_login(alice.user)
    assert client.get("/settings/tokens").status_code == 200
    assert run(capsys, "account", "role", "alice", "--no-staff", "--inactive") == (
        "alice: inactive, decides moderation cases.\n"
    )
    assert client.get("/api/whoami-v2", **asked).status_code == 401
    assert client.get("/settings/tokens").status_code == 302  # signed out in the browser, too
    assert run(capsys, "account", "role", "alice", "--active", "--no-moderator") == "alice: active.\n"
    assert run(capsys, "account", "role", "alice") == "alice: active.\n"
    with pytest.raises(CommandError, match="There is no account 'nobody'"):
        call_command("account", "role", "nobody", "--staff")


# --- organization


def test_an_organization_is_made_with_its_members_and_their_roles(capsys, alice, bob):
    from hub.accounts.models import Organization

    words = "--fullname Tide --member alice:admin --member BOB:write --private-by-default".split()
    assert run(capsys, "organization", "create", "tidewatch", *words) == "Organization tidewatch made with 2 members.\n"
    organization = Organization.objects.get()
    assert (organization.name, organization.fullname, organization.is_private_by_default) == ("tidewatch", "Tide", True)
    roles = organization.memberships.values_list("user__username", "role")
    assert set(roles) == {("alice", "admin"), ("bob", "write")}


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ("nobody:write", "There is no account 'nobody'; make it first: account create nobody"),
        ("alice:boss", "The role 'boss' does not exist; use one of read, write, admin"),
        ("alice", "Write the member 'alice' with a role, like alice:write"),
    ],
)
def test_a_wrong_member_is_named_and_the_organization_is_not_made(alice, member, sentence):
    from hub.accounts.models import Namespace, Organization

    with pytest.raises(CommandError, match=sentence):
        call_command("organization", "create", "tidewatch", "--member", "alice:admin", "--member", member)
    assert not Organization.objects.exists() and not Namespace.objects.filter(name="tidewatch").exists()


def test_members_are_added_later_and_who_has_no_admin_is_told(capsys, alice):
    from hub.accounts.models import Membership

    call_command("organization", "create", "tidewatch")
    assert "organization member tidewatch NAME:admin" in capsys.readouterr().err
    said = run(capsys, "organization", "member", "tidewatch", "alice:admin")
    assert said == "alice has the role admin in tidewatch.\n"
    assert Membership.objects.get().role == "admin"
    with pytest.raises(CommandError, match="There is no organization 'tides'"):
        call_command("organization", "member", "tides", "alice:admin")


# --- password_link


def test_a_forgotten_password_is_set_by_a_link(capsys, alice, client):
    link = run(capsys, "password_link", "Alice").split()[0]
    assert client.get(link).status_code == 200
    with pytest.raises(CommandError, match="There is no account 'nobody'"):
        call_command("password_link", "nobody")


def test_a_link_is_whole_where_the_address_of_the_hub_is_known(capsys, alice, client, settings):
    settings.PUBLIC_URL = "https://hub.example"
    link = run(capsys, "password_link", "alice").strip()
    assert link.startswith("https://hub.example/login/link/")
    assert client.get(link.removeprefix("https://hub.example")).status_code == 200
    assert "at https://hub.example/login/link/" in run(capsys, "account", "create", "ann")


def test_the_hubs_own_account_gets_no_link():
    from hub.accounts.people import SYSTEM_NAME, hub_account

    hub_account()
    with pytest.raises(CommandError, match="There is no account"):
        call_command("password_link", SYSTEM_NAME)


# --- import_folder


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "README.md").write_text("# Tides\n")
    return folder


def test_a_folder_becomes_a_repository_of_a_person_or_an_organization_and_grows(capsys, alice, organization, folder):
    from hub.repos.models import Repo

    run(capsys, "import_folder", str(folder), "alice/tides", "--type", "dataset")
    out = run(capsys, "import_folder", str(folder), "tidewatch/tides", "--type", "model", "--private")
    (folder / "more.txt").write_text("more")
    run(capsys, "import_folder", str(folder), "ALICE/tides", "--type", "dataset")
    data, model = Repo.objects.get(type="dataset"), Repo.objects.get(type="model")
    assert (data.is_private, model.is_private, model.owner) == (False, True, organization)
    assert out == f"tidewatch/tides holds the folder at {model.head}.\n"
    assert [revision.title for revision in data.revisions.order_by("pk")] == [
        "initial commit",
        "Import old",
        "Import old",
    ]
    assert {revision.author for revision in model.revisions.all()} == {alice.user}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody/tides", "no person or organization named 'nobody'"),
        ("alice", "Write where the folder goes as NAMESPACE/NAME, like alice/poems; 'alice' is no such name"),
        ("alice/", "as NAMESPACE/NAME"),
        ("/tides", "as NAMESPACE/NAME"),
        ("alice/a--b", "cannot be used"),
        ("empty-org/tides", "The organization empty-org has no admin; add one first"),
    ],
)
def test_a_place_that_is_none_is_refused(alice, folder, name, sentence):
    from hub.accounts.organizations import create_organization

    create_organization(name="empty-org")
    with pytest.raises(CommandError, match=sentence):
        call_command("import_folder", str(folder), name, "--type", "dataset")


def test_a_folder_that_is_there_already_makes_no_commit(capsys, alice, folder):
    """The second import made a commit without a change."""
    from hub.repos.models import Repo

    (folder / "weights.bin").write_bytes(bytes(100))  # a large file, known by its digest
    words = ("import_folder", str(folder), "alice/tides", "--type", "model")
    run(capsys, *words)
    assert run(capsys, *words) == "Nothing changed: alice/tides holds the folder already.\n"
    assert Repo.objects.get().revisions.count() == 2
    (folder / "weights.bin").write_bytes(bytes(99) + b"x")
    assert "holds the folder at" in run(capsys, *words)
    assert Repo.objects.get().revisions.count() == 3


def test_a_folder_that_begins_with_a_dash_is_told_from_an_option(tmp_path):
    (tmp_path / "-dash").mkdir()
    code = "from hub.management.commands.import_folder import Command; Command().run_from_argv(sys.argv)"
    words = ["import_folder", "-dash", "eve/dash", "--type", "dataset"]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import django; django.setup(); {code}"]
        + words,
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.strip().endswith("written with ./ before it: ./-dash")


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_without_files_makes_no_repository(alice, tmp_path, kind):
    from hub.repos.models import Repo

    if kind == "empty":
        (tmp_path / "x").mkdir()
    with pytest.raises(CommandError, match="is not a folder" if kind == "missing" else "holds no files"):
        call_command("import_folder", str(tmp_path / "x"), "alice/tides", "--type", "dataset")
    assert not Repo.objects.exists()


# --- beside a running site, and before the first start


@pytest.mark.django_db(transaction=True)
def test_commands_work_while_the_site_runs(live_server, tmp_path):
    """Another process writes what this one serves at once."""
    import json
    from urllib.request import Request, urlopen

    from tests.beside import run_command

    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("one")
    for words in (
        ("account", "create", "_ann", "--password", "tides-2026", "--token", "token-of-ann"),
        ("import_folder", str(tmp_path / "folder"), "_ann/tides", "--type", "dataset"),
    ):
        done = run_command(*words)
        assert done.returncode == 0, done.stderr
    asked = Request(f"{live_server.url}/api/whoami-v2", headers={"Authorization": "Bearer token-of-ann"})
    who = json.load(urlopen(asked))
    assert who["name"] == "_ann"
    info = json.load(urlopen(f"{live_server.url}/api/datasets/_ann/tides"))
    assert {file["rfilename"] for file in info["siblings"]} == {".gitattributes", "a.txt"}
    again = run_command("account", "create", "_ANN")
    assert again.returncode == 1 and again.stderr.strip().endswith("is taken; choose another.")
    assert "Traceback" not in again.stderr


def manage(*words, data_dir, way):
    """`./manage.py` itself, told of the data folder by an option or by the environment."""
    import os

    environment = {key: value for key, value in os.environ.items() if key not in ("DATA_DIR", "DATABASE_URL")}
    if way == "option":
        words = (*words, "--data-dir", str(data_dir))
    else:
        environment["DATA_DIR"] = str(data_dir)
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120)


def test_a_folder_without_a_hub_is_named_and_not_made(tmp_path):
    """A mistyped --data-dir became a hub of its own, and the account was nowhere to be found."""
    refused = manage("account", "create", "ann", data_dir=tmp_path / "typo", way="option")
    assert (refused.returncode, refused.stdout) == (1, "")
    folder = tmp_path / "typo"
    assert refused.stderr.strip() == (
        f"There is no hub in {folder}; start one with ./manage.py up --data-dir {folder}, "
        "or name its folder with --data-dir."
    )
    assert not folder.exists()


def test_each_command_of_the_hub_refuses_such_a_folder(tmp_path, monkeypatch, capsys):
    from hub.site.bootstrap import commands

    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(commands, "_run_django", lambda argv, data_dir: pytest.fail(f"{argv[0]} was carried out"))
    ours = {path.stem for path in CHECKOUT.glob("[hm]*/management/commands/[a-z]*.py")}
    for command in ours - {"run_demo"}:  # which makes its own hub
        assert commands.main([command, "x", "--data-dir", str(tmp_path / "typo")]) == 1
        assert "There is no hub in" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_commands_keep_their_bytecode_in_the_folder_where_none_may_lie_beside_the_sources(tmp_path, monkeypatch):
    from hub.site.bootstrap import commands

    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "")
    commands.keep_bytecode(tmp_path)
    assert (sys.pycache_prefix, sys.dont_write_bytecode) == (None, True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    commands.keep_bytecode(tmp_path)
    assert (sys.pycache_prefix, sys.dont_write_bytecode) == (str(tmp_path / "cache" / "bytecode"), False)


def test_help_names_the_hubs_commands_first(tmp_path, monkeypatch, capsys):
    from hub.site.bootstrap import commands, environment

    monkeypatch.setattr(environment, "enter", lambda argv, *, sections: None)
    monkeypatch.setattr(commands, "_run_django", lambda argv, data_dir: 0)
    assert commands.main(["help", "--data-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert all(f"  {command} " in told for command in commands.OPERATOR_COMMANDS)


def test_a_database_of_ones_own_is_a_hub_whatever_the_folder_holds(tmp_path, monkeypatch):
    from hub.site.bootstrap import commands, environment

    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere/hub")
    monkeypatch.setattr(environment, "enter", lambda argv, *, sections: None)
    monkeypatch.setattr(commands, "_run_django", lambda argv, data_dir: 0)
    assert commands.main(["password_link", "ann", "--data-dir", str(tmp_path)]) == 0


def test_before_the_first_start_a_script_makes_the_tables_and_the_accounts(tmp_path):
    assert manage("migrate", "--verbosity", "0", data_dir=tmp_path / "new", way="option").returncode == 0
    words = ("account", "create", "ann", "--password", "tides-2026")
    made = manage(*words, data_dir=tmp_path / "new", way="option")
    assert (made.returncode, made.stdout) == (0, "Account ann made.\n"), made.stderr
    twice = manage("account", "create", "ann", data_dir=tmp_path / "new", way="environment")
    assert twice.returncode == 1 and twice.stderr.strip() == "CommandError: The name 'ann' is taken; choose another."
    assert (tmp_path / "new" / "secret_key").stat().st_mode & 0o777 == 0o600


def test_an_older_database_is_left_to_the_next_start(capsys, monkeypatch):
    from django.db.migrations.recorder import MigrationRecorder

    from hub.accounts.models import User

    applied = MigrationRecorder.applied_migrations

    def without_the_last(self):
        rows = applied(self)
        return {key: row for key, row in rows.items() if key[0] != "moderation"}

    monkeypatch.setattr(MigrationRecorder, "applied_migrations", without_the_last)
    with pytest.raises(CommandError, match="The database is older than this program .* ./manage.py up"):
        call_command("account", "create", "ann")
    assert not User.objects.exists()
