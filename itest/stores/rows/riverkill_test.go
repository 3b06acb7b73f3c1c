package rows

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/riverrows"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// riverChildEnv has the task of a child that works on River's jobs, or enqueues them.
const riverChildEnv = "STRUCTSEAL_RIVER_CHILD"

type riverTask struct {
	DSN, KeyFile, Pin string
	Enqueue           bool
	Rows              int    // of a job
	Point             string // where it kills itself; "": it is killed
	After             int    // how often it has passed there
}

// riverPoints are where an enqueuer kills itself, having passed there so often.
var riverPoints = map[string][]int{"begin": {1}, "commit": {0, 1}, "committed": {0, 2}, "inserted": {0, 1}}

// riverChild is a River client with a worker on the customers of a site, or enqueues.
func riverChild() error {
	var c riverTask
	if err := json.Unmarshal([]byte(os.Getenv(riverChildEnv)), &c); err != nil {
		return err
	}
	ctx := context.Background()
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return err
	}
	k := &killer{c.Point, c.After}
	db := sql.OpenDB(connector{stdlib.GetConnector(*config), k})
	table, err := sqlrows.New(ctx, db, sqlstore.PostgreSQL, described, nil)
	if err != nil {
		return err
	}
	jobs, err := riverrows.New(db, &riverrows.Options{Schema: riverSchema, Logger: silent})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if c.Enqueue {
		_, err := jobs.Enqueue(ctx, "app", rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: c.Rows, Inserted: func(riverrows.Run) { k.at("inserted") }})
		return err
	}
	ring, err := childRing(ctx, db, sqlstore.PostgreSQL, c.KeyFile, c.Pin)
	if err != nil {
		return err
	}
	// Half of a part in a transaction, so that some are killed between two.
	work := hasten(jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{Timeout: soon, MaxBatch: c.Rows/2 + 1}), 2))
	work.LeaderElectionDisabled = true // the test's own client gives the jobs of the dead to others
	client, err := river.NewClient(riverdatabasesql.New(db), work)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	select {} // until it is killed
}

// soon is the Timeout of workers that are killed, so that their jobs go on soon.
const soon = time.Second

// A killer ends this process at a point.
type killer struct {
	point string
	after int
}

func (k *killer) at(point string) {
	if point != k.point {
		return
	}
	if k.after--; k.after < 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// connector makes connections on which a killer waits, around transactions.
type connector struct {
	driver.Connector
	k *killer
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return connection{conn.(*stdlib.Conn), c.k}, nil
}

type connection struct {
	*stdlib.Conn
	k *killer
}

func (c connection) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.k.at("begin")
	tx, err := c.Conn.BeginTx(ctx, opts)
	return ending{tx, c.k}, err
}

type ending struct {
	driver.Tx
	k *killer
}

func (e ending) Commit() error {
	e.k.at("commit")
	err := e.Tx.Commit()
	e.k.at("committed")
	return err
}

// riverSpawn starts a child and returns when it is about to begin.
func (s *site) riverSpawn(t testing.TB, c riverTask) *exec.Cmd {
	t.Helper()
	c.DSN, c.KeyFile, c.Pin = s.dsn, s.keyFile, s.pin.String()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return spawn(t, riverChildEnv, string(text))
}

// An enqueuer is killed at each point, some times in a run, until one gets to the end:
// every row is done, once, and until then the run isn't called done, though workers have
// done all that there is.
func TestRiverKillEnqueuer(t *testing.T) {
	const n = 3000
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, n)
	stop := s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 4))
	defer stop()
	killedAt := make(map[string]int)
	for point, passes := range riverPoints {
		for _, after := range passes {
			execute(t, s.db, "DELETE FROM structseal_river.structseal_river_runs", "DELETE FROM structseal_river.river_job")
			old := rotated(t, ring)
			for round := 0; ; round++ {
				if !killed(t, s.riverSpawn(t, riverTask{Enqueue: true, Rows: 15, Point: point, After: after})) {
					break
				}
				killedAt[point]++
				p, err := jobs.Progress(t.Context(), "app", rotate.Reencrypt, table, nil)
				if err == nil && p.Handed {
					break
				}
				if err == nil && p.Parts > 0 && round == 1 {
					// The workers do what there is, and it isn't all.
					p = until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Ended == p.Parts })
					if p.Done || p.Stopped || p.Handed || p.Rows >= n {
						t.Fatalf("%s: %+v", point, p)
					}
				}
				if round == 3 { // some points nobody gets past
					break
				}
			}
			enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 15})
			p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
			if p.Rows != n || p.Written != n || p.Parts != n/15+1 {
				t.Fatalf("%s: %+v", point, p)
			}
			none(t, ring, table, old)
		}
	}
	t.Logf("killed: %v", killedAt)
	for point := range riverPoints {
		if killedAt[point] == 0 {
			t.Errorf("nobody was killed at %q", point)
		}
	}
}

// Workers in two processes are killed at random moments, while others write and the
// database crashes once: no row is lost, unreadable or left out, and bad rows are told.
func TestRiverKillWorkers(t *testing.T) {
	n, kills, perJob := int64(50_000), 5, 500
	if long {
		n, kills, perJob = 1_000_000, 30, 1000
	}
	if raced {
		n, perJob = 5_000, 50
	}
	c, err := dbserver.NewCluster()
	dbserver.Need(t, err)
	dbserver.Need(t, c.Initialize())
	dbserver.Need(t, c.Serve())
	s := postgresIn(t, c)
	ctx, ring, app, jobs := t.Context(), s.ring(t), s.ring(t), s.river(t)
	table := s.table(t, nil)
	s.fill(t, ring, 1, n)
	s.fill(t, ring, n+1, n+40)
	for id := n + 1; id <= n+40; id += 10 { // nobody else writes these
		execute1(t, s, "UPDATE customers SET email = (SELECT email FROM customers WHERE id = ?) WHERE id = ?", id+1, id)
	}
	old := rotated(t, ring)
	if err := app.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: perJob})
	stop := s.writing(t, app, n, 2, 5*time.Millisecond)
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	task := riverTask{Rows: perJob}
	// One survives, and is the leader; it is slow.
	survivor := func(rate int) func() {
		return s.start(t, hasten(jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{Timeout: soon, RowsPerSecond: rate}), 2)))
	}
	stopSurvivor := survivor(500)
	inside := 0
	victim := s.riverSpawn(t, task)
	for killed := 0; killed < kills; killed++ {
		other := s.riverSpawn(t, task)
		time.Sleep(rand.N(400 * time.Millisecond)) // the moment is random
		p, err := jobs.Progress(ctx, "app", rotate.Reencrypt, table, nil)
		if err != nil {
			t.Fatal(err)
		}
		victim.Process.Kill()
		victim.Wait()
		if !p.Done {
			inside++
		}
		victim = other
		if killed == kills/2 {
			// The writers of the test don't take part in a crash: who is interrupted at
			// COMMIT doesn't know what he did.
			h := stop()
			stopped = true
			execute(t, s.db, "CHECKPOINT") // what they wrote stays, though commits aren't synchronous here
			if err := c.Crash(); err != nil {
				t.Fatal(err)
			}
			if err := c.Serve(); err != nil {
				t.Fatal(err)
			}
			ready(t, s)
			again := s.writingOn(t, app, h, 2, 5*time.Millisecond)
			stop, stopped = again, false
		}
	}
	// A new leader looks for the jobs of the dead at once, if they are dead for long enough.
	stopSurvivor()
	time.Sleep(2 * soon)
	survivor(0)
	p := until(t, jobs, rotate.Reencrypt, table, 10*time.Minute, isDone)
	victim.Process.Kill()
	victim.Wait()
	h := stop()
	stopped = true
	if p.Rows < n+40 || p.BadRows != 4 || len(p.Bad) != 4 || p.Failed != 0 {
		t.Errorf("%+v", p)
	}
	for i, b := range p.Bad {
		if b.Row != fmt.Sprint(n+1+10*int64(i)) || b.Field != "customer.email" {
			t.Errorf("%+v", b)
		}
	}
	stored := s.read(t)
	if len(stored) != int(n)+40 {
		t.Errorf("%d rows", len(stored))
	}
	for id, row := range stored {
		version := 0
		if id <= n {
			version = int(h.versions[id].Load())
		} else if (id-n)%10 == 1 {
			continue // bad
		}
		same(t, ring, row, version)
	}
	execute(t, s.db, fmt.Sprintf("DELETE FROM customers WHERE id > %d AND (id - %d) %% 10 = 1", n, n))
	none(t, ring, table, old)
	rescued := s.count(t, "SELECT count(*) FROM structseal_river.river_job WHERE array_length(errors, 1) > 0")
	t.Logf("%d rows in %v; %d of %d workers killed with work left, %d jobs rescued; %d conflicts, %d writes of others", p.Rows, time.Since(begin).Round(time.Second), inside, kills, rescued, p.Conflicts, h.writes.Load())
	if inside == 0 || h.writes.Load() == 0 {
		t.Error("nobody was killed, or nobody has written")
	}
}

// ready waits until the pool of a site has got over a crash.
func ready(t testing.TB, s *site) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := s.db.PingContext(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// spawn starts this program as a child with a task, and returns when it is about to begin.
func spawn(t testing.TB, env, task string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+task)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatalf("a child doesn't begin: %v\n%s", err, &stderr)
	}
	return cmd
}
