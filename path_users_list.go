package awsiam

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// listableStates are the states that a list can be narrowed to.
var listableStates = []string{string(stateCreating), string(statePooled), string(stateActive), string(stateDeleting), string(stateUnreadable)}

func userListFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAfter:       {Type: framework.TypeString, Query: true, Description: "List the names that come after this one: the last of the page before."},
		fieldLimit:       {Type: framework.TypeInt, Query: true, Description: "The most names to list; 0, the default, for all."},
		fieldRole:        {Type: framework.TypeString, Query: true, Description: "List the users of this role only."},
		fieldIntegration: {Type: framework.TypeString, Query: true, Description: "List the users that were made through this integration only."},
		fieldState:       {Type: framework.TypeString, Query: true, AllowedValues: among(listableStates...), Description: "List the users in this state only: " + strings.Join(listableStates, ", ") + "."},
	}
}

// userSelection is which users a list is to have. Empty fields narrow nothing.
type userSelection struct {
	role, integration string
	state             userState
}

func newUserSelection(d *framework.FieldData) (userSelection, error) {
	selection := userSelection{}
	for field, into := range map[string]*string{fieldRole: &selection.role, fieldIntegration: &selection.integration} {
		setField(d, field, into)
		if *into != "" {
			if err := validateName(field, *into); err != nil {
				return selection, err
			}
		}
	}
	var state string
	setField(d, fieldState, &state)
	if state != "" && !slices.Contains(listableStates, state) {
		return selection, refuse("%s: %q is none: use one of %s", fieldState, state, strings.Join(listableStates, ", "))
	}
	selection.state = userState(state)
	return selection, nil
}

func (s userSelection) has(facts userFacts) bool {
	return (s.role == "" || s.role == facts.role) &&
		(s.integration == "" || s.integration == facts.integration) &&
		(s.state == "" || s.state == facts.state)
}

// userList lists from storage, and narrows by what the agenda knows. A page is
// full unless it is the last, so that a short or an empty one, of which Vault
// makes a 404, is the end.
func (b *backend) userList(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	selection, err := newUserSelection(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	var after string
	var limit int
	setField(d, fieldAfter, &after)
	setField(d, fieldLimit, &limit)
	if limit < 0 {
		return logical.ErrorResponse("%s must not be below 0", fieldLimit), nil
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	names, err := userNames(ctx, req.Storage)
	if err != nil {
		return nil, surveyError(ctx, err)
	}
	if at, found := slices.BinarySearch(names, after); found {
		names = names[at+1:]
	} else {
		names = names[at:]
	}
	if limit == 0 {
		limit = len(names)
	}
	page, err := b.selectUsers(ctx, req.Storage, names, selection, limit)
	if err != nil {
		return nil, surveyError(ctx, err)
	}
	return &logical.Response{Data: map[string]any{"keys": page}}, nil // also an empty page has keys
}

// selectUsers returns the first of the users that the selection has.
func (b *backend) selectUsers(ctx context.Context, s logical.Storage, names []string, selection userSelection, limit int) ([]string, error) {
	page := []string{} // no null, which clients would meet in the answer
	if selection == (userSelection{}) {
		return append(page, names[:min(limit, len(names))]...), nil
	}
	for chunk := range slices.Chunk(names, surveyChunk) {
		facts, err := b.factsOf(ctx, s, chunk)
		if err != nil {
			return nil, err
		}
		for _, name := range chunk {
			if known, ok := facts[name]; ok && selection.has(known) {
				if page = append(page, name); len(page) == limit {
					return page, nil
				}
			}
		}
	}
	return page, nil
}
