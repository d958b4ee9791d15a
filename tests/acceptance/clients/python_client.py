"""The common script (README.md here) with the official Python SDK that is installed in this environment."""

import json
import os
import sys
import threading
import time

from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client

APP = int(os.environ["SDK_APP_ID"])


WAYS = [(sign, method, False) for sign in ("TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256") for method in ("POST", "GET")]
WAYS += [("TC3-HMAC-SHA256", method, True) for method in ("POST", "GET")]


def client(secret_key, sign="TC3-HMAC-SHA256", method="POST", unsigned=False):
    http = HttpProfile(protocol=os.environ["SCHEME"], endpoint=os.environ["ENDPOINT"], reqMethod=method)
    profile = ClientProfile(signMethod=sign, httpProfile=http)
    profile.unsignedPayload = unsigned
    cred = credential.Credential(os.environ["SECRET_ID"], secret_key)
    return trtc_client.TrtcClient(cred, "ap-singapore", profile)


def request(action, params):
    made = getattr(models, action + "Request")()
    made.from_json_string(json.dumps(params))
    return made


def code(target, action, params):
    try:
        getattr(target, action)(request(action, params))
    except TencentCloudSDKException as refused:
        return refused.get_code()
    return "ok"


def create(mode, room=""):
    return {
        "SdkAppId": APP, "RoomId": os.environ["ROOM"] + room, "RoomIdType": 0, "UserId": os.environ["ROBOT"],
        "UserSig": os.environ["USER_SIG"],
        "RecordParams": {"RecordMode": mode, "MaxIdleTime": 60, "SubscribeStreamUserIds": {
            "SubscribeAudioUserIds": ["alice", "b.*$"], "UnSubscribeVideoUserIds": []}},
        "StorageParams": {"CloudStorage": {"Vendor": 1, "Region": "us-east-1", "Bucket": "recordings",
                                           "AccessKey": "AK", "SecretKey": "SK", "FileNamePrefix": ["a", "b"]}},
        "MixLayoutParams": {"MixLayoutMode": 4, "WaterMarkList": [], "MixLayoutList": [
            {"Top": 0, "Left": 0, "Width": 640, "Height": 720, "UserId": "alice"},
            {"Top": 0, "Left": 640, "Width": 640, "Height": 720}]},
    }  # fmt: skip


def each_way(i, sign, method, unsigned):
    """Create, describe and delete, signed and sent in one of the ways the SDK has."""
    target = client(os.environ["SECRET_KEY"], sign, method, unsigned)
    time.sleep(0.3)  # three calls of one action in each way, of 20 in a second
    try:
        one = {"SdkAppId": APP, "TaskId": target.CreateCloudRecording(request("CreateCloudRecording", create(1, f" +{i}"))).TaskId}
        told = target.DescribeCloudRecording(request("DescribeCloudRecording", one)).Status
        target.DeleteCloudRecording(request("DeleteCloudRecording", one))
    except TencentCloudSDKException as refused:
        return f"{sign} {method}: {refused}"
    wrong = code(client("x" * 32, sign, method, unsigned), "DescribeCloudRecording", one)
    far = code(target, "DescribeCloudRecording", {"SdkAppId": APP, "TaskId": "任务 a+b"})
    good = (told, wrong, far) == ("Idle", "AuthFailure.SignatureFailure", "ResourceNotFound")
    return "ok" if good else f"{sign} {method}: {told}, {wrong}, {far}"


def main():
    good = client(os.environ["SECRET_KEY"])
    seen = {}
    task = good.CreateCloudRecording(request("CreateCloudRecording", create(1))).TaskId
    one = {"SdkAppId": APP, "TaskId": task}
    seen["create"] = "ok" if task else "no TaskId"
    seen["describe"] = good.DescribeCloudRecording(request("DescribeCloudRecording", one)).Status
    seen["signature"] = code(client("x" * 32), "DescribeCloudRecording", one)
    seen["validation"] = code(good, "CreateCloudRecording", create(7))
    seen["unicode"] = code(good, "DescribeCloudRecording", {"SdkAppId": APP, "TaskId": "任务 a+b"})
    ways = [each_way(i, *way) for i, way in enumerate(WAYS)]
    seen["ways"] = "ok" if set(ways) == {"ok"} else str(ways)
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.extend(code(client(os.environ["SECRET_KEY"]), "DescribeCloudRecording", one) for _ in range(12)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    limited, again = "RequestLimitExceeded" in codes, ""
    for _ in range(20):
        again = code(good, "DescribeCloudRecording", one)
        if again == "ok":
            break
        time.sleep(0.2)
    seen["limit"] = "retried" if limited and again == "ok" else f"limited {limited}, then {again}"
    seen["delete"] = code(good, "DeleteCloudRecording", one)
    sys.stdout.write(json.dumps(seen) + "\n")


main()
