<?php
// Checks a callback's signature: php verify.php KEY SIGN < body; ends with 0 when it is good.

// Whether $sign (the header Sign) is the signature of the body, byte for byte as it was received
// (file_get_contents('php://input') in a web page).
function isSigned(string $key, string $body, string $sign): bool
{
    return hash_equals(base64_encode(hash_hmac('sha256', $body, $key, true)), $sign);
}

if (PHP_SAPI === 'cli' && isset($argv[2])) {
    $good = isSigned($argv[1], file_get_contents('php://stdin'), $argv[2]);
    echo $good ? "good\n" : "bad\n";
    exit($good ? 0 : 1);
}
