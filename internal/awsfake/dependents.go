package awsfake

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// What else can hang on a user and keep it from being deleted: console password, certificates, SSH
// keys and passwords for single services. MFA devices are in mfa.go.

type loginProfile struct {
	created time.Time
	reset   bool
}

type xmlLogin struct {
	UserName, CreateDate  string
	PasswordResetRequired bool
}

func createLoginProfile(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	if u.login != nil {
		return nil, fail("EntityAlreadyExists", "Login Profile for user %s already exists.", u.name)
	}
	if len(q.get("Password")) < 8 {
		return nil, fail("PasswordPolicyViolation", "Password should have a minimum length of 8")
	}
	u.login = &loginProfile{created: q.now, reset: q.get("PasswordResetRequired") == "true"}
	return getLoginProfile(q)
}

func getLoginProfile(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	if u.login == nil {
		return nil, fail("NoSuchEntity", "Login Profile for User %s cannot be found.", u.name)
	}
	return struct{ LoginProfile xmlLogin }{xmlLogin{u.name, stamp(u.login.created), u.login.reset}}, nil
}

func deleteLoginProfile(q *request) (any, error) {
	if _, err := getLoginProfile(q); err != nil {
		return nil, err
	}
	u, _ := q.user()
	u.login = nil
	return nil, nil
}

type certificate struct {
	id, body string
	created  time.Time
}

type xmlCertificate struct{ UserName, CertificateId, CertificateBody, Status, UploadDate string }

func (u *user) xmlCertificate(c certificate) xmlCertificate {
	return xmlCertificate{u.name, c.id, c.body, "Active", stamp(c.created)}
}

func uploadSigningCertificate(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	c := certificate{id: strings.ToUpper(newRequestID()[:8]) + newID("")[:16], body: q.get("CertificateBody"), created: q.now}
	if block, _ := pem.Decode([]byte(c.body)); block == nil || block.Type != "CERTIFICATE" {
		return nil, fail("MalformedCertificate", "Invalid Certificate Body.")
	}
	if slices.ContainsFunc(u.certificates, func(o certificate) bool { return o.body == c.body }) {
		return nil, fail("DuplicateCertificate", "The certificate already exists.")
	}
	if len(u.certificates) >= maxCertificates {
		return nil, exceeded("CertificatesPerUser", maxCertificates)
	}
	u.certificates = append(u.certificates, c)
	return struct{ Certificate xmlCertificate }{u.xmlCertificate(c)}, nil
}

func listSigningCertificates(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	found, p, err := paginate(q, slices.Clone(u.certificates), func(c certificate) string { return c.id })
	return struct {
		Certificates list[xmlCertificate]
		page
	}{listOf(found, u.xmlCertificate), p}, err
}

func deleteSigningCertificate(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	return nil, remove(&u.certificates, "Certificate", q.get("CertificateId"), func(c certificate) string { return c.id })
}

type sshKey struct {
	id, body string
	created  time.Time
}

type xmlSSHKey struct {
	UserName, SSHPublicKeyId string
	Fingerprint              string `xml:",omitempty"`
	SSHPublicKeyBody         string `xml:",omitempty"`
	Status, UploadDate       string
}

func uploadSSHPublicKey(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	k := sshKey{id: newID("APKA"), body: q.get("SSHPublicKeyBody"), created: q.now}
	raw := sshKeyBytes(k.body)
	if raw == nil {
		return nil, fail("InvalidPublicKey", "The public key is not valid.")
	}
	if slices.ContainsFunc(u.sshKeys, func(o sshKey) bool { return o.body == k.body }) {
		return nil, fail("DuplicateSSHPublicKey", "The SSH public key already exists.")
	}
	if len(u.sshKeys) >= maxSSHKeys {
		return nil, exceeded("SSHPublicKeysPerUser", maxSSHKeys)
	}
	u.sshKeys = append(u.sshKeys, k)
	sum := md5.Sum(raw)
	return struct{ SSHPublicKey xmlSSHKey }{xmlSSHKey{u.name, k.id, colons(sum[:]), k.body, "Active", stamp(k.created)}}, nil
}

// sshKeyBytes is the key in "ssh-rsa AAAA… comment" or in PEM, nil if it is neither.
func sshKeyBytes(body string) []byte {
	if block, _ := pem.Decode([]byte(body)); block != nil {
		return block.Bytes
	}
	fields := strings.Fields(body)
	if len(fields) < 2 || fields[0] != "ssh-rsa" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || !strings.HasPrefix(string(raw), "\x00\x00\x00\x07ssh-rsa") {
		return nil
	}
	return raw
}

// colons writes a fingerprint: aa:bb:cc.
func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}

func listSSHPublicKeys(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	found, p, err := paginate(q, slices.Clone(u.sshKeys), func(k sshKey) string { return k.id })
	return struct {
		SSHPublicKeys list[xmlSSHKey]
		page
	}{listOf(found, func(k sshKey) xmlSSHKey {
		return xmlSSHKey{UserName: u.name, SSHPublicKeyId: k.id, Status: "Active", UploadDate: stamp(k.created)}
	}), p}, err
}

func deleteSSHPublicKey(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	return nil, remove(&u.sshKeys, "SSH Public Key", q.get("SSHPublicKeyId"), func(k sshKey) string { return k.id })
}

type serviceCredential struct {
	id, service string
	created     time.Time
}

type xmlServiceCredential struct {
	UserName, Status, ServiceUserName string
	ServicePassword                   string `xml:",omitempty"`
	CreateDate                        string
	ServiceSpecificCredentialId       string
	ServiceName                       string
}

func (u *user) xmlServiceCredential(c serviceCredential) xmlServiceCredential {
	return xmlServiceCredential{
		UserName: u.name, Status: "Active", ServiceUserName: u.name + "-at-" + u.acct.id, CreateDate: stamp(c.created),
		ServiceSpecificCredentialId: c.id, ServiceName: c.service,
	}
}

func createServiceCredential(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	c := serviceCredential{id: newID("ACCA"), service: q.get("ServiceName"), created: q.now}
	if !slices.Contains([]string{"codecommit.amazonaws.com", "cassandra.amazonaws.com", "bedrock.amazonaws.com"}, c.service) {
		return nil, fail("NoSuchEntity", "No such service %s is supported for Service Specific Credentials", c.service)
	}
	same := 0
	for _, o := range u.serviceCreds {
		same += btoi(o.service == c.service)
	}
	if same >= maxServiceCreds {
		return nil, exceeded("ServiceSpecificCredentialsPerUser", maxServiceCreds)
	}
	u.serviceCreds = append(u.serviceCreds, c)
	x := u.xmlServiceCredential(c)

	x.ServicePassword = newSecret()
	return struct{ ServiceSpecificCredential xmlServiceCredential }{x}, nil
}

func listServiceCredentials(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(slices.Clone(u.serviceCreds), func(c serviceCredential) bool {
		return q.get("ServiceName") != "" && c.service != q.get("ServiceName")
	})
	found, p, err := paginate(q, found, func(c serviceCredential) string { return c.id })
	return struct {
		ServiceSpecificCredentials list[xmlServiceCredential]
		page
	}{listOf(found, u.xmlServiceCredential), p}, err
}

func deleteServiceCredential(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	return nil, remove(&u.serviceCreds, "Service Specific Credential", q.get("ServiceSpecificCredentialId"),
		func(c serviceCredential) string { return c.id })
}

// remove takes the item of that id out of a user's list.
func remove[T any](items *[]T, kind, id string, idOf func(T) string) error {
	i := slices.IndexFunc(*items, func(item T) bool { return idOf(item) == id })
	if i < 0 {
		return fail("NoSuchEntity", "The %s with id %s cannot be found.", kind, id)
	}
	*items = slices.Delete(*items, i, i+1)
	return nil
}
