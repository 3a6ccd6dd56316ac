package awsiam

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
	// Vault's storage refuses keys with "..", as an internal error, and some
	// storage backends take "." for the folder it is in.
	if name == "." || strings.Contains(name, "..") {
		return fmt.Errorf("%s: %q is not a valid name: it must not be %q or contain %q", field, name, ".", "..")
	}
	return nil
}

// HandleExistenceCheck implements logical.Backend. Whether something exists is
// a matter of the path alone. The framework looks at the body as well, and
// quotes what it does not like in an error that core logs: a secret key given
// twice would be in Vault's log.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (found, exists bool, err error) {
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// HandleRequest implements logical.Backend. It checks the types of the fields
// before the framework does, which quotes the values that it refuses, secret
// ones too, and quietly makes something else of many: "1" of true, false of
// nothing, 8 of 010, no maximum of 500ms.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	switch req.Operation {
	case logical.CreateOperation, logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation, logical.ListOperation:
		if path := b.Route(req.Path); path != nil {
			if err := checkTypes(path.Fields, req.Data); err != nil {
				return logical.ErrorResponse(err.Error()), nil
			}
			clearPairs(path.Fields, req.Data)
		}
	}
	resp, err := b.Backend.HandleRequest(ctx, req)
	if req.Operation == logical.HelpOperation && err == nil {
		err = keepReferences(req, resp)
	}
	return resp, err
}

// clearPairs makes an empty object of an empty string, the only way that the
// CLI has to clear key=value pairs and which the framework does not know.
func clearPairs(fields map[string]*framework.FieldSchema, data map[string]any) {
	for name, value := range data {
		if schema := fields[name]; schema != nil && schema.Type == framework.TypeKVPairs && value == "" {
			data[name] = map[string]any{}
		}
	}
}

// checkTypes checks the form of the values that the request gives to fields.
// It never quotes a value.
func checkTypes(fields map[string]*framework.FieldSchema, data map[string]any) error {
	for _, name := range sortedKeys(data) {
		schema, value := fields[name], data[name]
		if schema == nil {
			continue // strict refuses it
		}
		if value == nil {
			return refuse("%s is null: leave it out to keep what is stored, or give an empty value to clear it", name)
		}
		if check, ok := typeChecks[schema.Type]; ok && !check.accepts(value) {
			return refuse("%s must be %s", name, check.wants)
		}
	}
	return nil
}

// typeCheck is what a field of one type may look like in a request: as in JSON,
// or as a string where Vault's CLI and query parameters know nothing else.
type typeCheck struct {
	accepts func(any) bool
	wants   string // for the error message
}

var typeChecks = map[framework.FieldType]typeCheck{
	framework.TypeString:           {isText, "one string, in quotes if it is JSON"},
	framework.TypeBool:             {isBool, "true or false"},
	framework.TypeInt:              {isInt, "a whole number, without leading zeros"},
	framework.TypeDurationSecond:   {isDuration, "a duration in whole seconds, not below 0, such as 3h, 90m or 1800"},
	framework.TypeCommaStringSlice: {isTexts, "a list of strings, or one string with commas between"},
	framework.TypeKVPairs:          {isPairs, "an object of strings, or key=value pairs with no key twice"},
}

func isText(value any) bool {
	_, ok := value.(string)
	return ok
}

func isBool(value any) bool {
	if text, ok := value.(string); ok {
		_, err := strconv.ParseBool(text)
		return err == nil
	}
	_, ok := value.(bool)
	return ok
}

// isInt admits what reads the same in every base that the framework guesses.
func isInt(value any) bool {
	switch v := value.(type) {
	case float64:
		return isWhole(v)
	case string:
		n, err := strconv.Atoi(v)
		return err == nil && strconv.Itoa(n) == v
	}
	return false
}

// isWhole is for numbers in JSON: Vault's plugin protocol decodes them to
// float64, which is exact up to 2^53.
func isWhole(number float64) bool {
	return number == math.Trunc(number) && math.Abs(number) <= 1<<53
}

func isDuration(value any) bool {
	if number, ok := value.(float64); ok {
		return isWhole(number) && number >= 0 && number <= math.MaxInt64/float64(time.Second)
	}
	if !isText(value) {
		return false
	}
	schema := map[string]*framework.FieldSchema{"": {Type: framework.TypeDurationSecond}}
	d := framework.FieldData{Raw: map[string]any{"": value}, Schema: schema}
	if d.Validate() != nil {
		return false
	}
	// The framework cuts off fractions of a second before it looks at the sign.
	exact, err := time.ParseDuration(fmt.Sprint(value))
	return err != nil || exact >= 0 && exact%time.Second == 0
}

func isTexts(value any) bool {
	switch list := value.(type) {
	case string, []string:
		return true
	case []any:
		return !slices.ContainsFunc(list, func(item any) bool { return !isText(item) })
	}
	return false
}

func isPairs(value any) bool {
	switch pairs := value.(type) {
	case map[string]string:
		return true
	case map[string]any:
		for _, item := range pairs {
			if !isText(item) {
				return false
			}
		}
		return true
	case string:
		return pairs == "" || arePairs([]string{pairs})
	case []string:
		return arePairs(pairs)
	case []any:
		texts, ok := stringOrStrings(value)
		return ok && arePairs(texts)
	}
	return false
}

func arePairs(texts []string) bool {
	seen := make(map[string]bool, len(texts))
	for _, text := range texts {
		key, _, ok := strings.Cut(text, "=")
		if !ok || key == "" || seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
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
		*dst = value.(T) //nolint:errcheck // a type other than the schema's is a mistake in the code: panic
	}
}

// setDuration is setField for framework.TypeDurationSecond.
func setDuration(d *framework.FieldData, name string, dst *time.Duration) {
	if value, ok := d.GetOk(name); ok {
		seconds := value.(int) //nolint:errcheck // as in setField
		*dst = time.Duration(seconds) * time.Second
	}
}
