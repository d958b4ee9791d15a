import com.google.gson.Gson;
import com.tencentcloudapi.common.Credential;
import com.tencentcloudapi.common.exception.TencentCloudSDKException;
import com.tencentcloudapi.common.profile.ClientProfile;
import com.tencentcloudapi.common.profile.HttpProfile;
import com.tencentcloudapi.trtc.v20190722.TrtcClient;
import com.tencentcloudapi.trtc.v20190722.models.*;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.IntStream;

/** The common script (../README.md) with the official Java SDK. */
public class Client {
    private static final long APP = Long.parseLong(System.getenv("SDK_APP_ID"));

    private static TrtcClient client(String secretKey) {
        return client(secretKey, ClientProfile.SIGN_TC3_256, HttpProfile.REQ_POST, false);
    }

    private static TrtcClient client(String secretKey, String sign, String method, boolean unsigned) {
        HttpProfile http = new HttpProfile();
        http.setProtocol(System.getenv("SCHEME") + "://");
        http.setEndpoint(System.getenv("ENDPOINT"));
        http.setReqMethod(method);
        ClientProfile profile = new ClientProfile();
        profile.setHttpProfile(http);
        profile.setSignMethod(sign);
        profile.setUnsignedPayload(unsigned);
        return new TrtcClient(new Credential(System.getenv("SECRET_ID"), secretKey), "ap-singapore", profile);
    }

    private static CreateCloudRecordingRequest create(long mode) {
        return create(mode, "");
    }

    private static CreateCloudRecordingRequest create(long mode, String room) {
        SubscribeStreamUserIds lists = new SubscribeStreamUserIds();
        lists.setSubscribeAudioUserIds(new String[] {"alice", "b.*$"});
        lists.setUnSubscribeVideoUserIds(new String[] {});
        RecordParams record = new RecordParams();
        record.setRecordMode(mode);
        record.setMaxIdleTime(60L);
        record.setSubscribeStreamUserIds(lists);
        CloudStorage cloud = new CloudStorage();
        cloud.setVendor(1L);
        cloud.setRegion("us-east-1");
        cloud.setBucket("recordings");
        cloud.setAccessKey("AK");
        cloud.setSecretKey("SK");
        cloud.setFileNamePrefix(new String[] {"a", "b"});
        StorageParams storage = new StorageParams();
        storage.setCloudStorage(cloud);
        CreateCloudRecordingRequest request = new CreateCloudRecordingRequest();
        request.setSdkAppId(APP);
        request.setRoomId(System.getenv("ROOM") + room);
        request.setRoomIdType(0L);
        request.setUserId(System.getenv("ROBOT"));
        request.setUserSig(System.getenv("USER_SIG"));
        request.setRecordParams(record);
        request.setStorageParams(storage);
        MixLayoutParams layout = new MixLayoutParams();
        layout.setMixLayoutMode(4L);
        layout.setWaterMarkList(new WaterMark[] {});
        layout.setMixLayoutList(new MixLayout[] {window(0, "alice"), window(640, null)});
        request.setMixLayoutParams(layout);
        return request;
    }

    private static MixLayout window(long left, String user) {
        MixLayout window = new MixLayout();
        window.setTop(0L);
        window.setLeft(left);
        window.setWidth(640L);
        window.setHeight(720L);
        window.setUserId(user);
        return window;
    }

    private static DescribeCloudRecordingRequest describe(String task) {
        DescribeCloudRecordingRequest request = new DescribeCloudRecordingRequest();
        request.setSdkAppId(APP);
        request.setTaskId(task);
        return request;
    }

    private static String code(Callable<?> call) {
        try {
            call.call();
            return "ok";
        } catch (TencentCloudSDKException refused) {
            return refused.getErrorCode();
        } catch (Exception fault) {
            return fault.toString();
        }
    }

    private static DeleteCloudRecordingRequest delete(String task) {
        DeleteCloudRecordingRequest request = new DeleteCloudRecordingRequest();
        request.setSdkAppId(APP);
        request.setTaskId(task);
        return request;
    }

    /** Create, describe and delete, signed and sent in one of the ways the SDK has. */
    private static String eachWay(String sign, String method, boolean unsigned, int i) {
        TrtcClient target = client(System.getenv("SECRET_KEY"), sign, method, unsigned);
        String way = sign + " " + method + ": ";
        try {
            Thread.sleep(300); // three calls of one action in each way, of 20 in a second
            String task = target.CreateCloudRecording(create(1, " +" + i)).getTaskId();
            String status = target.DescribeCloudRecording(describe(task)).getStatus();
            target.DeleteCloudRecording(delete(task));
            String wrong = code(() -> client("x".repeat(32), sign, method, unsigned).DescribeCloudRecording(describe(task)));
            String far = code(() -> target.DescribeCloudRecording(describe("任务 a+b")));
            String told = String.join(",", status, wrong, far);
            return told.equals("Idle,AuthFailure.SignatureFailure,ResourceNotFound") ? "ok" : way + told;
        } catch (TencentCloudSDKException | InterruptedException refused) {
            return way + refused;
        }
    }

    public static void main(String[] args) throws Exception {
        TrtcClient good = client(System.getenv("SECRET_KEY"));
        Map<String, String> seen = new LinkedHashMap<>();
        String task = good.CreateCloudRecording(create(1)).getTaskId();
        seen.put("create", task == null ? "no TaskId" : "ok");
        seen.put("describe", good.DescribeCloudRecording(describe(task)).getStatus());
        seen.put("signature", code(() -> client("x".repeat(32)).DescribeCloudRecording(describe(task))));
        seen.put("validation", code(() -> good.CreateCloudRecording(create(7))));
        seen.put("unicode", code(() -> good.DescribeCloudRecording(describe("任务 a+b"))));
        List<String> ways = new ArrayList<>();
        for (String method : new String[] {HttpProfile.REQ_POST, HttpProfile.REQ_GET}) {
            for (String sign : new String[] {ClientProfile.SIGN_TC3_256, ClientProfile.SIGN_SHA1, ClientProfile.SIGN_SHA256}) {
                ways.add(eachWay(sign, method, false, ways.size()));
            }
            ways.add(eachWay(ClientProfile.SIGN_TC3_256, method, true, ways.size()));
        }
        seen.put("ways", ways.stream().allMatch("ok"::equals) ? "ok" : ways.toString());
        Map<String, Boolean> codes = new ConcurrentHashMap<>();
        IntStream.range(0, 120).parallel().forEach(i -> codes.put(code(() -> good.DescribeCloudRecording(describe(task))), true));
        boolean limited = codes.containsKey("RequestLimitExceeded");
        String again = "";
        for (int i = 0; i < 20 && !again.equals("ok"); i++) {
            Thread.sleep(200);
            again = code(() -> good.DescribeCloudRecording(describe(task)));
        }
        seen.put("limit", limited && again.equals("ok") ? "retried" : "limited " + limited + ", then " + again);
        seen.put("delete", code(() -> good.DeleteCloudRecording(delete(task))));
        System.out.println(new Gson().toJson(seen));
    }
}
