// A UserSig (TLS signature 2.0) by WebCrypto: what a user shows who enters a room. The key is kept nowhere.
const text = (value) => new TextEncoder().encode(value);
const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));

async function zlib(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// `key` is the application's key for UserSigs; `now` and `expire` are seconds.
export async function issue({ key, sdkAppId, user, now, expire }) {
  const content = `TLS.identifier:${user}\nTLS.sdkappid:${sdkAppId}\nTLS.time:${now}\nTLS.expire:${expire}\n`;
  const made = await crypto.subtle.importKey("raw", text(key), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const sig = base64(await crypto.subtle.sign("HMAC", made, text(content)));
  const members = `"TLS.ver":"2.0","TLS.identifier":${JSON.stringify(user)},"TLS.sdkappid":${sdkAppId}`;
  const json = `{${members},"TLS.expire":${expire},"TLS.time":${now},"TLS.sig":"${sig}"}`;
  const packed = base64(await zlib(text(json)));
  return packed.replaceAll("+", "*").replaceAll("/", "-").replaceAll("=", "_");
}
