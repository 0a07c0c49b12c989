"""What this hub does not do, it refuses in one sentence that the stock client shows: no retries, no traceback of ours."""

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import Volume
from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError

SPACE = "alice/rooms"
BUCKET = "alice/pail"


def expect_refusal(call: Callable[[], Any]) -> str:
    """The sentence of the refusal. Iterators are asked for their first item."""
    with pytest.raises((HfHubHTTPError, BucketNotFoundError)) as refusal:
        answer = call()
        if hasattr(answer, "__next__"):
            next(answer)
    assert refusal.value.response.status_code == 501
    text = str(refusal.value)
    assert "Request ID" in text
    assert "This hub has no" in text or refusal.value.response.request.method == "HEAD"
    return text


@pytest.fixture
def space(api) -> str:
    api.create_repo(SPACE, repo_type="space", space_sdk="static", exist_ok=True)
    return SPACE


@pytest.mark.covers(
    "HfApi.add_space_secret", "HfApi.delete_space_secret", "HfApi.get_space_secrets", "HfApi.get_space_variables",
    "HfApi.add_space_variable", "HfApi.delete_space_variable", "HfApi.get_space_runtime", "HfApi.request_space_hardware",
    "HfApi.set_space_sleep_time", "HfApi.pause_space", "HfApi.restart_space", "HfApi.enable_space_dev_mode",
    "HfApi.disable_space_dev_mode", "HfApi.set_space_volumes", "HfApi.delete_space_volumes", "HfApi.wait_for_space",
    "HfApi.fetch_space_logs", refused=True,
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("add_space_secret", ("KEY", "value")),
        ("delete_space_secret", ("KEY",)),
        ("get_space_secrets", ()),
        ("get_space_variables", ()),
        ("add_space_variable", ("KEY", "value")),
        ("delete_space_variable", ("KEY",)),
        ("get_space_runtime", ()),
        ("request_space_hardware", ("cpu-basic",)),
        ("set_space_sleep_time", (60,)),
        ("pause_space", ()),
        ("restart_space", ()),
        ("enable_space_dev_mode", ()),
        ("disable_space_dev_mode", ()),
        ("set_space_volumes", ([Volume(type="model", source="alice/m", mount_path="/m")],)),
        ("delete_space_volumes", ()),
        ("wait_for_space", ()),
        ("fetch_space_logs", ()),
    ],
)
def test_a_space_is_kept_and_never_run(api, space, method, more):
    expect_refusal(lambda: getattr(api, method)(space, *more))


@pytest.mark.covers(
    "HfApi.list_space_templates", "HfApi.list_spaces_hardware", "HfApi.get_zero_gpu_quota", "HfApi.search_spaces",
    "HfApi.list_jobs_hardware", refused=True,
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("list_space_templates", ()),
        ("list_spaces_hardware", ()),
        ("get_zero_gpu_quota", ()),
        ("search_spaces", ("tides",)),
        ("list_jobs_hardware", ()),
    ],
)
def test_there_is_no_catalogue_of_machines(api, method, more):
    expect_refusal(lambda: getattr(api, method)(*more))


@pytest.mark.covers(
    "HfApi.run_job", "HfApi.run_uv_job", "HfApi.list_jobs", "HfApi.inspect_job", "HfApi.wait_for_job",
    "HfApi.rerun_job", "HfApi.cancel_job", "HfApi.fetch_job_logs", "HfApi.fetch_job_metrics", "HfApi.update_job_expose",
    "HfApi.update_job_labels", "HfApi.create_scheduled_job", "HfApi.create_scheduled_uv_job",
    "HfApi.list_scheduled_jobs", "HfApi.inspect_scheduled_job", "HfApi.delete_scheduled_job",
    "HfApi.suspend_scheduled_job", "HfApi.resume_scheduled_job", "HfApi.update_scheduled_job_schedule",
    "HfApi.trigger_scheduled_job", "HfApi.update_scheduled_job_labels", refused=True,
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("run_job", {"image": "python", "command": ["true"]}),
        ("run_uv_job", {"script": "https://example.org/a.py"}),
        ("list_jobs", {}),
        ("inspect_job", {"job_id": "1"}),
        ("wait_for_job", {"job_id": "1"}),
        ("rerun_job", {"job_id": "1"}),
        ("cancel_job", {"job_id": "1"}),
        ("fetch_job_logs", {"job_id": "1"}),
        ("fetch_job_metrics", {"job_id": "1"}),
        ("update_job_expose", {"job_id": "1", "expose": [80]}),
        ("update_job_labels", {"job_id": "1", "labels": {"a": "b"}}),
        ("create_scheduled_job", {"image": "python", "command": ["true"], "schedule": "@daily"}),
        ("create_scheduled_uv_job", {"script": "https://example.org/a.py", "schedule": "@daily"}),
        ("list_scheduled_jobs", {}),
        ("inspect_scheduled_job", {"scheduled_job_id": "1"}),
        ("delete_scheduled_job", {"scheduled_job_id": "1"}),
        ("suspend_scheduled_job", {"scheduled_job_id": "1"}),
        ("resume_scheduled_job", {"scheduled_job_id": "1"}),
        ("update_scheduled_job_schedule", {"scheduled_job_id": "1", "schedule": "@daily"}),
        ("trigger_scheduled_job", {"scheduled_job_id": "1"}),
        ("update_scheduled_job_labels", {"scheduled_job_id": "1", "labels": {"a": "b"}}),
    ],
)
def test_no_machines_are_rented_for_jobs(api, method, more):
    namespace = {"namespace": "alice"}
    assert "jobs" in expect_refusal(lambda: getattr(api, method)(**more, **namespace))


@pytest.mark.covers(
    "HfApi.create_bucket", "HfApi.bucket_info", "HfApi.list_buckets", "HfApi.delete_bucket", "HfApi.move_bucket",
    "HfApi.update_bucket_settings", "HfApi.list_bucket_tree", "HfApi.get_bucket_paths_info", "HfApi.batch_bucket_files",
    "HfApi.get_bucket_file_metadata", "HfApi.download_bucket_files", "HfApi.sync_bucket", "HfApi.sync_job_volume",
    refused=True,
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("create_bucket", (BUCKET,)),
        ("bucket_info", (BUCKET,)),
        ("list_buckets", ("alice",)),
        ("delete_bucket", (BUCKET,)),
        ("move_bucket", (BUCKET, "alice/other")),
        ("update_bucket_settings", (BUCKET,)),
        ("list_bucket_tree", (BUCKET,)),
        ("get_bucket_paths_info", (BUCKET, ["a.txt"])),
        ("batch_bucket_files", (BUCKET,)),
        ("get_bucket_file_metadata", (BUCKET, "a.txt")),
        ("download_bucket_files", (BUCKET, [("a.txt", "a.txt")])),
        ("sync_bucket", (f"hf://buckets/{BUCKET}",)),
        ("sync_job_volume", (".", "/data")),
    ],
)
def test_there_are_no_buckets(api, tmp_path, method, given):
    more = {
        "update_bucket_settings": {"private": True},
        "batch_bucket_files": {"delete": ["a.txt"]},
        "sync_bucket": {"dest": str(tmp_path)},
        "sync_job_volume": {"namespace": "alice"},
    }
    if method == "sync_job_volume":
        (tmp_path / "a.txt").write_text("x")
        given = (str(tmp_path), "/data")
    expect_refusal(lambda: getattr(api, method)(*given, **more.get(method, {})))
