import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Checks a callback's signature: java Verify.java KEY SIGN &lt; body; ends with 0 when it is good. */
public class Verify {
    /** Whether sign (the header Sign) is the signature of the body, byte for byte as it was received. */
    static boolean isSigned(String key, byte[] body, String sign) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        String wanted = Base64.getEncoder().encodeToString(mac.doFinal(body));
        return MessageDigest.isEqual(
            wanted.getBytes(StandardCharsets.US_ASCII), sign.getBytes(StandardCharsets.UTF_8));
    }

    public static void main(String[] args) throws Exception {
        boolean good = isSigned(args[0], System.in.readAllBytes(), args[1]);
        System.out.println(good ? "good" : "bad");
        System.exit(good ? 0 : 1);
    }
}
