// TC3-HMAC-SHA256 by WebCrypto. The key is an argument and is kept nowhere.
const text = (value) => new TextEncoder().encode(value);
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const SIGNED = "content-type;host";
const CONTENT_TYPE = "application/json";

async function sha256(value) {
  return hex(await crypto.subtle.digest("SHA-256", text(value)));
}

async function hmac(key, value) {
  const made = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", made, text(value));
}

// The headers of a signed POST, and the two texts that were signed on the way (for people who debug their own).
export async function sign(call) {
  const { secretId, secretKey, token, host, action, version, region, language, body, service = "trtc" } = call;
  const timestamp = String(call.timestamp);
  const date = new Date(call.timestamp * 1000).toISOString().slice(0, 10);
  const scope = `${date}/${service}/tc3_request`;
  const canonical = ["POST", "/", "", `content-type:${CONTENT_TYPE}`, `host:${host}`, "", SIGNED, await sha256(body)].join("\n");
  const toSign = ["TC3-HMAC-SHA256", timestamp, scope, await sha256(canonical)].join("\n");
  let key = text(`TC3${secretKey}`);
  for (const part of [date, service, "tc3_request"]) key = await hmac(key, part);
  const signature = hex(await hmac(key, toSign));
  const headers = {
    Authorization: `TC3-HMAC-SHA256 Credential=${secretId}/${scope}, SignedHeaders=${SIGNED}, Signature=${signature}`,
    "Content-Type": CONTENT_TYPE,
    "X-TC-Action": action,
    "X-TC-Version": version,
    "X-TC-Timestamp": timestamp,
  };
  if (region) headers["X-TC-Region"] = region;
  if (language) headers["X-TC-Language"] = language;
  if (token) headers["X-TC-Token"] = token;
  return { headers, canonical, toSign, signature };
}
