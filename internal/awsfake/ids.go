package awsfake

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
)

// newID returns an IAM unique id: a prefix that names the kind (AIDA a user, AROA a role, …) and 16
// to 17 upper-case letters and digits (IAM user guide, "reference_identifiers").
func newID(prefix string) string { return prefix + rand.Text()[:17] }

// newKeyID returns an access key id. Like AWS's it holds the account's number, so that a key can be
// placed after it is gone: sts:GetAccessKeyInfo rests on the same.
func newKeyID(prefix, account string) string {
	number, err := strconv.ParseUint(account, 10, 40)
	if err != nil {
		panic("awsfake: " + err.Error())
	}
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // documented never to fail
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], 1<<47|number<<7|uint64(raw[5]&0x7f))
	copy(raw[:6], head[2:])
	return prefix + base32.StdEncoding.EncodeToString(raw[:])
}

// accountOfKey is the account number in a key id, or "" if there is none.
func accountOfKey(id string) string {
	if len(id) != 20 {
		return ""
	}
	raw, err := base32.StdEncoding.DecodeString(id[4:])
	if err != nil {
		return ""
	}
	var head [8]byte
	copy(head[2:], raw[:6])
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(head[:])>>7&(1<<40-1))
}

// newSecret returns a secret access key: 40 characters of base64.
func newSecret() string {
	var raw [30]byte
	_, _ = rand.Read(raw[:])
	return base64.StdEncoding.EncodeToString(raw[:])
}

// newRequestID returns a random UUID, which is the form of AWS's request ids.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
