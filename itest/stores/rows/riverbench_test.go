package rows

import (
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/riverrows"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// BenchmarkRiver re-encrypts a table of 5,000 rows (100,000 with STRUCTSEAL_LONG=1) by one
// rotate.Run, and by a River client with so many jobs at once, enqueueing included, and
// reports rows a second. The table is vacuumed before each pass. Run comes twice, first
// and last, to tell how even the machine was.
func BenchmarkRiver(b *testing.B) {
	n := int64(5_000)
	if long {
		n = 100_000
	}
	s := postgres(b)
	ctx, ring, jobs, table := b.Context(), s.ring(b), s.river(b), s.table(b, nil)
	s.fill(b, ring, 1, n)
	fresh := func(b *testing.B) {
		b.StopTimer()
		rotated(b, ring)
		execute(b, s.db, "VACUUM ANALYZE customers", "CHECKPOINT")
		b.StartTimer()
	}
	rate := func(b *testing.B) {
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}
	run := func(b *testing.B) {
		for b.Loop() {
			fresh(b)
			if p := all(b, ring, rotate.Reencrypt, table, nil); p.Written != n {
				b.Fatalf("%+v", p)
			}
		}
		rate(b)
	}
	b.Run("impl=run/pass=first", run)
	for _, size := range []int{500, 1000, 2000} {
		for _, workers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("impl=river/rowsperjob=%d/workers=%d", size, workers), func(b *testing.B) {
				enqueued := time.Duration(0)
				for b.Loop() {
					fresh(b)
					client, err := river.NewClient(riverdatabasesql.New(s.db), jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), workers))
					if err != nil {
						b.Fatal(err)
					}
					begin := time.Now()
					enqueue(b, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: size})
					enqueued += time.Since(begin)
					if err := client.Start(ctx); err != nil {
						b.Fatal(err)
					}
					if p := until(b, jobs, rotate.Reencrypt, table, 10*time.Minute, isDone); p.Written != n {
						b.Fatalf("%+v", p)
					}
					b.StopTimer()
					if err := client.Stop(ctx); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				rate(b)
				b.ReportMetric(enqueued.Seconds()*1000/float64(b.N), "ms/enqueue")
			})
		}
	}
	b.Run("impl=run/pass=last", run)
}
