package awsfake

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"slices"
	"time"
)

// mfaDevice is a virtual MFA device. It exists by itself; enabling it makes it a user's.
type mfaDevice struct {
	serial, path string
	owner        *user
	enabled      time.Time
}

func createVirtualMFADevice(q *request) (any, error) {
	type device struct{ SerialNumber, Base32StringSeed, QRCodePNG string }
	d := &mfaDevice{serial: onNewMFA(q)[0], path: q.path("Path")}
	if q.acct.mfa[d.serial] != nil {
		return nil, fail("EntityAlreadyExists", "MFADevice entity at the same path and name already exists.")
	}
	q.acct.mfa[d.serial] = d
	encode := base64.StdEncoding.EncodeToString
	return struct{ VirtualMFADevice device }{device{d.serial, encode([]byte(rand.Text())), encode([]byte("\x89PNG"))}}, nil
}

// enableMFADevice takes any two codes that look like codes: the client of a fake has no clock to
// agree on with it.
func enableMFADevice(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	d := q.acct.mfa[q.get("SerialNumber")]
	switch {
	case d == nil:
		return nil, fail("NoSuchEntity", "VirtualMFADevice with serial number %s does not exist.", q.get("SerialNumber"))
	case d.owner != nil:
		return nil, fail("EntityAlreadyExists", "MFA Device is already in use.")
	case len(u.mfa) >= maxMFADevices:
		return nil, exceeded("MFADevicesPerUser", maxMFADevices)
	}
	d.owner, d.enabled = u, q.now
	u.mfa = append(u.mfa, d)
	return nil, nil
}

func deactivateMFADevice(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	d := q.acct.mfa[q.get("SerialNumber")]
	if d == nil || d.owner != u {
		return nil, fail("NoSuchEntity", "MFA Device with serial number %s is not enabled for user %s.", q.get("SerialNumber"), u.name)
	}
	d.owner = nil
	u.mfa = slices.DeleteFunc(u.mfa, func(other *mfaDevice) bool { return other == d })
	return nil, nil
}

func deleteVirtualMFADevice(q *request) (any, error) {
	d := q.acct.mfa[q.get("SerialNumber")]
	switch {
	case d == nil:
		return nil, fail("NoSuchEntity", "VirtualMFADevice with serial number %s does not exist.", q.get("SerialNumber"))
	case d.owner != nil:
		return nil, fail("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
	}
	delete(q.acct.mfa, d.serial)
	return nil, nil
}

func bySerial(d *mfaDevice) string { return d.serial }

func listMFADevices(q *request) (any, error) {
	type device struct{ UserName, SerialNumber, EnableDate string }
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	found, p, err := paginate(q, slices.Clone(u.mfa), bySerial)
	return struct {
		MFADevices list[device]
		page
	}{listOf(found, func(d *mfaDevice) device { return device{u.name, d.serial, stamp(d.enabled)} }), p}, err
}

func listVirtualMFADevices(q *request) (any, error) {
	type device struct {
		SerialNumber string
		User         *xmlUser `xml:",omitempty"`
		EnableDate   string   `xml:",omitempty"`
	}
	status := q.get("AssignmentStatus")
	found := slices.DeleteFunc(slices.Collect(maps.Values(q.acct.mfa)), func(d *mfaDevice) bool {
		return status == "Assigned" && d.owner == nil || status == "Unassigned" && d.owner != nil
	})
	found, p, err := paginate(q, found, bySerial)
	return struct {
		VirtualMFADevices list[device]
		page
	}{listOf(found, func(d *mfaDevice) device {
		if d.owner == nil {
			return device{SerialNumber: d.serial}
		}
		owner := d.owner.brief()
		return device{d.serial, &owner, stamp(d.enabled)}
	}), p}, err
}
