// Package ratio measures work in benchmarks next to a floor that does the same by hand.
// Machines that others use, too, change their speed from second to second: only what runs
// in turns can be compared.
package ratio

import (
	"slices"
	"testing"
	"time"
)

// turn is long enough for garbage to be collected in the turn of what makes it.
const turn = 30 * time.Millisecond

// Bench runs floor and work in turns, and reports medians: x-floor, how much longer work
// takes, and ns/op and floor-ns/op. allocs/op are those of work.
func Bench(b *testing.B, floor, work func()) {
	b.ReportAllocs()
	floors, works := calls(floor), calls(work)
	var floorTimes, workTimes, ratios []float64
	for b.Loop() {
		f, w := each(floors, floor), each(works, work)
		floorTimes, workTimes, ratios = append(floorTimes, f), append(workTimes, w), append(ratios, w/f)
	}
	b.ReportMetric(median(workTimes), "ns/op")
	b.ReportMetric(median(floorTimes), "floor-ns/op")
	b.ReportMetric(median(ratios), "x-floor")
	b.ReportMetric(testing.AllocsPerRun(min(works, 1000), work), "allocs/op")
}

// calls is how many calls of f take a turn.
func calls(f func()) int {
	for n := 1; ; n *= 2 {
		if t := each(n, f) * float64(n); t > float64(turn)/4 {
			return max(1, int(float64(n)*float64(turn)/t))
		}
	}
}

// each is how long a call of f takes, of n, in nanoseconds.
func each(n int, f func()) float64 {
	begin := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(begin)) / float64(n)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
