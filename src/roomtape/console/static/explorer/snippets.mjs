// The same call as code. The only place that writes code; the page and the tests use it alike.
// A key is never part of it: every snippet reads TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY.
import { write } from "./json.mjs";

const WORDS = { true: "True", false: "False", null: "None" };

// A Python literal: JSON but for three words.
function python(value, depth = 1) {
  if (value === null || typeof value === "boolean") return WORDS[value];
  if (typeof value !== "object") return write(value);
  const inner = `\n${"    ".repeat(depth)}`, outer = `\n${"    ".repeat(depth - 1)}`;
  const parts = Array.isArray(value)
    ? value.map((item) => python(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length ? `${open}${inner}${parts.join(`,${inner}`)},${outer}${close}` : open + close;
}

const shell = (value) => `'${value.replaceAll("'", `'\\''`)}'`;
const indented = (value, by) => value.replaceAll("\n", `\n${by}`);

function ofPython({ action, region, scheme, host, body }) {
  return `# pip install tencentcloud-sdk-python
import json
import os

from tencentcloud.common import credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client

key = credential.Credential(os.environ["TENCENTCLOUD_SECRET_ID"], os.environ["TENCENTCLOUD_SECRET_KEY"])
http = HttpProfile(protocol=${JSON.stringify(scheme)}, endpoint=${JSON.stringify(host)})
client = trtc_client.TrtcClient(key, ${JSON.stringify(region)}, ClientProfile(httpProfile=http))

request = models.${action}Request()
request.from_json_string(json.dumps(${python(body)}))
print(client.${action}(request).to_json_string())
`;
}

function ofGo({ action, version, region, scheme, host, body }) {
  const json = write(body, 2);
  const literal = json.includes("`") ? JSON.stringify(json) : `\`${json}\``;
  return `// go get github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common
package main

import (
	"fmt"
	"os"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

const body = ${literal}

func main() {
	key := common.NewCredential(os.Getenv("TENCENTCLOUD_SECRET_ID"), os.Getenv("TENCENTCLOUD_SECRET_KEY"))
	settings := profile.NewClientProfile()
	settings.HttpProfile.Scheme = ${JSON.stringify(scheme)}
	settings.HttpProfile.Endpoint = ${JSON.stringify(host)}
	client := common.NewCommonClient(key, ${JSON.stringify(region)}, settings)

	request := tchttp.NewCommonRequest("trtc", ${JSON.stringify(version)}, ${JSON.stringify(action)})
	if err := request.SetActionParameters(body); err != nil {
		panic(err)
	}
	response := tchttp.NewCommonResponse()
	if err := client.Send(request, response); err != nil {
		panic(err)
	}
	fmt.Println(string(response.GetBody()))
}
`;
}

function ofJava({ action, region, scheme, host, body }) {
  const json = write(body, 2).replaceAll("\\", "\\\\").replaceAll('"""', '\\"\\"\\"');
  return `// Maven: com.tencentcloudapi:tencentcloud-sdk-java-trtc; Java 15 or later for the text block
import com.tencentcloudapi.common.AbstractModel;
import com.tencentcloudapi.common.Credential;
import com.tencentcloudapi.common.profile.ClientProfile;
import com.tencentcloudapi.common.profile.HttpProfile;
import com.tencentcloudapi.trtc.v20190722.TrtcClient;
import com.tencentcloudapi.trtc.v20190722.models.${action}Request;

public class Main {
    private static final String BODY = """
        ${indented(json, "        ")}
        """;

    public static void main(String[] args) throws Exception {
        Credential key = new Credential(
            System.getenv("TENCENTCLOUD_SECRET_ID"), System.getenv("TENCENTCLOUD_SECRET_KEY"));
        HttpProfile http = new HttpProfile();
        http.setProtocol(${JSON.stringify(`${scheme}://`)});
        http.setEndpoint(${JSON.stringify(host)});
        ClientProfile profile = new ClientProfile();
        profile.setHttpProfile(http);
        TrtcClient client = new TrtcClient(key, ${JSON.stringify(region)}, profile);

        ${action}Request request = AbstractModel.fromJsonString(BODY, ${action}Request.class);
        System.out.println(AbstractModel.toJsonString(client.${action}(request)));
    }
}
`;
}

function ofNode({ action, region, scheme, host, body }) {
  const note = scheme === "https" ? "" : "// This SDK speaks https only: it needs a server with TLS (`roomtape dev --tls`).\n";
  return `// npm install tencentcloud-sdk-nodejs
${note}const { trtc } = require("tencentcloud-sdk-nodejs");

const client = new trtc.v20190722.Client({
  credential: { secretId: process.env.TENCENTCLOUD_SECRET_ID, secretKey: process.env.TENCENTCLOUD_SECRET_KEY },
  region: ${JSON.stringify(region)},
  profile: { httpProfile: { endpoint: ${JSON.stringify(host)} } },
});

client.${action}(${write(body, 2)}).then(
  (answer) => console.log(JSON.stringify(answer)),
  (refused) => { console.error(refused); process.exitCode = 1; },
);
`;
}

function ofTccli({ action, region, scheme, host, body }) {
  return `# pip install tccli
cat > request.json <<'JSON'
${write(body, 2)}
JSON
tccli trtc ${action} --region ${shell(region)} --endpoint ${shell(scheme === "https" ? host : `http://${host}`)} \\
  --cli-input-json file://request.json
`;
}

function ofCurl({ action, version, region, scheme, host, body }) {
  return `#!/bin/sh
# Needs curl and openssl. Other users of this machine can see the key in the list of processes meanwhile.
set -eu
host=${shell(host)}
body=${shell(write(body))}

sha256() { openssl dgst -sha256 -r | cut -d ' ' -f 1; }
hmac() { openssl dgst -sha256 -mac HMAC -macopt "$1" -r | cut -d ' ' -f 1; }

now=$(date -u '+%s %Y-%m-%d')
timestamp=\${now% *} date=\${now#* }
hashed=$(printf %s "$body" | sha256)
canonical=$(printf 'POST\\n/\\n\\ncontent-type:application/json\\nhost:%s\\n\\ncontent-type;host\\n%s' "$host" "$hashed" | sha256)
key=$(printf %s "$date" | hmac "key:TC3$TENCENTCLOUD_SECRET_KEY")
key=$(printf trtc | hmac "hexkey:$key")
key=$(printf tc3_request | hmac "hexkey:$key")
signature=$(printf 'TC3-HMAC-SHA256\\n%s\\n%s/trtc/tc3_request\\n%s' "$timestamp" "$date" "$canonical" | hmac "hexkey:$key")

curl --silent --show-error ${shell(`${scheme}://${host}/`)} --data-binary "$body" \\
  -H "Authorization: TC3-HMAC-SHA256 Credential=$TENCENTCLOUD_SECRET_ID/$date/trtc/tc3_request, SignedHeaders=content-type;host, Signature=$signature" \\
  -H 'Content-Type: application/json' \\
  -H 'X-TC-Action: ${action}' \\
  -H 'X-TC-Version: ${version}' \\
  -H "X-TC-Timestamp: $timestamp" \\
  -H ${shell(`X-TC-Region: ${region}`)}
`;
}

export const LANGUAGES = {
  python: { name: "Python", file: "call.py", make: ofPython },
  go: { name: "Go", file: "main.go", make: ofGo },
  java: { name: "Java", file: "Main.java", make: ofJava },
  node: { name: "Node", file: "call.js", make: ofNode },
  tccli: { name: "tccli", file: "call.sh", make: ofTccli },
  curl: { name: "curl", file: "call.sh", make: ofCurl },
};

// The code of a call {action, version, region, scheme, host, body} in one of the languages.
export function generate(language, call) {
  return LANGUAGES[language].make(call);
}
