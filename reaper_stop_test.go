package awsiam

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheReaperStopsWhileRecordsAreUnread: what is still to be read is left to the next
// process, and nobody works on.
//
// Break it by leaving the look at the lifetime out of reaper.workOff: then runs that do
// nothing follow each other, and the end of the backend waits for them.
func TestTheReaperStopsWhileRecordsAreUnread(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.leave("app", 10*reaperWorkers)
	require.NoError(t, e.reload())
	e.start()
	reached, release := e.hold("get")
	promptly(t, "the tick", e.tick)
	<-reached
	e.b.reaper.end()
	release()
	promptly(t, "the end", func() error { e.b.Cleanup(t.Context()); return nil })
}
