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


def client(secret_key):
    http = HttpProfile(protocol=os.environ["SCHEME"], endpoint=os.environ["ENDPOINT"])
    cred = credential.Credential(os.environ["SECRET_ID"], secret_key)
    return trtc_client.TrtcClient(cred, "ap-singapore", ClientProfile(httpProfile=http))


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


def create(mode):
    return {
        "SdkAppId": APP, "RoomId": os.environ["ROOM"], "RoomIdType": 0, "UserId": os.environ["ROBOT"],
        "UserSig": os.environ["USER_SIG"],
        "RecordParams": {"RecordMode": mode, "MaxIdleTime": 60, "SubscribeStreamUserIds": {
            "SubscribeAudioUserIds": ["alice", "b.*$"], "UnSubscribeVideoUserIds": []}},
        "StorageParams": {"CloudStorage": {"Vendor": 1, "Region": "us-east-1", "Bucket": "recordings",
                                           "AccessKey": "AK", "SecretKey": "SK", "FileNamePrefix": ["a", "b"]}},
        "MixLayoutParams": {"MixLayoutMode": 4, "WaterMarkList": [], "MixLayoutList": [
            {"Top": 0, "Left": 0, "Width": 640, "Height": 720, "UserId": "alice"},
            {"Top": 0, "Left": 640, "Width": 640, "Height": 720}]},
    }  # fmt: skip


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
