// Checks a callback's signature: go run verify.go KEY SIGN < body; ends with 0 when it is good.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
)

// isSigned reports whether sign (the header Sign) is the signature of the body, byte for byte as it was received.
func isSigned(key string, body []byte, sign string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	given, err := base64.StdEncoding.DecodeString(sign)
	return err == nil && hmac.Equal(mac.Sum(nil), given)
}

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	if !isSigned(os.Args[1], body, os.Args[2]) {
		fmt.Println("bad")
		os.Exit(1)
	}
	fmt.Println("good")
}
