// The common script (../README.md) with the official Node SDK. It speaks https only: NODE_EXTRA_CA_CERTS names our CA.
const { trtc } = require("tencentcloud-sdk-nodejs");
const env = process.env;

function client(secretKey, signMethod = "TC3-HMAC-SHA256", reqMethod = "POST") {
  return new trtc.v20190722.Client({
    credential: { secretId: env.SECRET_ID, secretKey },
    region: "ap-singapore",
    profile: { signMethod, httpProfile: { endpoint: env.ENDPOINT, reqMethod } },
  });
}

const app = Number(env.SDK_APP_ID);
const create = (mode, room = "") => ({
  SdkAppId: app, RoomId: env.ROOM + room, RoomIdType: 0, UserId: env.ROBOT, UserSig: env.USER_SIG,
  RecordParams: {
    RecordMode: mode, MaxIdleTime: 60,
    SubscribeStreamUserIds: { SubscribeAudioUserIds: ["alice", "b.*$"], UnSubscribeVideoUserIds: [] },
  },
  StorageParams: { CloudStorage: {
    Vendor: 1, Region: "us-east-1", Bucket: "recordings", AccessKey: "AK", SecretKey: "SK", FileNamePrefix: ["a", "b"] } },
  MixLayoutParams: { MixLayoutMode: 4, WaterMarkList: [], MixLayoutList: [
    { Top: 0, Left: 0, Width: 640, Height: 720, UserId: "alice" }, { Top: 0, Left: 640, Width: 640, Height: 720 }] },
});
const code = async (promise) => { try { await promise; return "ok"; } catch (refused) { return refused.code || String(refused); } };

// Create, describe and delete, signed and sent in one of the ways the SDK has.
async function eachWay(sign, method, i) {
  const target = client(env.SECRET_KEY, sign, method);
  await new Promise((done) => setTimeout(done, 300)); // three calls of one action in each way, of 20 in a second
  const { TaskId } = await target.CreateCloudRecording(create(1, ` +${i}`));
  const { Status } = await target.DescribeCloudRecording({ SdkAppId: app, TaskId });
  await target.DeleteCloudRecording({ SdkAppId: app, TaskId });
  const wrong = await code(client("x".repeat(32), sign, method).DescribeCloudRecording({ SdkAppId: app, TaskId }));
  const far = await code(target.DescribeCloudRecording({ SdkAppId: app, TaskId: "任务 a+b" }));
  const told = [Status, wrong, far].join();
  return told === "Idle,AuthFailure.SignatureFailure,ResourceNotFound" ? "ok" : `${sign} ${method}: ${told}`;
}

(async () => {
  const good = client(env.SECRET_KEY);
  const seen = {};
  const { TaskId } = await good.CreateCloudRecording(create(1));
  seen.create = TaskId ? "ok" : "no TaskId";
  seen.describe = (await good.DescribeCloudRecording({ SdkAppId: app, TaskId })).Status;
  seen.signature = await code(client("x".repeat(32)).DescribeCloudRecording({ SdkAppId: app, TaskId }));
  seen.validation = await code(good.CreateCloudRecording(create(7)));
  seen.unicode = await code(good.DescribeCloudRecording({ SdkAppId: app, TaskId: "任务 a+b" }));
  const ways = [];
  for (const sign of ["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"])
    for (const method of ["POST", "GET"]) {
      const told = await eachWay(sign, method, ways.length).catch((fault) => `${sign} ${method}: ${fault.code} ${fault}`);
      ways.push(told);
    }
  seen.ways = ways.every((told) => told === "ok") ? "ok" : ways.join();
  let limited = false;
  for (let i = 0; i < 200 && !limited; i++) {
    const burst = await Promise.all(Array.from({ length: 10 }, () => code(good.DescribeCloudRecording({ SdkAppId: app, TaskId }))));
    limited = burst.includes("RequestLimitExceeded");
  }
  let again = "";
  for (let i = 0; i < 20 && again !== "ok"; i++) {
    await new Promise((done) => setTimeout(done, 200));
    again = await code(good.DescribeCloudRecording({ SdkAppId: app, TaskId }));
  }
  seen.limit = limited && again === "ok" ? "retried" : `limited ${limited}, then ${again}`;
  seen.delete = await code(good.DeleteCloudRecording({ SdkAppId: app, TaskId }));
  console.log(JSON.stringify(seen));
})().catch((fault) => { console.error(fault); process.exit(1); });
