// The common script (../README.md) with the official Node SDK. It speaks https only: NODE_EXTRA_CA_CERTS names our CA.
const { trtc } = require("tencentcloud-sdk-nodejs");
const env = process.env;

function client(secretKey) {
  return new trtc.v20190722.Client({
    credential: { secretId: env.SECRET_ID, secretKey },
    region: "ap-singapore",
    profile: { httpProfile: { endpoint: env.ENDPOINT } },
  });
}

const app = Number(env.SDK_APP_ID);
const create = (mode) => ({
  SdkAppId: app, RoomId: env.ROOM, RoomIdType: 0, UserId: env.ROBOT, UserSig: env.USER_SIG,
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

(async () => {
  const good = client(env.SECRET_KEY);
  const seen = {};
  const { TaskId } = await good.CreateCloudRecording(create(1));
  seen.create = TaskId ? "ok" : "no TaskId";
  seen.describe = (await good.DescribeCloudRecording({ SdkAppId: app, TaskId })).Status;
  seen.signature = await code(client("x".repeat(32)).DescribeCloudRecording({ SdkAppId: app, TaskId }));
  seen.validation = await code(good.CreateCloudRecording(create(7)));
  seen.unicode = await code(good.DescribeCloudRecording({ SdkAppId: app, TaskId: "任务 a+b" }));
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
