"""What is said about requests: one log line, one count, and no secret."""

from __future__ import annotations

import structlog
from prometheus_client import REGISTRY

from tests.support.api import DELETE, Stand, task


async def test_a_request_is_one_log_line_without_a_secret(api: Stand) -> None:
    request = await api.create_request(PrivateMapKey="a-ticket-text")
    request["StorageParams"]["CloudStorage"] |= {"AccessKey": "access-text", "SecretKey": "bucket-text"}
    with structlog.testing.capture_logs() as lines:
        answer = await api.call(
            "CreateCloudRecording",
            request,
            extra={"x-tc-traceid": "t-1", "x-tc-requestclient": "SDK_PYTHON_3.1.193"},
        )
    (line,) = lines
    assert line["action"] == "CreateCloudRecording"
    assert (line["code"], line["request_id"]) == ("OK", answer.response["RequestId"])
    assert (line["secret_id"], line["sdk_app_id"]) == (api.key.secret_id, api.app.sdk_app_id)
    assert (line["address"], line["trace_id"], line["client"]) == (
        *("203.0.113.7", "t-1", "SDK_PYTHON_3.1.193"),
    )
    shown = repr(lines)
    for secret in ("a-ticket-text", "access-text", "bucket-text", request["UserSig"]):
        assert secret not in shown
    assert api.key.secret_key.reveal() not in shown


async def test_a_fault_is_logged_with_its_request_and_without_its_parameters(api: Stand) -> None:
    async def fail(*_: object) -> str:
        raise RuntimeError("broken")

    api.recording.create = fail  # type: ignore[method-assign]
    request = await api.create_request()
    with structlog.testing.capture_logs() as lines:
        answer = await api.call("CreateCloudRecording", request)
    fault = next(line for line in lines if line["event"] == "action_failed")
    assert fault["request_id"] == answer.response["RequestId"]
    assert request["UserSig"] not in repr(lines)


async def test_requests_are_counted_by_action_and_code(api: Stand) -> None:
    def count(action: str, code: str) -> float:
        labels = {"action": action, "code": code}
        return REGISTRY.get_sample_value("roomtape_api_requests_total", labels) or 0.0

    before = count(DELETE, "ResourceNotFound"), count("unknown", "InvalidAction")
    await api.call(DELETE, task(api))
    await api.call("MadeUp", {})
    after = count(DELETE, "ResourceNotFound"), count("unknown", "InvalidAction")
    assert after == (before[0] + 1, before[1] + 1)
