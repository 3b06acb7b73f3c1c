package rows

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// childEnv has the task of a child: this program, as a worker that is killed.
const childEnv = "STRUCTSEAL_ROWS_CHILD"

type task struct {
	Dialect     sqlstore.Dialect
	Driver, DSN string
	KeyFile     string
	Pin         string
	Worker      string
	Point       string // where it kills itself; "": it is killed
	After       int    // batches before it does
}

// points are where a worker kills itself.
var points = []string{"claim", "claimed", "read", "sealed", "written", "release"}

// child is a worker on the customers of a site.
func child() error {
	var c task
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &c); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := sql.Open(c.Driver, c.DSN)
	if err != nil {
		return err
	}
	ring, err := childRing(ctx, db, c.Dialect, c.KeyFile, c.Pin)
	if err != nil {
		return err
	}
	table, err := sqlrows.New(ctx, db, c.Dialect, described, &sqlrows.Options{PartRows: 300})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	source := &suicidal{Source: table, point: c.Point, after: c.After}
	for _, err := range rotate.Run(ctx, ring, rotate.Reencrypt, source, &rotate.Options{Worker: c.Worker, Lease: 50 * time.Millisecond, MaxBatch: 25}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// childRing opens the ring of a site in a child.
func childRing(ctx context.Context, db *sql.DB, d sqlstore.Dialect, keyFile, pinText string) (*keyring.Keyring, error) {
	store, err := sqlstore.New(db, d, nil)
	if err != nil {
		return nil, err
	}
	kms, err := localkms.OpenKeyFile(keyFile)
	if err != nil {
		return nil, err
	}
	pin, err := keyring.ParsePin(pinText)
	if err != nil {
		return nil, err
	}
	return keyring.Open(ctx, "app", store, kms, pin, nil)
}

// suicidal is a source whose worker kills itself at a point.
type suicidal struct {
	rotate.Source
	point string
	after int
}

func (s *suicidal) at(point string) {
	if point != s.point {
		return
	}
	if s.after--; s.after < 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (s *suicidal) Claim(ctx context.Context, job *rotate.Job) (rotate.Part, error) {
	s.at("claim")
	part, err := s.Source.Claim(ctx, job)
	s.at("claimed")
	return &suicidalPart{part, s}, err
}

type suicidalPart struct {
	rotate.Part
	s *suicidal
}

func (p *suicidalPart) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	b, err := p.Part.Batch(ctx, limit, func(ctx context.Context, rows []rotate.Row) error {
		p.s.at("read")
		err := change(ctx, rows)
		p.s.at("sealed")
		return err
	})
	p.s.at("written")
	return b, err
}

func (p *suicidalPart) Release(ctx context.Context) error {
	p.s.at("release")
	return p.Part.Release(ctx)
}

// spawn starts a worker and returns when it is about to begin.
func (s *site) spawn(t testing.TB, c task) *exec.Cmd {
	t.Helper()
	c.Dialect, c.Driver, c.DSN, c.KeyFile, c.Pin = s.dialect, s.driver, s.dsn, s.keyFile, s.pin.String()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return spawn(t, childEnv, string(text))
}

// killed reports whether a worker was killed, and not done before.
func killed(t testing.TB, cmd *exec.Cmd) bool {
	t.Helper()
	err := cmd.Wait()
	if err == nil {
		return false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("a worker failed: %v\n%s", err, cmd.Stderr)
	return false
}

// Workers are killed, two at a time, at each point and at random, while others write.
// What is left is done by the next one, and no row is lost, unreadable or left out.
func TestKill(t *testing.T) {
	const n = 1500
	random := 20
	if long {
		random = 200
	}
	for name, open := range databases {
		if raced && name != "SQLite" {
			continue // the others without the race detector, which makes the children slow
		}
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring, app := t.Context(), s.ring(t), s.ring(t)
			s.fill(t, ring, 1, n)
			stop := s.writing(t, app, n, 2, 5*time.Millisecond)
			inside := 0
			rotated := func() uint32 {
				old, err := ring.Primary(ctx, keyring.Data)
				if err == nil {
					_, err = ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := app.Refresh(ctx); err != nil {
					t.Fatal(err)
				}
				return old.ID()
			}
			// finish ends the job as the next worker does, and looks at what came of it.
			finish := func(old uint32) {
				table := s.table(t, &sqlrows.Options{PartRows: 300})
				all(t, ring, rotate.Reencrypt, table, nil)
				_, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if left := census.Counted(old); left != 0 {
					t.Fatalf("%d values name the old key", left)
				}
			}
			for _, point := range points {
				for _, after := range []int{0, 2} {
					old := rotated()
					a := s.spawn(t, task{Worker: "a", Point: point, After: after})
					b := s.spawn(t, task{Worker: "b", Point: point, After: after})
					for _, w := range []*exec.Cmd{a, b} {
						if killed(t, w) {
							inside++
						}
					}
					finish(old)
				}
			}
			atPoints := inside
			tries := 0
			for inside-atPoints < random { // those that were done before they were killed don't count
				old := rotated()
				for range 5 { // kills in one job
					a, b := s.spawn(t, task{Worker: "a"}), s.spawn(t, task{Worker: "b"})
					for _, w := range []*exec.Cmd{a, b} {
						timer := time.AfterFunc(rand.N(60*time.Millisecond), func() { w.Process.Kill() })
						if killed(t, w) {
							inside++
						}
						timer.Stop()
						tries++
					}
				}
				finish(old)
				if tries > 10*random {
					t.Fatalf("%d of %d workers were killed", inside-atPoints, tries)
				}
			}
			h := stop()
			s.check(t, ring, n, func(id int64) int { return int(h.versions[id].Load()) })
			t.Logf("%d workers killed at points, %d of %d at random; %d writes of others", atPoints, inside-atPoints, tries, h.writes.Load())
			if atPoints == 0 {
				t.Error("nobody was killed at a point")
			}
		})
	}
}
