package awsiam

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// nameRegexp bounds integration and role names. The names end up in storage
// keys, IAM user names and policies, so they are kept to characters that mean
// nothing in any of these.
var nameRegexp = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// validateName checks an integration's or a role's name; field is the path
// parameter it came in.
func validateName(field, name string) error {
	if !nameRegexp.MatchString(name) {
		return fmt.Errorf("%s: %q is not a valid name: use 1 to 64 letters, digits, '_', '-' and '.'", field, name)
	}
	// Vault's storage refuses keys with "..", as an internal error.
	if strings.Contains(name, "..") {
		return fmt.Errorf("%s: %q is not a valid name: it must not contain %q", field, name, "..")
	}
	return nil
}

// strict refuses what the framework lets pass with a warning at most: fields
// the path does not know, and path parameters repeated with another value in
// the body. Both are typing errors that would otherwise change what a request
// does without anybody noticing.
func strict(next framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		var unknown, contradicted []string
		for name, value := range req.Data {
			switch {
			case d.Schema[name] == nil:
				unknown = append(unknown, name)
			case !reflect.DeepEqual(d.Raw[name], value):
				contradicted = append(contradicted, name)
			}
		}
		if len(unknown) > 0 {
			slices.Sort(unknown)
			return logical.ErrorResponse("unknown field(s) %s: this path accepts %s",
				strings.Join(unknown, ", "), strings.Join(fieldNames(d.Schema), ", ")), nil
		}
		if len(contradicted) > 0 {
			slices.Sort(contradicted)
			return logical.ErrorResponse("field(s) %s in the request differ from the path: name it in the path only",
				strings.Join(contradicted, ", ")), nil
		}
		return next(ctx, req, d)
	}
}

func fieldNames(schema map[string]*framework.FieldSchema) []string {
	names := make([]string, 0, len(schema))
	for name := range schema {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// setField overwrites dst if the request gives the field a value: a partial
// update keeps what it does not mention.
func setField[T any](d *framework.FieldData, name string, dst *T) {
	if value, ok := d.GetOk(name); ok {
		*dst = value.(T)
	}
}

// setDuration is setField for framework.TypeDurationSecond.
func setDuration(d *framework.FieldData, name string, dst *time.Duration) {
	if value, ok := d.GetOk(name); ok {
		*dst = time.Duration(value.(int)) * time.Second
	}
}
