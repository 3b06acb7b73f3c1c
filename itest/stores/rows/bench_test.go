package rows

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// BenchmarkReencrypt re-encrypts a table of 5,000 rows (100,000 with STRUCTSEAL_LONG=1)
// with about 3.2 sealed values each, and reports rows a second. impl=floor writes the
// same columns of the same rows in the same batches, of 500, without any cryptography.
func BenchmarkReencrypt(b *testing.B) {
	n := int64(5_000)
	if long {
		n = 100_000
	}
	const batch = 500
	for name, open := range databases {
		b.Run("db="+name, func(b *testing.B) {
			s := open(b)
			ctx, ring := b.Context(), s.ring(b)
			s.fill(b, ring, 1, n)
			table := s.table(b, nil)
			b.Run("impl=floor", func(b *testing.B) {
				passes, before := 0, processorTime()
				for b.Loop() {
					if err := overwrite(ctx, table, batch); err != nil {
						b.Fatal(err)
					}
					passes++
				}
				b.StopTimer()
				b.ReportMetric((processorTime()-before).Seconds()*1e6/float64(n)/float64(passes), "worker-µs/row")
				if passes%2 == 1 { // what was there
					if err := overwrite(ctx, table, batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)*float64(passes)/b.Elapsed().Seconds(), "rows/s")
			})
			b.Run("impl=structseal", func(b *testing.B) {
				var spent time.Duration
				var log int64
				for b.Loop() {
					b.StopTimer()
					if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
						b.Fatal(err)
					}
					before, written := processorTime(), s.walBytes(b)
					b.StartTimer()
					if p := all(b, ring, rotate.Reencrypt, table, &rotate.Options{MaxBatch: batch, BatchTime: time.Hour}); p.Written != n {
						b.Fatalf("%+v", p)
					}
					spent += processorTime() - before
					log += s.walBytes(b) - written
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(spent.Seconds()*1e6/float64(n)/float64(b.N), "worker-µs/row")
				if log > 0 {
					b.ReportMetric(float64(log)/float64(n)/float64(b.N), "wal-B/row")
				}
			})
		})
	}
}

// walBytes is how much PostgreSQL has written to its log, in all; 0 for the others.
func (s *site) walBytes(b *testing.B) (bytes int64) {
	if s.dialect == sqlstore.PostgreSQL {
		if err := s.db.QueryRowContext(b.Context(), "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").Scan(&bytes); err != nil {
			b.Fatal(err)
		}
	}
	return bytes
}

// processorTime is what this process has spent, in all threads: the worker, without the
// server of the database.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// overwrite writes every sealed column of every row anew, with another last byte than
// what is there; twice is nothing.
func overwrite(ctx context.Context, table *sqlrows.Table, batch int) error {
	job := rotate.Job{ID: "floor", Worker: "w", Lease: time.Minute}
	for {
		part, err := table.Claim(ctx, &job)
		if errors.Is(err, rotate.ErrDone) {
			return nil
		}
		if err != nil {
			return err
		}
		for done := false; !done; {
			b, err := part.Batch(ctx, batch, func(_ context.Context, rows []rotate.Row) error {
				for i := range rows {
					for c := range rows[i].Cells {
						if cell := &rows[i].Cells[c]; cell.Value != nil {
							cell.New = append([]byte{}, cell.Value...)
							cell.New[len(cell.New)-1] ^= 1
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			done = b.Done
		}
	}
}

// A job over any number of rows needs no more memory than one over few: at most 64 MiB
// above what was there at its start.
func TestMemoryOfJobs(t *testing.T) {
	n := int64(20_000)
	if long {
		n = 1_000_000
	}
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	s.fill(t, ring, 1, n)
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	start, most, batches := heap(), uint64(0), 0
	for p, err := range rotate.Run(ctx, ring, rotate.Reencrypt, s.table(t, nil), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if batches++; batches%10 == 0 || p.Done {
			most = max(most, heap())
		}
	}
	t.Logf("%d rows: %.1f MiB at the start, at most %.1f", n, float64(start)/(1<<20), float64(most)/(1<<20))
	if most > start+64<<20 {
		t.Errorf("%d bytes grew to %d", start, most)
	}
}
