package governor

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// firstWindow is how many calls may be under way as long as nothing is known
	// of AWS's limit. When AWS's bucket of tokens runs empty as many as are under way
	// by then, and not many more, are throttled before the first of them tells.
	firstWindow = 8
	// probeWindow is the same while the rate is being measured.
	probeWindow = 2
	// maxWindow bounds the calls under way at any time. At 150 ms a call it
	// carries some four hundred a second, far beyond what IAM admits.
	maxWindow = 64
	// windowGrowth is what an admitted call adds to the window.
	windowGrowth = 1.0 / 8

	// probePause lets AWS's bucket fill a little after the first throttled call,
	// so that there is something to measure.
	probePause = 250 * time.Millisecond

	// The pace after a throttled call follows the curve of CUBIC (RFC 9438): it
	// begins under what AWS was measured to admit, by caution, so that AWS's
	// bucket can recover; comes back to it in a period; lingers there; and then
	// goes on faster and faster to find out whether more is allowed. A period is
	// as long as the measurement took, since a short one is a rough one, and no
	// shorter than so many calls take, within these bounds.
	caution       = 0.05
	fewCalls      = 20
	shortPeriod   = time.Second
	longPeriod    = 5 * time.Second
	forgetPeriods = 12 // without throttling, and no limit is known any more: the pace is beyond any

	// overflow is by how much the pace has to be ahead of what AWS has admitted
	// on average for AWS's bucket to have been full for a while: it then admitted
	// less than it would have.
	overflow = 1.5
	// slowest is the lowest pace, in calls a second. Others who share the account
	// may keep its bucket empty, which looks as if AWS admitted nothing; asking
	// now and then gets the engine its part, and shows soon when that is over.
	slowest = 2
	// backOff is what remains of the pace where it is too high and nothing could
	// be measured.
	backOff = 0.8

	// lateness is what the pace makes up for when a call was let go late.
	lateness = 50 * time.Millisecond
	// quiet is how long no call must have come for AWS's bucket to be unknown again.
	quiet = time.Second
)

// pace says when the next call may go. AWS is taken to have a bucket of tokens
// that fills at a steady rate: between two moments at which it is empty, which
// are when calls are throttled, AWS admits exactly what has flowed in. That
// measures the rate, whatever the size of the bucket, as long as it was never
// full in between.
type pace struct {
	windowSize float64 // see window

	measured    float64       // calls a second that AWS was last seen to admit; 0: no limit is known
	period      time.Duration // of the curve
	throttledAt time.Time     // when AWS last began to throttle
	probeFrom   time.Time     // no call goes before
	tokens      *rate.Limiter

	// The measurement under way: since when, what AWS has admitted, and whether
	// there were always calls waiting.
	since    time.Time
	admitted int
	gapless  bool

	rested time.Time // when nothing waited any more; zero while something does
}

// window is how many calls may be under way.
func (p *pace) window() int {
	if p.windowSize == 0 {
		p.windowSize = firstWindow
	}
	return int(p.windowSize)
}

// rate is how many calls a second may go now; 0 if there is no limit.
func (p *pace) rate(now time.Time) float64 {
	if p.measured == 0 {
		return 0
	}
	x := (now.Sub(p.throttledAt) - p.period).Seconds() / p.period.Seconds()
	return p.measured * (1 + caution*x*x*x)
}

// limit is rate for who only looks, when no call may have come for long.
func (p *pace) limit(now time.Time) float64 {
	if p.forgotten(now) {
		return 0
	}
	return p.rate(now)
}

// forgotten says whether AWS has throttled nothing for so long that no limit is known.
func (p *pace) forgotten(now time.Time) bool {
	return now.Sub(p.throttledAt) > forgetPeriods*p.period
}

// admit takes a token for a call, or returns how long to wait for one.
func (p *pace) admit(now time.Time) time.Duration {
	if pause := p.probeFrom.Sub(now); pause > 0 {
		return pause
	}
	if p.forgotten(now) {
		p.measured = 0
	}
	perSecond := p.rate(now)
	if perSecond == 0 {
		return 0
	}
	p.tokens.SetLimitAt(now, rate.Limit(perSecond))
	p.tokens.SetBurstAt(now, int(math.Ceil(1+perSecond*lateness.Seconds())))
	if p.tokens.AllowN(now, 1) {
		return 0
	}
	return max(seconds((1-p.tokens.TokensAt(now))/perSecond), time.Millisecond)
}

// learn takes note of how a call ended that was let go at began.
func (p *pace) learn(began, now time.Time, outcome Outcome) {
	switch {
	case outcome == Admitted:
		p.admitted++
		p.windowSize = min(p.windowSize+windowGrowth, maxWindow)
	case outcome == Throttled && began.After(p.throttledAt):
		p.slowDown(now)
	}
	// A call that was under way when AWS began to throttle says nothing new.
}

// slowDown is called when AWS has begun to throttle: its bucket is empty.
func (p *pace) slowDown(now time.Time) {
	measurable := p.measure(now)
	p.throttledAt = now
	if !measurable || now.Sub(p.since) >= p.period {
		p.since, p.admitted, p.gapless = now, 0, true
	}
	if p.measured == 0 {
		p.windowSize, p.probeFrom = probeWindow, now.Add(probePause)
		return
	}
	p.tokens = rate.NewLimiter(rate.Limit(p.measured), 1)
	p.tokens.AllowN(now, 1) // empty, as AWS's own
}

// measure works out what AWS admits. It returns false if the measurement under
// way cannot be gone on with.
func (p *pace) measure(now time.Time) bool {
	elapsed, pace := now.Sub(p.since), p.rate(now)
	measurable := p.gapless && !p.since.IsZero()
	switch {
	case measurable && p.admitted > 0:
		p.measured, p.period = float64(p.admitted)/elapsed.Seconds(), elapsed
		if pace > overflow*p.measured {
			// The truth lies between the two.
			p.measured, p.period = math.Sqrt(p.measured*pace), 0
			measurable = false
		}
	case p.measured > 0:
		p.measured, p.period = min(pace, p.measured)*backOff, 0
	}
	if p.measured > 0 {
		p.measured = max(p.measured, slowest)
		p.period = min(max(p.period, seconds(fewCalls/p.measured), shortPeriod), longPeriod)
	}
	return measurable
}

// rest is called when no call waits.
func (p *pace) rest(now time.Time) {
	p.gapless = false
	if p.rested.IsZero() {
		p.rested = now
	}
}

// wake is called when a call comes.
func (p *pace) wake(now time.Time) {
	if !p.rested.IsZero() && now.Sub(p.rested) > quiet {
		p.windowSize = min(p.windowSize, firstWindow)
	}
	p.rested = time.Time{}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
