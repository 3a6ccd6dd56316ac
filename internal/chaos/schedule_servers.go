package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// serverKind is a kind of fault on the Vault servers.
type serverKind string

const (
	killLeader     serverKind = "leader killed"
	killStandby    serverKind = "standby killed"
	killPlugin     serverKind = "plugin killed"
	killAll        serverKind = "all nodes killed"
	pauseLeader    serverKind = "leader paused"
	pauseStandby   serverKind = "standby paused"
	isolateLeader  serverKind = "leader isolated"
	isolateStandby serverKind = "standby isolated"
	stepDown       serverKind = "leader stepped down"
	sealLeader     serverKind = "leader sealed"
	reloadPlugin   serverKind = "plugin reloaded"
)

// serverFault is one fault on the servers. One is over, and the cluster whole
// again, before the next begins: otherwise no majority would be left, and a
// cluster that does nothing meets no trouble.
type serverFault struct {
	kind    serverKind
	after   time.Duration // pause since the cluster was whole
	lasts   time.Duration // until a node comes back; 0 for what is over at once
	standby int           // which of the standbys, where it is about one
}

func (f serverFault) String() string {
	if f.lasts == 0 {
		return string(f.kind)
	}
	return fmt.Sprintf("%s for %s", f.kind, f.lasts.Round(100*time.Millisecond))
}

// serverSchedule is the endless sequence of a seed's faults on the servers.
type serverSchedule struct {
	random *rand.Rand
	nodes  int
	kinds  bag[serverKind]
}

func newServerSchedule(seed uint64, nodes int) *serverSchedule {
	s := &serverSchedule{random: stream(seed, serverStream), nodes: nodes}
	s.kinds.add(6, killLeader)
	s.kinds.add(12, killPlugin)
	s.kinds.add(2, pauseLeader)
	s.kinds.add(1, stepDown)
	s.kinds.add(1, sealLeader)
	s.kinds.add(2, reloadPlugin)
	if nodes > 1 {
		s.kinds.add(2, killAll)
		s.kinds.add(4, killStandby)
		s.kinds.add(1, pauseStandby)
		s.kinds.add(2, isolateLeader)
		s.kinds.add(1, isolateStandby)
	}
	return s
}

func (s *serverSchedule) next() serverFault {
	f := serverFault{kind: s.kinds.draw(s.random), after: between(s.random, 200*time.Millisecond, 3*time.Second)}
	if s.nodes > 1 {
		f.standby = s.random.IntN(s.nodes - 1)
	}
	switch f.kind {
	case killLeader, killStandby, killAll, sealLeader:
		f.lasts = between(s.random, 100*time.Millisecond, 4*time.Second)
	case pauseLeader, pauseStandby:
		// From shorter than what an election takes to longer than a lease.
		f.lasts = between(s.random, 500*time.Millisecond, 20*time.Second)
	case isolateLeader, isolateStandby:
		f.lasts = between(s.random, 2*time.Second, 12*time.Second)
	case killPlugin, stepDown, reloadPlugin:
		// over at once
	}
	return f
}
