// The common script (../README.md) with the official Go SDK's common client, which signs and sends any action.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

type object = map[string]any

func client(secretKey string, retries int) *common.Client {
	return clientAt(os.Getenv("ENDPOINT"), secretKey, retries, false)
}

func clientAt(endpoint, secretKey string, retries int, unsigned bool) *common.Client {
	settings := profile.NewClientProfile()
	settings.UnsignedPayload = unsigned
	settings.HttpProfile.Scheme = os.Getenv("SCHEME")
	settings.HttpProfile.Endpoint = endpoint
	settings.RateLimitExceededMaxRetries = retries
	return common.NewCommonClient(common.NewCredential(os.Getenv("SECRET_ID"), secretKey), "ap-singapore", settings)
}

// call returns the answer's members, or the error's code.
func call(c *common.Client, action string, params object) (object, string) {
	request := tchttp.NewCommonRequest("trtc", "2019-07-22", action)
	if err := request.SetActionParameters(params); err != nil {
		return nil, err.Error()
	}
	response := tchttp.NewCommonResponse()
	if err := c.Send(request, response); err != nil {
		if refused, ok := err.(*tcerr.TencentCloudSDKError); ok {
			return nil, refused.Code
		}
		return nil, err.Error()
	}
	var body struct{ Response object }
	if err := json.Unmarshal(response.GetBody(), &body); err != nil {
		return nil, err.Error()
	}
	return body.Response, "ok"
}

func create(mode int) object {
	app, _ := strconv.ParseInt(os.Getenv("SDK_APP_ID"), 10, 64)
	return object{
		"SdkAppId": app, "RoomId": os.Getenv("ROOM"), "RoomIdType": 0, "UserId": os.Getenv("ROBOT"), "UserSig": os.Getenv("USER_SIG"),
		"RecordParams": object{"RecordMode": mode, "MaxIdleTime": 60, "SubscribeStreamUserIds": object{
			"SubscribeAudioUserIds": []string{"alice", "b.*$"}, "UnSubscribeVideoUserIds": []string{}}},
		"StorageParams": object{"CloudStorage": object{"Vendor": 1, "Region": "us-east-1", "Bucket": "recordings",
			"AccessKey": "AK", "SecretKey": "SK", "FileNamePrefix": []string{"a", "b"}}},
		"MixLayoutParams": object{"MixLayoutMode": 4, "WaterMarkList": []object{}, "MixLayoutList": []object{
			{"Top": 0, "Left": 0, "Width": 640, "Height": 720, "UserId": "alice"},
			{"Top": 0, "Left": 640, "Width": 640, "Height": 720}}},
	}
}

func main() {
	app, _ := strconv.ParseInt(os.Getenv("SDK_APP_ID"), 10, 64)
	good := client(os.Getenv("SECRET_KEY"), 0)
	seen := map[string]string{}
	made, code := call(good, "CreateCloudRecording", create(1))
	seen["create"] = code
	task, _ := made["TaskId"].(string)
	one := object{"SdkAppId": app, "TaskId": task}
	if told, code := call(good, "DescribeCloudRecording", one); code == "ok" {
		seen["describe"] = fmt.Sprint(told["Status"])
	} else {
		seen["describe"] = code
	}
	_, seen["signature"] = call(client(strings.Repeat("x", 32), 0), "DescribeCloudRecording", one)
	_, seen["validation"] = call(good, "CreateCloudRecording", create(7))
	_, seen["unicode"] = call(good, "DescribeCloudRecording", object{"SdkAppId": app, "TaskId": "任务 a+b"})
	// Its common client knows JSON bodies only; they may be unsigned, and the endpoint may have a path.
	seen["ways"] = "ok"
	for _, endpoint := range []string{os.Getenv("ENDPOINT"), os.Getenv("ENDPOINT") + "/" + os.Getenv("PREFIX")} {
		for _, unsigned := range []bool{false, true} {
			time.Sleep(300 * time.Millisecond) // two calls of one action in each way, of 20 in a second
			told, code := call(clientAt(endpoint, os.Getenv("SECRET_KEY"), 0, unsigned), "DescribeCloudRecording", one)
			_, wrong := call(clientAt(endpoint, strings.Repeat("x", 32), 0, unsigned), "DescribeCloudRecording", one)
			if code != "ok" || told["Status"] != "Idle" || wrong != "AuthFailure.SignatureFailure" {
				seen["ways"] = fmt.Sprint(endpoint, " unsigned ", unsigned, ": ", code, ", ", told, ", ", wrong)
			}
		}
	}
	codes := make(chan string, 120)
	for i := 0; i < 120; i++ {
		go func() { _, c := call(good, "DescribeCloudRecording", one); codes <- c }()
		if i%40 == 39 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	limited := false
	for i := 0; i < 120; i++ {
		limited = <-codes == "RequestLimitExceeded" || limited
	}
	// The SDK itself waits and sends the same request again.
	_, again := call(client(os.Getenv("SECRET_KEY"), 3), "DescribeCloudRecording", one)
	if limited && again == "ok" {
		seen["limit"] = "retried"
	} else {
		seen["limit"] = fmt.Sprint("limited ", limited, ", then ", again)
	}
	_, seen["delete"] = call(good, "DeleteCloudRecording", one)
	text, _ := json.Marshal(seen)
	fmt.Println(string(text))
}
