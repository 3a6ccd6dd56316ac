package awsfake

import (
	"encoding/base64"
	"sort"
	"strconv"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// page is the end of every list: whether it goes on, and where.
type page struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// paginate cuts a page out of items, sorted by key, as MaxItems and Marker say. The marker names the
// last item given, so that what is deleted in between makes nothing be skipped.
func paginate[T any](q *request, items []T, key func(T) string) ([]T, page, error) {
	sort.SliceStable(items, func(i, j int) bool { return key(items[i]) < key(items[j]) })
	if marker := q.get("Marker"); marker != "" {
		last, err := base64.URLEncoding.DecodeString(marker)
		if err != nil {
			return nil, page{}, fail("ValidationError", "Invalid Marker.")
		}
		items = items[sort.Search(len(items), func(i int) bool { return key(items[i]) > string(last) }):]
	}
	size := defaultPage
	if q.action == "ListServiceSpecificCredentials" {
		// A page may be short. A user can have so few of these that it takes short pages to show
		// whether a client follows the marker, which no paginator of the SDK does for it.
		size = 3
	}
	if n, err := strconv.Atoi(q.get("MaxItems")); err == nil {
		size = n
	}
	if len(items) <= size {
		return items, page{}, nil
	}
	items = items[:size]
	return items, page{true, base64.URLEncoding.EncodeToString([]byte(key(items[size-1])))}, nil
}
