package chaos

import (
	"math/rand/v2"
	"time"
)

// Every actor of a run draws from a random stream of its own, so that none
// changes what another does. The numbers are the streams'; clients count on
// from the last.
const (
	serverStream uint64 = iota + 1
	cloudStream
	handStream
	waveStream
	roleStream
	clientStream
)

// stream is the random source of one actor. The same seed gives the same.
func stream(seed, actor uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, actor)) //nolint:gosec // has to be reproducible, and guards nothing
}

// between draws a time from a range.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)+1))
}

// pick draws one of the items.
func pick[T any](random *rand.Rand, items ...T) T { return items[random.IntN(len(items))] }

// bag draws kinds of something in a random order in which each comes up as
// often as it weighs: all that is in the bag is drawn before it is filled again.
// So a short run meets every kind too, and a long one in the right proportion.
type bag[T any] struct {
	content []T
	left    []T
}

func (b *bag[T]) add(weight int, kind T) {
	for range weight {
		b.content = append(b.content, kind)
	}
}

func (b *bag[T]) draw(random *rand.Rand) T {
	if len(b.left) == 0 {
		b.left = append(b.left, b.content...)
		random.Shuffle(len(b.left), func(i, j int) { b.left[i], b.left[j] = b.left[j], b.left[i] })
	}
	kind := b.left[0]
	b.left = b.left[1:]
	return kind
}
