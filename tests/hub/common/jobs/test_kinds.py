"""Every kind that the source names has a body, and every queue a worker."""

import ast
from pathlib import Path

from hub.common import jobs
from hub.site.bootstrap import services

SOURCE = [path for room in ("hub", "training", "moderation") for path in Path(room).rglob("*.py")]


def test_every_job_that_the_source_names_has_a_body():
    named = set()
    for path in SOURCE:
        for node in ast.walk(ast.parse(path.read_text())):
            function = getattr(node, "func", None)
            if getattr(function, "id", getattr(function, "attr", "")) == "enqueue" and path.parent.name != "jobs":
                kind = node.args[0]
                if isinstance(kind, ast.Name):  # a constant of its module
                    module = __import__(".".join(path.with_suffix("").parts), fromlist=["x"])
                    named.add(getattr(module, kind.id))
                else:
                    named.add(ast.literal_eval(kind))
    assert len(named) >= 6
    assert named - set(jobs.bodies) == set()


def test_every_queue_has_work_and_with_and_without_a_gpu_a_listener():
    """The queue for the GPU had a listener and no body: a machine with a GPU trained beside an idle worker."""
    assert {body.queue for body in jobs.bodies.values()} == set(jobs.QUEUES)
    for with_gpu in (False, True):
        workers = services.SHORT_WORK | services.engine_work(with_gpu=with_gpu)
        assert {queue for queues in workers.values() for queue in queues.split(",")} == set(jobs.QUEUES)


def test_lost_leases_are_found_while_long_work_is_done():
    """Two long screenings held all that was short: sweeps, candidates and the playground."""
    from hub.site.celery import app

    quick = app.amqp.router.route({}, "hub.sweep_jobs")["queue"].name
    assert [queues for queues in services.SHORT_WORK.values() if quick in queues.split(",")] == [quick]
    assert {jobs.bodies[kind].queue for kind in ("training.rebuild", "repos.reconcile")} == {quick}
    assert jobs.bodies["training.chat"].queue != jobs.bodies["moderation.screen_data"].queue != quick


def test_what_computes_with_a_model_is_for_the_gpu():
    kinds = ("training.train", "training.evaluate", "training.sample")
    assert {jobs.bodies[kind].queue for kind in kinds} == {"gpu"}


def test_every_body_is_asked_for_by_somebody_or_comes_round_by_itself():
    asked = "".join(path.read_text() for path in SOURCE)
    constants = {"moderation.screen_data": "SCREEN_KIND", "training.chat": "KIND", "repos.purge": "enqueue(KIND"}
    constants["moderation.try_policy"] = 'enqueue(KIND, subject=f"policy'
    for kind, body in jobs.bodies.items():
        name = constants.get(kind, f'"{kind}"')
        assert body.every_s or asked.count(name) > (0 if name.startswith("enqueue(") else 1), kind
