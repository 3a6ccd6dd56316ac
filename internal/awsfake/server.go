package awsfake

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxBody is beyond what any IAM call needs.
const maxBody = 1 << 20

// A long answer waits a moment. smithy-go (seen in 1.28.8) closes the body of its request as soon as
// the answer begins; if net/http has yet to look for the end of that body it takes the close for a
// failed write and cuts the connection, in the midst of an answer that did not fit its first read of
// 4 KiB. No network is fast enough to lose this race; a server in the same process often is.
const (
	longAnswer      = 2 << 10
	longAnswerPause = 10 * time.Millisecond
)

// ServeHTTP answers one call of IAM or STS.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "unreadable request", http.StatusBadRequest)
		return
	}
	form := parameters(r, body)
	svc := iamService
	if form.Get("Version") == stsService.version {
		svc = stsService
	}
	sig, sigErr := parseAuthorization(r.Header)
	rec := a.log.begin(Call{
		Start: time.Now(), Account: accountOfKey(sig.keyID), Service: svc.name,
		Action: form.Get("Action"), User: form.Get("UserName"), AccessKeyID: sig.keyID,
	})
	q := &request{aws: a, service: svc, action: form.Get("Action"), form: form, id: newRequestID()}
	ans := a.answer(r, rec, q, func() (any, error) {
		if q.unsigned() {
			return q.performUnsigned()
		}
		if sigErr != nil {
			return nil, sigErr
		}
		return q.perform(r, body, sig)
	})
	if ans == nil {
		// Cuts the connection without a word; the standard library does not log this panic.
		panic(http.ErrAbortHandler)
	}
	if len(ans.body) > longAnswer {
		wait(r.Context(), longAnswerPause)
	}
	h := w.Header()
	h.Set("Content-Type", "text/xml")
	h.Set("x-amzn-RequestId", ans.id)
	w.WriteHeader(ans.status)
	_, _ = w.Write(ans.body) // a client that is gone needs no answer
}

// answer performs a call under the latency and the fault that apply to it. It returns nil if the
// connection is to be cut.
func (a *AWS) answer(r *http.Request, rec *Call, q *request, perform func() (any, error)) (ans *answer) {
	a.mu.Lock()
	latency, watch := a.latency, a.watch
	a.mu.Unlock()
	defer func() {
		if c := a.log.end(rec, q.callerARN, ans); watch != nil {
			watch(c)
		}
	}()
	f := a.dueFault(*rec)
	if !wait(r.Context(), latency) || !wait(r.Context(), f.Delay) {
		return nil
	}
	if f.Hook != nil && !f.after() {
		f.Hook(*rec)
	}
	if f.LostBefore {
		return nil
	}
	injected := f.err()
	if injected != nil && !f.after() {
		return failure(q.service, q.id, injected)
	}
	result, err := perform()
	var refused *apiError
	if errors.As(err, &refused) {
		ans = failure(q.service, q.id, refused)
	} else {
		ans = success(q.service, q.action, q.id, result)
	}
	if !f.after() {
		return ans
	}
	if f.FailAfter {
		ans = failure(q.service, q.id, injected)
	}
	if f.Garbled {
		ans.body = ans.body[:len(ans.body)/2]
	}
	if f.Hook != nil {
		f.Hook(a.log.end(rec, q.callerARN, ans))
	}
	if f.Lost {
		return nil
	}
	return ans
}

// parameters are those of the query string and of a form body together.
func parameters(r *http.Request, body []byte) url.Values {
	form := r.URL.Query()
	if posted, err := url.ParseQuery(string(body)); err == nil {
		for k, v := range posted {
			form[k] = append(v, form[k]...)
		}
	}
	return form
}
