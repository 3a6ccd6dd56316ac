package awsiam

import "errors"

var errInjected = errors.New("injected")

func failIf(fail bool) error {
	if fail {
		return errInjected
	}
	return nil
}
