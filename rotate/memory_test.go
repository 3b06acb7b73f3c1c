package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
)

var described = manifest.Record{
	Label: "customer",
	Binds: []manifest.Bind{{Label: "id", Field: "ID", Column: "id", Kind: manifest.BindInteger}},
	Fields: []manifest.Field{
		{Path: []string{"email"}, Field: "Email", Type: "string", Column: "email", Form: manifest.FormString},
	},
}

// memory is a source that has its rows in memory: value n is that of the row n+1. It
// knows one job, in one part.
type memory struct {
	mu      sync.Mutex
	values  []string // NULL: ""
	reached int

	// What happens: before a batch is written, and how far replicas are behind.
	before func(batch int) error
	lag    func() time.Duration
	batch  int
	rows   int // of the batch that is about to be written
	claims int
}

func (m *memory) Name() string             { return "customers" }
func (m *memory) Record() *manifest.Record { return &described }

func (m *memory) Estimate(context.Context) (int64, error) { return int64(len(m.values)), nil }

func (m *memory) row(i int) rotate.Row {
	id := strconv.Itoa(i + 1)
	row := rotate.Row{Key: id, Binds: []string{id}, Cells: []rotate.Cell{{Text: true}}}
	if m.values[i] != "" {
		row.Cells[0].Value = []byte(m.values[i])
	}
	return row
}

func (m *memory) Scan(_ context.Context, after string, limit int) (rows []rotate.Row, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, _ := strconv.Atoi(after)
	for i := from; i < len(m.values) && len(rows) < limit; i++ {
		rows = append(rows, m.row(i))
	}
	if to := from + len(rows); to < len(m.values) {
		next = strconv.Itoa(to)
	}
	return rows, next, nil
}

func (m *memory) Claim(_ context.Context, job *rotate.Job) (rotate.Part, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims++
	if m.reached == len(m.values) {
		if job.Run != 0 {
			return nil, rotate.ErrDone
		}
		m.reached = 0
	}
	job.Run = 1
	return m, nil
}

func (m *memory) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []rotate.Row
	for i := m.reached; i < len(m.values) && len(rows) < limit; i++ {
		rows = append(rows, m.row(i))
	}
	if err := change(ctx, rows); err != nil {
		return rotate.Batch{}, err
	}
	m.batch++
	m.rows = len(rows)
	if m.before != nil {
		if err := m.before(m.batch); err != nil {
			return rotate.Batch{}, err
		}
	}
	b := rotate.Batch{Rows: len(rows)}
	for i, row := range rows {
		if row.Cells[0].New != nil {
			m.values[m.reached+i] = string(row.Cells[0].New)
			b.Written++
		}
	}
	m.reached += len(rows)
	b.Done = m.reached == len(m.values)
	return b, nil
}

func (m *memory) Release(context.Context) error { return nil }

func (m *memory) Lag(context.Context) (time.Duration, error) {
	if m.lag == nil {
		return 0, nil
	}
	return m.lag(), nil
}

// Example re-encrypts rows that a source of one's own has.
func Example() {
	ctx := context.Background()
	ring, _, err := keyring.Create(ctx, "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()
	table := &memory{values: slices.Repeat([]string{"ada@example.net"}, 250)}

	for _, kind := range []rotate.Kind{rotate.Backfill, rotate.Reencrypt} {
		for p, err := range rotate.Run(ctx, ring, kind, table, nil) {
			if err != nil {
				fmt.Println(err)
				return
			}
			if p.Done {
				fmt.Printf("%s: %d of %d rows written\n", p.Kind, p.Written, p.Rows)
			}
		}
		if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			fmt.Println(err)
			return
		}
	}
	plan, err := rotate.Plan(ctx, ring, rotate.Reencrypt, table, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan.ToWrite, "rows to write after the next rotation")
	// Output:
	// backfill: 250 of 250 rows written
	// re-encrypt: 250 of 250 rows written
	// 250 rows to write after the next rotation
}
