package awsiam

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// defaultRegion is where the control plane of commercial AWS's IAM is.
	defaultRegion = "us-east-1"
	// attemptTimeout bounds one attempt of one call, so that a connection that
	// never answers leaves time for another attempt within a creation's or a
	// deletion's time.
	attemptTimeout = 15 * time.Second
	// maxBackoff bounds the pause between two attempts of one call. The
	// SDK's 20 s would use up a third of a creation's time in one pause.
	maxBackoff = 5 * time.Second
	// defaultRetries is how often a call is tried again unless the integration
	// says otherwise. Throttling is the common reason; with maxBackoff this
	// rides out about half a minute of it, within a creation's time.
	defaultRetries = 10
	// contentPeek is how much of an answer is looked at for the name of its call, which
	// comes first.
	contentPeek = 512
)

// iamAPI is the part of IAM that the engine uses. The first eight are all that
// the core needs; the others find out what became of a user, clear away what others
// hung on it, and tell how much room the account has.
type iamAPI interface {
	CreateUser(context.Context, *iam.CreateUserInput, ...func(*iam.Options)) (*iam.CreateUserOutput, error)
	DeleteUser(context.Context, *iam.DeleteUserInput, ...func(*iam.Options)) (*iam.DeleteUserOutput, error)
	CreateAccessKey(context.Context, *iam.CreateAccessKeyInput, ...func(*iam.Options)) (*iam.CreateAccessKeyOutput, error)
	DeleteAccessKey(context.Context, *iam.DeleteAccessKeyInput, ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error)
	ListAccessKeys(context.Context, *iam.ListAccessKeysInput, ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error)
	TagUser(context.Context, *iam.TagUserInput, ...func(*iam.Options)) (*iam.TagUserOutput, error)
	PutUserPolicy(context.Context, *iam.PutUserPolicyInput, ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error)
	DeleteUserPolicy(context.Context, *iam.DeleteUserPolicyInput, ...func(*iam.Options)) (*iam.DeleteUserPolicyOutput, error)
	ListUserPolicies(context.Context, *iam.ListUserPoliciesInput, ...func(*iam.Options)) (*iam.ListUserPoliciesOutput, error)

	AttachUserPolicy(context.Context, *iam.AttachUserPolicyInput, ...func(*iam.Options)) (*iam.AttachUserPolicyOutput, error)
	DetachUserPolicy(context.Context, *iam.DetachUserPolicyInput, ...func(*iam.Options)) (*iam.DetachUserPolicyOutput, error)
	ListAttachedUserPolicies(context.Context, *iam.ListAttachedUserPoliciesInput, ...func(*iam.Options)) (*iam.ListAttachedUserPoliciesOutput, error)
	AddUserToGroup(context.Context, *iam.AddUserToGroupInput, ...func(*iam.Options)) (*iam.AddUserToGroupOutput, error)
	RemoveUserFromGroup(context.Context, *iam.RemoveUserFromGroupInput, ...func(*iam.Options)) (*iam.RemoveUserFromGroupOutput, error)
	ListGroupsForUser(context.Context, *iam.ListGroupsForUserInput, ...func(*iam.Options)) (*iam.ListGroupsForUserOutput, error)
	GetUser(context.Context, *iam.GetUserInput, ...func(*iam.Options)) (*iam.GetUserOutput, error)
	ListUsers(context.Context, *iam.ListUsersInput, ...func(*iam.Options)) (*iam.ListUsersOutput, error)
	GetAccountSummary(context.Context, *iam.GetAccountSummaryInput, ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error)
	GetAccessKeyLastUsed(context.Context, *iam.GetAccessKeyLastUsedInput, ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error)

	DeleteLoginProfile(context.Context, *iam.DeleteLoginProfileInput, ...func(*iam.Options)) (*iam.DeleteLoginProfileOutput, error)
	ListSigningCertificates(context.Context, *iam.ListSigningCertificatesInput, ...func(*iam.Options)) (*iam.ListSigningCertificatesOutput, error)
	DeleteSigningCertificate(context.Context, *iam.DeleteSigningCertificateInput, ...func(*iam.Options)) (*iam.DeleteSigningCertificateOutput, error)
	ListSSHPublicKeys(context.Context, *iam.ListSSHPublicKeysInput, ...func(*iam.Options)) (*iam.ListSSHPublicKeysOutput, error)
	DeleteSSHPublicKey(context.Context, *iam.DeleteSSHPublicKeyInput, ...func(*iam.Options)) (*iam.DeleteSSHPublicKeyOutput, error)
	ListServiceSpecificCredentials(context.Context, *iam.ListServiceSpecificCredentialsInput, ...func(*iam.Options)) (*iam.ListServiceSpecificCredentialsOutput, error)
	DeleteServiceSpecificCredential(context.Context, *iam.DeleteServiceSpecificCredentialInput, ...func(*iam.Options)) (*iam.DeleteServiceSpecificCredentialOutput, error)
	ListMFADevices(context.Context, *iam.ListMFADevicesInput, ...func(*iam.Options)) (*iam.ListMFADevicesOutput, error)
	DeactivateMFADevice(context.Context, *iam.DeactivateMFADeviceInput, ...func(*iam.Options)) (*iam.DeactivateMFADeviceOutput, error)
	DeleteVirtualMFADevice(context.Context, *iam.DeleteVirtualMFADeviceInput, ...func(*iam.Options)) (*iam.DeleteVirtualMFADeviceOutput, error)
}

// connection is an integration's way to AWS. It is immutable, but for what it
// learns, and safe for concurrent use; an integration that changes gets a new one.
type connection struct {
	iam       iamAPI
	sts       *sts.Client
	accountID string
	revision  string      // of the integration it was made from
	room      accountRoom // asked for by status alone

	// For integrations that borrow from it. Sessions of its role are kept behind
	// credentials, so that all share one.
	identity         callerIdentity
	identityRevision string
	region           string
	credentials      aws.CredentialsProvider

	// seesUsers is set once iam:GetUser has shown a user, from when on its denial
	// is no sign that the permission is missing. "No such user" does not count: where
	// it is granted by name alone, that is told, and users in a path are denied.
	seesUsers atomic.Bool
	// listsUsers is set once iam:ListUsers has answered, likewise, and tellsKeys once
	// iam:GetAccessKeyLastUsed has, from when on its denial is not believed at once.
	listsUsers, tellsKeys atomic.Bool
}

// newConnection makes the clients of an integration. It calls AWS only where
// the account behind the credentials is not known or could have changed.
func newConnection(ctx context.Context, in *integration, httpClient aws.HTTPClient, from origin, count *tally) (*connection, error) {
	cfg, err := awsConfig(ctx, in, httpClient, from)
	if err != nil {
		return nil, err
	}
	if in.AccountID != "" && !in.accountMayDiffer() {
		return in.connection(cfg, in.identity(), count), nil
	}
	var identity callerIdentity
	if from.lender != nil && in.RoleARN == "" {
		identity = from.lender.identity // the same caller, of whom its own connection knows
	} else if identity, err = whoAmI(ctx, cfg, in); err != nil {
		return nil, err
	}
	if in.AccountID != "" && identity.AccountID != in.AccountID {
		return nil, refuse("integration %q was verified for account %s, but its credentials now belong to %s in account %s: write %s again",
			in.Name, in.AccountID, identity.ARN, identity.AccountID, in.path())
	}
	// An integration that was stored unverified meets the checks here.
	verified := *in
	if err := verified.setIdentity(identity); err != nil {
		return nil, err
	}
	return in.connection(cfg, identity, count), nil
}

func (in *integration) connection(cfg aws.Config, identity callerIdentity, count *tally) *connection {
	return &connection{
		iam:       iam.NewFromConfig(cfg, in.iamOptions, iam.WithAPIOptions(addAttemptTracker, addContentCheck), governed(in.governor(identity.AccountID)), count.counted),
		sts:       sts.NewFromConfig(cfg, in.stsOptions),
		accountID: identity.AccountID, revision: in.Revision,
		identity: identity, identityRevision: in.IdentityRevision, region: cfg.Region, credentials: cfg.Credentials,
	}
}

// newRetryer sets every retry option, since the SDK's defaults can be changed
// by environment variables. The SDK's retry quota is off: it runs dry under a
// mass of throttling and then fails calls that another attempt would save.
// Answers with one of the codes are tried again as well.
func newRetryer(retries int, codes ...string) aws.Retryer {
	if retries < 0 {
		retries = defaultRetries
	}
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = retries + 1
		o.MaxBackoff = maxBackoff
		o.Backoff = retry.NewExponentialJitterBackoff(maxBackoff)
		o.RateLimiter = ratelimit.None
		// IAM answers these two while another change of the same entity is
		// under way; its API reference says to try again. The SDK does not.
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
			codeConcurrentModification:      {},
			codeEntityTemporarilyUnmodified: {},
		}})
		for _, code := range codes {
			o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{code: {}}})
		}
	})
}

func addUserAgent(stack *middleware.Stack) error {
	return smithyhttp.AddHeaderValue("User-Agent", "vault-plugin-secrets-aws-iam/"+Version)(stack)
}

// attempts is what became of the attempts of one call.
type attempts struct {
	// lost says that an attempt may have had its effect although its answer
	// was an error or none at all: whatever a later attempt is answered has to
	// be read in that light.
	lost bool
}

type attemptsKey struct{}

// withAttempts returns a context whose next IAM call reports on its attempts.
func withAttempts(ctx context.Context) (context.Context, *attempts) {
	a := new(attempts)
	return context.WithValue(ctx, attemptsKey{}, a), a
}

func addAttemptTracker(stack *middleware.Stack) error {
	track := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleFinalize(ctx, in)
		if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok && mayHaveHappened(err) {
			a.lost = true
		}
		return out, metadata, err
	}
	// After the session is there that the call is signed with: without, nothing is sent.
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("AttemptTracker", track), "Signing", middleware.Before)
}

// addContentCheck has a success that is not IAM's count for none: a proxy's page, say.
// Of calls that have nothing to tell, as deletions have not, the SDK looks at nothing
// but the status. IAM's answers name the call (the examples of its API reference).
func addContentCheck(stack *middleware.Stack) error {
	check := func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		response, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok || response.StatusCode/100 != 2 {
			return out, metadata, err
		}
		body := bufio.NewReader(response.Body)
		start, _ := body.Peek(contentPeek) // an error will be met by who reads on
		response.Body = struct {
			io.Reader
			io.Closer
		}{body, response.Body}
		if !bytes.Contains(start, []byte("<"+middleware.GetOperationName(ctx)+"Response")) {
			err = errNoContent
		}
		return out, metadata, err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("ContentCheck", check), middleware.After)
}

// mayHaveHappened says whether a call that ended in err may have had its
// effect: AWS refuses with a 4xx and a code before it acts, and a connection
// that was not made carried no request. Everything else leaves it open, also an
// answer of success that cannot be read to its end, and a proxy's own 4xx.
func mayHaveHappened(err error) bool {
	if err == nil {
		return false
	}
	var response *smithyhttp.ResponseError
	var answer smithy.APIError
	if errors.As(err, &response) && errors.As(err, &answer) && answer.ErrorCode() != codeUnknown {
		return response.HTTPStatusCode() >= http.StatusInternalServerError
	}
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

// iamOptions points the IAM client at the integration's endpoint. The rest of
// the endpoint, above all the region that calls are signed for, stays the
// partition's: the SDK's own BaseEndpoint would sign for the client's region,
// which IAM refuses (hashicorp/terraform-provider-aws#40319).
func (in *integration) iamOptions(o *iam.Options) {
	if in.IAMEndpoint != "" {
		o.EndpointResolverV2 = iamEndpoint(in.IAMEndpoint)
	}
}

func (in *integration) stsOptions(o *sts.Options) {
	if in.STSEndpoint != "" {
		o.EndpointResolverV2 = stsEndpoint(in.STSEndpoint)
	}
}

type iamEndpoint string

// ResolveEndpoint implements iam.EndpointResolverV2.
func (e iamEndpoint) ResolveEndpoint(ctx context.Context, params iam.EndpointParameters) (smithyendpoints.Endpoint, error) {
	endpoint, err := iam.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, params)
	return relocate(endpoint, string(e), err)
}

type stsEndpoint string

// ResolveEndpoint implements sts.EndpointResolverV2.
func (e stsEndpoint) ResolveEndpoint(ctx context.Context, params sts.EndpointParameters) (smithyendpoints.Endpoint, error) {
	endpoint, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, params)
	return relocate(endpoint, string(e), err)
}

func relocate(endpoint smithyendpoints.Endpoint, to string, err error) (smithyendpoints.Endpoint, error) {
	if err != nil {
		return endpoint, err
	}
	uri, err := url.Parse(to)
	if err != nil {
		return endpoint, err
	}
	endpoint.URI = *uri
	return endpoint, nil
}
