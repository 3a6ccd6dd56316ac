package awsiam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// checkAnswers has every answer of the backend, to whoever asks, compared with the
// schema: whatever a test is about, it fails where the API is not as documented.
func checkAnswers(t *testing.T, b *backend) {
	t.Helper()
	seen := make(map[*framework.PathOperation]bool) // paths share some
	for _, path := range b.Paths {
		for kind, operation := range path.Operations {
			op := operation.(*framework.PathOperation)
			if seen[op] {
				continue
			}
			seen[op] = true
			next := op.Callback
			op.Callback = func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
				resp, err := next(ctx, req, d)
				if status := statusOf(kind, resp, err); status != http.StatusInternalServerError {
					if mismatch := differs(path, kind, status, resp); mismatch != nil {
						t.Errorf("%s %s: %s", kind, req.Path, mismatch)
					}
					if status < http.StatusMultipleChoices {
						schema.ValidateResponse(t, schema.GetResponseSchema(t, path, kind), resp, true)
					}
				}
				return resp, err
			}
		}
	}
}

// statusOf is the HTTP status that Vault makes of an answer (its http package).
func statusOf(kind logical.Operation, resp *logical.Response, err error) int {
	var coded logical.HTTPCodedError
	switch {
	case errors.As(err, &coded):
		return coded.Code()
	case err != nil:
		return http.StatusInternalServerError
	case resp.IsError():
		return http.StatusBadRequest
	case kind == logical.ListOperation && isEmptyList(resp):
		return http.StatusNotFound
	case resp == nil && kind == logical.ReadOperation:
		return http.StatusNotFound
	case resp == nil:
		return http.StatusNoContent
	}
	return http.StatusOK
}

func isEmptyList(resp *logical.Response) bool {
	keys, ok := resp.Data["keys"].([]string)
	return !ok || len(keys) == 0
}

// differs is what the answer has that the schema does not say, or the other way
// around, beyond what schema.ValidateResponse is strict about: it takes 5 for a text,
// null for a list, and anything at all where the schema has no field.
func differs(path *framework.Path, kind logical.Operation, status int, resp *logical.Response) error {
	responses := path.Operations[kind].Properties().Responses[status]
	switch {
	case len(responses) == 0:
		return fmt.Errorf("%d is not among the documented responses: %v", status, resp)
	case status >= http.StatusMultipleChoices || resp == nil:
		return nil
	}
	encoded, err := json.Marshal(resp.Data)
	if err != nil {
		return err
	}
	var data map[string]any
	if err := json.Unmarshal(encoded, &data); err != nil {
		return err
	}
	for name, value := range data {
		switch field := responses[0].Fields[name]; {
		case field == nil:
			return fmt.Errorf("%s is not in the schema", name)
		case !isTyped(field.Type, value):
			return fmt.Errorf("%s is %v, and not of type %s", name, value, field.Type)
		case field.AllowedValues != nil && !slices.Contains(field.AllowedValues, value):
			return fmt.Errorf("%s is %v, and none of %v", name, value, field.AllowedValues)
		}
	}
	for name, field := range responses[0].Fields {
		if _, ok := data[name]; field.Required && !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// isTyped is whether the value is what the OpenAPI document says of the type, in JSON.
func isTyped(fieldType framework.FieldType, value any) bool {
	var ok bool
	switch fieldType {
	case framework.TypeString:
		_, ok = value.(string)
	case framework.TypeBool:
		_, ok = value.(bool)
	case framework.TypeInt, framework.TypeInt64:
		number, isNumber := value.(float64)
		ok = isNumber && number == math.Trunc(number)
	case framework.TypeFloat:
		_, ok = value.(float64)
	case framework.TypeMap:
		_, ok = value.(map[string]any)
	case framework.TypeKVPairs:
		var pairs map[string]any
		if pairs, ok = value.(map[string]any); ok {
			for _, item := range pairs {
				ok = ok && isTyped(framework.TypeString, item)
			}
		}
	case framework.TypeStringSlice, framework.TypeCommaStringSlice:
		var list []any
		if list, ok = value.([]any); ok {
			ok = !slices.ContainsFunc(list, func(item any) bool { return !isTyped(framework.TypeString, item) })
		}
	}
	return ok // other types, TypeDurationSecond among them, are not for responses
}

// What the checking of all answers is worth: each way in which an answer can differ.
func TestAnswersThatDifferFromTheSchemaAreFound(t *testing.T) {
	field := func(kind framework.FieldType) *framework.FieldSchema { return &framework.FieldSchema{Type: kind} }
	fields := map[string]*framework.FieldSchema{
		"text": field(framework.TypeString), "flag": field(framework.TypeBool), "count": field(framework.TypeInt), "share": field(framework.TypeFloat),
		"list": field(framework.TypeStringSlice), "pairs": field(framework.TypeKVPairs), "map": field(framework.TypeMap), "ttl": field(framework.TypeDurationSecond),
		"needed": {Type: framework.TypeString, Required: true}, "state": {Type: framework.TypeString, AllowedValues: among("on", "off")},
	}
	path := &framework.Path{Operations: map[logical.Operation]framework.OperationHandler{
		logical.ReadOperation:   &framework.PathOperation{Responses: okResponse("Fields.", fields)},
		logical.UpdateOperation: &framework.PathOperation{Responses: warnedResponse()},
	}}
	read := func(name string, value any) error {
		return differs(path, logical.ReadOperation, http.StatusOK, &logical.Response{Data: map[string]any{"needed": "", name: value}})
	}
	for name, value := range map[string]any{
		"text": "a", "flag": true, "count": int64(5), "share": 0.5, "list": []string{}, "pairs": map[string]string{"a": "b"}, "map": map[string]any{"a": 1}, "state": "on",
	} {
		require.NoError(t, read(name, value))
	}
	for name, value := range map[string]any{
		"text": 5, "flag": "true", "count": 5.5, "share": "1", "list": []string(nil), "pairs": map[string]any{"a": 1}, "map": "", "ttl": 60, "state": "dead", "other": "",
	} {
		require.ErrorContains(t, read(name, value), name)
	}
	require.ErrorContains(t, read("list", []any{1}), "list")
	require.ErrorContains(t, differs(path, logical.ReadOperation, http.StatusOK, &logical.Response{}), "needed is missing")
	require.NoError(t, differs(path, logical.ReadOperation, http.StatusBadRequest, logical.ErrorResponse("no")))
	require.ErrorContains(t, differs(path, logical.ReadOperation, http.StatusNotFound, nil), "404")
	require.NoError(t, differs(path, logical.UpdateOperation, http.StatusNoContent, nil))
	require.NoError(t, differs(path, logical.UpdateOperation, http.StatusOK, &logical.Response{Warnings: []string{"look"}}))
	require.ErrorContains(t, differs(path, logical.UpdateOperation, http.StatusOK, &logical.Response{Data: map[string]any{"extra": 1}}), "extra")

	for _, status := range []struct {
		want int
		kind logical.Operation
		resp *logical.Response
		err  error
	}{
		{http.StatusBadGateway, logical.ReadOperation, nil, fmt.Errorf("wrapped: %w", logical.CodedError(http.StatusBadGateway, "AWS"))},
		{http.StatusInternalServerError, logical.ReadOperation, nil, errInjected},
		{http.StatusBadRequest, logical.UpdateOperation, logical.ErrorResponse("no"), nil},
		{http.StatusNotFound, logical.ReadOperation, nil, nil},
		{http.StatusNotFound, logical.ListOperation, logical.ListResponse(nil), nil},
		{http.StatusOK, logical.ListOperation, logical.ListResponse([]string{"a"}), nil},
		{http.StatusNoContent, logical.DeleteOperation, nil, nil},
		{http.StatusOK, logical.DeleteOperation, &logical.Response{Warnings: []string{"look"}}, nil},
	} {
		require.Equal(t, status.want, statusOf(status.kind, status.resp, status.err))
	}
}
