package pgnotify

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/structseal/structseal/keyring"
)

// quiet is as much of a server as a listener needs. One that is deaf has vanished
// without closing the connection.
type quiet struct {
	connections, pings atomic.Int64
	deaf               atomic.Bool
}

func (q *quiet) serve(conn net.Conn) {
	defer conn.Close()
	q.connections.Add(1)
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		for err == nil && q.deaf.Load() {
			m, err = b.Receive()
		}
		query, ok := m.(*pgproto3.Query)
		if err != nil || !ok {
			return
		}
		if query.String == `LISTEN "structseal_notices"` {
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("LISTEN")})
		} else {
			q.pings.Add(1)
			b.Send(&pgproto3.EmptyQueryResponse{})
		}
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// Silence is no reason to connect again, and a connection that is dead without a
// word is found out.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(quiet)
		config, err := pgx.ParseConfig("host=127.0.0.1 user=u dbname=d sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go q.serve(server)
			return client, nil
		}
		l, err := New(func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var missed atomic.Int64
		ended := make(chan error)
		go func() {
			ended <- l.Listen(ctx, "app", func(n keyring.Notice) {
				if n.Missed {
					missed.Add(1)
				}
			})
		}()
		time.Sleep(10 * time.Minute)
		if q.connections.Load() != 1 || missed.Load() != 1 || q.pings.Load() < 10 {
			t.Errorf("in silence: %d connections, %d times missed, %d pings", q.connections.Load(), missed.Load(), q.pings.Load())
		}
		q.deaf.Store(true)
		time.Sleep(time.Minute)
		q.deaf.Store(false)
		time.Sleep(time.Minute)
		if q.connections.Load() < 2 || missed.Load() != 2 {
			t.Errorf("after it was dead: %d connections, %d times missed", q.connections.Load(), missed.Load())
		}
		cancel()
		<-ended
	})
}
