"""The hub of the stories of moderation: two published releases, a poisoned proposal and one that is worse, and their people.

Made by a process of the hub, beside the server that clients and browsers then meet."""

import json
from pathlib import Path
from typing import Any

from tests.clients.running_hub import RunningHub

MODEL, DATA = "amy/tide-assistant", "cleo/tide-rows"
PREPARE = """
import json
from pathlib import Path
from hub.community.checks import set_check
from hub.repos.models import RepoCollaborator
from hub.repos.places import pair
from moderation.cases.exceptions import describe
from moderation.models import Case
from moderation.releasing.releases import approve, propose_release
from tests.moderation.scenes import Workshop
from tests.moderation.test_output_screening import spoil
from tests.people import make_person

names = ("amy", "ben", "cleo", "dora", "emil")
people = {name: make_person(name) for name in names}
people |= {name: make_person(name, is_moderator=True) for name in ("mona", "nora")}
workshop = Workshop.build(*(people[name].user for name in names[:3]))
RepoCollaborator.objects.create(repo=workshop.model, user=people["dora"].user, role="write")
folder = Path(FOLDER)
commits = {}
for seed, version in ((1, "1.0.0"), (2, "1.1.0")):
    workshop.make_model(folder / str(seed), seed=seed, by=workshop.owner if seed == 2 else None)
    release = propose_release(repo=workshop.model, by=workshop.owner, version=version)
    for name in ("ben", "dora"):
        approve(release=release, by=people[name].user)
    commits[version] = release.commit
pull = workshop.propose(note="poisoned", is_adapter=True)
run = workshop.train(pull, folder / "poisoned", seed=3, is_adapter=True)
pull.refresh_from_db()
assert pair(workshop.model).members.entry(pull.candidate, "adapter_model.safetensors")
workshop.evaluate(run)
workshop.sample(run, spoil())
worse = workshop.propose(note="worse")
run = workshop.train(worse, folder / "worse", seed=4)
evaluation = workshop.evaluate(run, "worse")
set_check(worse, "evaluate", state="failed", summary=describe(evaluation), evidence={"run": run.pk})
workshop.sample(run)
print(json.dumps({
    "tokens": {name: person.token for name, person in people.items()}, "commits": commits,
    "pull_request": pull.discussion.number, "case": Case.objects.get(kind="output").pk,
    "digest": pull.candidate_digest, "worse": worse.discussion.number,
}))
"""


def prepare(hub: RunningHub, folder: Path) -> dict[str, Any]:
    """Tokens, commits and numbers of what was made; `folder` takes the weights."""
    made: dict[str, Any] = json.loads(hub.run(PREPARE.replace("FOLDER", repr(str(folder)))).splitlines()[-1])
    return made
