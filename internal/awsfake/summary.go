package awsfake

// getAccountSummary gives the account's entities and quotas as a map.
func getAccountSummary(q *request) (any, error) {
	type entry struct {
		Key   string `xml:"key"`
		Value int    `xml:"value"`
	}
	type entries struct {
		Entries []entry `xml:"entry"`
	}
	inUse, own := 0, 0
	for _, d := range q.acct.mfa {
		inUse += btoi(d.owner != nil)
	}
	for _, p := range q.acct.policies {
		own += btoi(p.arn == q.acct.arn("policy", p.path, p.name))
	}
	return struct{ SummaryMap entries }{entries{[]entry{
		{"Users", len(q.acct.users)}, {"UsersQuota", maxUsers},
		{"Groups", len(q.acct.groups)}, {"GroupsQuota", maxGroups},
		{"Roles", len(q.acct.roles)}, {"Policies", own},
		{"MFADevices", len(q.acct.mfa)}, {"MFADevicesInUse", inUse},
		{"AccessKeysPerUserQuota", maxAccessKeys}, {"GroupsPerUserQuota", maxUserGroups},
		{"AttachedPoliciesPerUserQuota", maxAttachedPolicies}, {"UserPolicySizeQuota", maxUserPolicySize},
		{"SigningCertificatesPerUserQuota", maxCertificates}, {"PolicySizeQuota", maxManagedSize},
	}}}, nil
}
