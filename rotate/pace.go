package rotate

import "time"

// A pace measures rows a second over the last batches.
type pace struct {
	at   [16]time.Time
	rows [16]int
	n    int // batches in all
}

func (p *pace) add(rows int) {
	p.at[p.n%len(p.at)], p.rows[p.n%len(p.at)] = time.Now(), rows
	p.n++
}

// rate is 0 as long as nothing is known.
func (p *pace) rate() float64 {
	if p.n < 2 {
		return 0
	}
	oldest := max(0, p.n-len(p.at))
	rows := 0
	for i := oldest + 1; i < p.n; i++ {
		rows += p.rows[i%len(p.at)]
	}
	d := p.at[(p.n-1)%len(p.at)].Sub(p.at[oldest%len(p.at)])
	if d <= 0 {
		return 0
	}
	return float64(rows) / d.Seconds()
}

// attempts are how the last ones went.
type attempts struct {
	failed [20]bool
	n      int // in all
}

func (a *attempts) add(err error) {
	a.failed[a.n%len(a.failed)] = err != nil
	a.n++
}

// rate is the share that has failed; 0 as long as there are few.
func (a *attempts) rate() float64 {
	if a.n < len(a.failed) {
		return 0
	}
	n := 0
	for _, f := range a.failed {
		if f {
			n++
		}
	}
	return float64(n) / float64(len(a.failed))
}

// ahead is how long to wait so that rows since start are no more than a rate allows.
func (p *pace) ahead(rows int64, rate int, start time.Time) time.Duration {
	return time.Duration(float64(rows)/float64(rate)*float64(time.Second)) - time.Since(start)
}
