"""A start of the site, step by step, each visible while it lasts; then it runs until it is stopped."""

import os
import shlex
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hub.site.bootstrap import services
from hub.site.bootstrap.logs import last_words, read_from
from hub.site.bootstrap.options import WILDCARDS, Options
from hub.site.bootstrap.progress_page import ProgressPage
from hub.site.bootstrap.refusals import Refusal, hold_port
from hub.site.bootstrap.requirements import CHECKOUT, RUNTIME, WEB, missing_sections
from hub.site.bootstrap.setup_progress import SetupProgress, Step, read_json, write_json
from hub.site.bootstrap.supervisor import ChildSpec, Supervisor

PACKAGES = {"web": "Packages of the site", "s3": "Packages of the store in a bucket"}
RETRY_S = 60  # after what fails for a while, often the network
PATIENCE_S = 30  # after this long without an answer of the site, its log is named


class Start:
    def __init__(self, options: Options, front_pid: int) -> None:
        self.options = options
        self.data_dir = options.data_dir
        self.front_pid = front_pid
        self._listener_hold = _hold_free_port(options.host, options.port + 1)  # kept until its server has ended
        self.listener_port: int = self._listener_hold.getsockname()[1]
        self.state = "starting"
        self.accounts_printed = False
        self.progress = SetupProgress()
        self.supervisor = Supervisor(
            env=self._child_environment(),
            cwd=CHECKOUT,
            logs=self.data_dir / "logs",
            parent_pid=front_pid,
            on_change=self._write_state,
        )
        self.supervisor.obey_signals()

    def run(self) -> None:
        missing = missing_sections(RUNTIME)
        wants_demo = self.options.with_demo and not self._demo_marker.exists()
        self._plan(missing, wants_demo)
        page = ProgressPage(self.options.host, self.options.port, lambda: self.progress)
        print(f"Starting Model Commons; {self.options.address} shows how far it is.", flush=True)
        try:
            for section in WEB:
                if section in missing:
                    self._install(section, PACKAGES[section])
            self._start_queue()
            self._migrate()
            self._start_site(page)
        finally:
            page.close()
        self._announce(missing, wants_demo)
        if "models" in missing:
            self._install("models", "Packages of the engine", again_after_s=RETRY_S)
        self._start_engines()
        if wants_demo:
            self._seed_demo()
        self._set_state("running")
        self._save_progress()
        self._print_accounts()
        self._print_first_account()
        self.supervisor.run_forever()

    def stop(self) -> None:
        self._set_state("stopping")
        if self.supervisor.pids():
            print("\nStopping ...", flush=True)
        self.supervisor.stop()
        self._listener_hold.close()
        for name in ("hub.json", "setup.json"):  # of this start alone
            (self.data_dir / name).unlink(missing_ok=True)

    # -- steps ------------------------------------------------------------------------------------------------------

    def _plan(self, missing: list[str], wants_demo: bool) -> None:
        names = [PACKAGES[section] for section in WEB if section in missing]
        names += ["Database", "Site"]
        names += ["Packages of the engine"] if "models" in missing else []
        names += ["Demo community"] if wants_demo else []
        self.progress.steps = [Step(name) for name in names]
        self._save_progress()

    def _install(self, section: str, step_name: str, *, again_after_s: float | None = None) -> None:
        """Install a section in a child of its own. With `again_after_s` a failure is shown and tried again."""
        report = self.data_dir / "install.json"
        command = (
            sys.executable,
            str(CHECKOUT / "manage.py"),
            "prepare",
            "--section",
            section,
            "--report",
            str(report),
        )
        while True:
            report.unlink(missing_ok=True)
            with self._step(step_name) as step:
                code = self.supervisor.run_once(
                    ChildSpec("install", command), meanwhile=partial(self._follow, report, step)
                )
                if code == 0:
                    return
                sentence = (read_json(report) or {}).get("problem") or f"see {self.data_dir}/logs/install.log"
                if again_after_s is None:
                    raise Refusal(sentence)
                self._fail(step, f"{sentence} It is tried again in {again_after_s:.0f} seconds.")
            self.supervisor.wait_until(lambda: False, timeout_s=again_after_s)

    def _follow(self, report: Path, step: Step) -> None:
        content = read_json(report)
        if content and (content["detail"], content["share"]) != (step.detail, step.share):
            step.detail, step.share = content["detail"], content["share"]
            self._save_progress()

    def _start_queue(self) -> None:
        if os.environ.get("CELERY_BROKER_URL"):  # the operator runs a queue of their own
            return
        services.prepare_broker_folders(self.data_dir)
        self.supervisor.start(services.valkey(self.data_dir))
        if not self.supervisor.wait_until(lambda: services.valkey_answers(self.data_dir), timeout_s=30):
            raise Refusal(f"Valkey does not answer; {self._last_words('valkey')}")

    def _migrate(self) -> None:
        with self._step("Database"):
            if self.supervisor.run_once(ChildSpec("migrate", self._manage("migrate", "--noinput", "--skip-checks"))):
                raise Refusal(f"The database could not be brought up to date; {self._last_words('migrate')}")

    def _start_site(self, page: ProgressPage) -> None:
        log = self.data_dir / "logs" / "web.log"
        with self._step("Site"):
            seen = log.stat().st_size if log.exists() else 0
            self.supervisor.start(services.web(self.options.host, self.options.port))
            # A worker of the site's server opens the port when it has loaded the site; until then the page stays.
            self._wait_patiently(lambda: "Started worker-" in read_from(log, seen))
            page.close()
            self._wait_patiently(self._site_answers)
        # After the first page: five programs that load the site at once would each take five times as long.
        self.supervisor.start(services.listener(self.options.host, self.listener_port))
        self._start_workers(services.SHORT_WORK)
        self.supervisor.start(services.sweeper(self.data_dir))

    def _wait_patiently(self, condition: Callable[[], bool]) -> None:
        while not self.supervisor.wait_until(condition, timeout_s=PATIENCE_S):
            print(f"The site does not answer yet; {self._last_words('web')}", file=sys.stderr, flush=True)

    def _site_answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine
        try:
            with direct.open(self.options.address + "/", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True  # a refusal is an answer too
        except OSError:
            return False

    def _start_engines(self) -> None:
        self._start_workers(services.engine_work(with_gpu=services.has_cuda()))

    def _start_workers(self, workers: dict[str, str]) -> None:
        # The site takes its address from each request; a job has none, and recipe.lock has to name this hub.
        address = os.environ.get("PUBLIC_URL") or self.options.address
        for name, queues in workers.items():
            self.supervisor.start(services.worker(name, queues=queues, address=address))

    def _seed_demo(self) -> None:
        """Until it is complete: its first step that failed, often the download of the weights, is tried again."""
        while True:
            with self._step("Demo community") as step:
                if self.supervisor.run_once(ChildSpec("seed_demo", self._manage("seed_demo"))) == 0:
                    self._demo_marker.touch()
                    return
                sentence = f"The demo community is not complete; {self._last_words('seed_demo')}."
                self._fail(step, f"{sentence} It is tried again in {RETRY_S} seconds.")
            self._print_accounts()  # the site can be used meanwhile
            self.supervisor.wait_until(lambda: False, timeout_s=RETRY_S)

    # -- what others see --------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, name: str) -> Iterator[Step]:
        [step] = [one for one in self.progress.steps if one.name == name]
        print(f"  {name} ...", flush=True)
        step.state, step.detail, began = "now", "", time.monotonic()
        self._set_state(name)
        self._save_progress()
        yield step
        if step.state == "now":
            step.state, step.seconds, step.share = "done", time.monotonic() - began, 1.0
        self._save_progress()

    def _fail(self, step: Step, sentence: str) -> None:
        step.state, step.detail = "failed", sentence
        print(sentence, file=sys.stderr, flush=True)

    def _save_progress(self) -> None:
        write_json(self.data_dir / "setup.json", self.progress.as_json())

    def _set_state(self, state: str) -> None:
        self.state = state
        self._write_state()

    def _write_state(self) -> None:
        content = {
            "version": 1,
            "address": self.options.address,
            "host": self.options.host,
            "port": self.options.port,
            "listener_port": self.listener_port,
            "state": self.state,
            "pid": self.front_pid,
            "supervisor_pid": os.getpid(),
            "children": self.supervisor.pids(),
        }
        write_json(self.data_dir / "hub.json", content)

    def _announce(self, missing: list[str], wants_demo: bool) -> None:
        print(f"\nModel Commons is at {self.options.address}")
        print(f"Its data is in {self.data_dir}, its logs in {self.data_dir}/logs")
        if "models" in missing:
            print("The engine is still being installed; every page shows how far it is.")
        if wants_demo:
            print("The demo community is being made; how to sign in is printed here when it is there.")
        elif not self.options.with_demo:
            print("How to make your account is printed here when all programs run.")
        print("Ctrl-C stops everything.", flush=True)

    def _print_accounts(self) -> None:
        content = read_json(self.data_dir / "demo_accounts.json") or {}
        accounts = content.get("accounts") or []
        if not self.options.with_demo or not accounts or self.accounts_printed:
            return
        self.accounts_printed = True
        print(f"\nSign in at {self.options.address}/login as")
        for account in accounts:
            print(f"  {account['name']:<12} password {account['password']:<16} {account.get('about', '')}".rstrip())
        sys.stdout.flush()

    def _print_first_account(self) -> None:
        """Without the demo nobody is there who may operate and moderate the hub."""
        if not self.options.with_demo:
            words = ("./manage.py", "account", "create", "NAME", "--staff", "--moderator", "--data-dir", self.data_dir)
            print(f"\nMake your account, with a name for NAME:\n  {shlex.join(map(str, words))}", flush=True)

    @property
    def _demo_marker(self) -> Path:
        return self.data_dir / "demo_seeded"

    # -- children ---------------------------------------------------------------------------------------------------

    def _child_environment(self) -> dict[str, str]:
        port = self.listener_port
        ours = {
            "DATA_DIR": str(self.data_dir),
            "DJANGO_SETTINGS_MODULE": "hub.site.settings",
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": services.broker_url(self.data_dir),
            # Listening on every address, the listener is reached by the name that the browser used for the site.
            "LISTENER_URL": f":{port}" if self.options.host in WILDCARDS else self._listener_address(port),
        }
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            # Compiling all packages anew makes each of these programs start three times as slowly: kept where it may be.
            ours |= {"PYTHONPYCACHEPREFIX": str(self.data_dir / "cache" / "bytecode")}
        return ours | {**os.environ, "DATA_DIR": str(self.data_dir), "PYTHONDONTWRITEBYTECODE": ""}

    def _listener_address(self, port: int) -> str:
        return f"{self.options.address.rpartition(':')[0]}:{port}"

    def _last_words(self, name: str) -> str:
        return last_words(self.data_dir / "logs" / f"{name}.log")

    def _manage(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, str(CHECKOUT / "manage.py"), *arguments)


def _hold_free_port(host: str, wanted: int) -> socket.socket:
    """`wanted` if it can be listened on, else any free port; held until closed."""
    try:
        return hold_port(host, wanted)
    except Refusal:
        return hold_port(host, 0)
