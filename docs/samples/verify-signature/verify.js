// Checks a callback's signature: node verify.js KEY SIGN < body; ends with 0 when it is good.
const { createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

// Whether `sign` (the header Sign) is the signature of the body, a Buffer, byte for byte as it was received.
function isSigned(key, body, sign) {
  const wanted = Buffer.from(createHmac("sha256", key).update(body).digest("base64"));
  const given = Buffer.from(sign);
  return wanted.length === given.length && timingSafeEqual(wanted, given);
}

module.exports = { isSigned };

if (require.main === module) {
  const good = isSigned(process.argv[2], readFileSync(0), process.argv[3]);
  console.log(good ? "good" : "bad");
  process.exitCode = good ? 0 : 1;
}
