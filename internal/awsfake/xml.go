package awsfake

import (
	"bytes"
	"encoding/xml"
	"time"
)

// answer is what goes back to the client.
type answer struct {
	status int
	code   string // of the error, if it is one
	id     string // of the request
	body   []byte
}

// service is one of the two APIs: what its signatures are scoped to, and the version and namespace
// of its protocol.
type service struct{ name, version, namespace string }

var (
	iamService = service{"iam", "2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"}
	stsService = service{"sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"}
)

// list is a list in the query protocol: <Users><member>…</member></Users>, and <Users/> if empty.
type list[T any] struct {
	Members []T `xml:"member"`
}

func listOf[T, X any](items []T, convert func(T) X) list[X] {
	var l list[X]
	for _, item := range items {
		l.Members = append(l.Members, convert(item))
	}
	return l
}

// stamp is a time as IAM writes it: UTC, whole seconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// success wraps a result: <XResponse><XResult>…</XResult><ResponseMetadata>…. Actions that return
// nothing have no result element.
func success(svc service, action, id string, result any) *answer {
	var buf bytes.Buffer
	enc := xml.NewEncoder(&buf)
	root := xml.StartElement{
		Name: xml.Name{Local: action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: svc.namespace}},
	}
	must(enc.EncodeToken(root))
	if result != nil {
		must(enc.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}}))
	}
	must(enc.EncodeElement(struct{ RequestId string }{id}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}))
	must(enc.EncodeToken(root.End()))
	must(enc.Flush())
	return &answer{status: 200, id: id, body: buf.Bytes()}
}

// failure is AWS's error envelope.
func failure(svc service, id string, e *apiError) *answer {
	type detail struct{ Type, Code, Message string }
	type envelope struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr"`
		Error     detail
		RequestId string
	}
	who := "Sender"
	if e.status >= 500 {
		who = "Receiver"
	}
	body, err := xml.Marshal(envelope{Namespace: svc.namespace, Error: detail{who, e.code, e.message}, RequestId: id})
	must(err)
	return &answer{status: e.status, code: e.code, id: id, body: body}
}

// must panics on an error that only a mistake in this package can cause.
func must(err error) {
	if err != nil {
		panic("awsfake: " + err.Error())
	}
}
