// Package pgnotify tells rings of changes in a PostgreSQL database, through
// LISTEN, so that they needn't wait for keyring.OpenOptions.TTL. What it hears is
// sent by keyring/sqlstore; nothing has to be switched on there.
//
//	listener, err := pgnotify.New(func(ctx context.Context) (*pgx.Conn, error) {
//		return pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
//	}, nil)
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, &keyring.OpenOptions{Notifier: listener})
//
// A listener has one connection, however many rings share it, and only while one of
// them is open: make one for each program. It must be a session of the primary's: a
// pooler that gives a connection to others after each transaction (pgbouncer with
// pool_mode transaction or statement) takes the LISTEN away with it, and a standby
// refuses it. So connect to the server itself, or to a pool in session mode; the
// store's own pool may be any.
//
// # What is lost when
//
// The notice is part of the statement that changes a record (see
// [sqlstore.Store.NoticeChannel]): a change that is committed is told to every
// connection that listens then, whoever crashes afterwards, and one that is rolled
// back never is. A connection that is away hears nothing. It is replaced with full
// jitter between the attempts, up to 15 seconds at first and after long silence
// found dead by a ping; then every ring looks once at what it may have missed. Until
// then TTL bounds it, as without a listener.
//
// # Security considerations
//
// A notice is a hint. PostgreSQL lets every role that may connect to the database
// send on any channel and listen to any: no grant protects either. Who sends
// forgeries makes rings look into their store, at a limited rate (see
// keyring.OpenOptions.Notifier). Who listens learns which ring changed when, and
// the keyed hash of a subject whose record changed. The listener's role needs
// CONNECT on the database and no right on any table.
package pgnotify

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// ErrOptions: no way to connect, or no channel's name.
var ErrOptions = errors.New("invalid option")

const (
	callTimeout = 10 * time.Second // to connect, to LISTEN, to answer a ping
	backoffBase = 250 * time.Millisecond
	backoffCap  = 15 * time.Second
)

// silence is how long nothing may be heard before the connection is tried.
var silence = 30 * time.Second

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Channel is the name that [sqlstore.Store.NoticeChannel] returns. Default:
	// that of the default table prefix, structseal_notices.
	Channel string

	// Logger is told when the connection is lost (Warn, "pgnotify.lost", with
	// "error") and when it is there again (Info, "pgnotify.listening"). Default:
	// none.
	Logger *slog.Logger
}

// A Listener is a [keyring.Notifier]. It is safe for concurrent use, and needs no
// closing: it connects when the first ring is opened with it, and leaves nothing
// behind when the last one is closed.
type Listener struct {
	channel string
	logger  *slog.Logger
	// connect is a closure that holds a password, most likely. Printers don't get
	// into it.
	connect func(ctx context.Context) (*pgx.Conn, error)

	mu    sync.Mutex
	rings map[*listening]bool // guarded by mu
	run   *run                // nil: no ring; guarded by mu
}

var _ keyring.Notifier = (*Listener)(nil)

// listening is a call of Listen.
type listening struct {
	ring   string
	notice func(keyring.Notice)
}

// run is the life of a connection and of those that replace it.
type run struct {
	stop      context.CancelFunc
	done      chan struct{}
	listening bool // guarded by Listener.mu
}

// New returns a listener. It doesn't connect. connect opens a connection that the
// listener closes; it is called again whenever one is lost.
//
// Errors: ErrOptions.
func New(connect func(ctx context.Context) (*pgx.Conn, error), opts *Options) (*Listener, error) {
	l := &Listener{connect: connect, channel: sqlstore.DefaultTablePrefix + "notices", rings: make(map[*listening]bool)}
	if opts != nil {
		l.logger = opts.Logger
		if opts.Channel != "" {
			l.channel = opts.Channel
		}
	}
	switch {
	case connect == nil:
		return nil, fmt.Errorf("pgnotify: %w: give it a function that connects", ErrOptions)
	case len(l.channel) > 63 || strings.ContainsRune(l.channel, 0):
		return nil, fmt.Errorf("pgnotify: %w: channel %.80q; use what sqlstore.Store.NoticeChannel returns", ErrOptions, l.channel)
	}
	return l, nil
}

// String returns the channel's name.
func (l *Listener) String() string { return "pgnotify.Listener(" + l.channel + ")" }

// GoString is String.
func (l *Listener) GoString() string { return l.String() }

// Listen implements [keyring.Notifier].
//
// Errors: ctx's own.
func (l *Listener) Listen(ctx context.Context, name string, notice func(keyring.Notice)) error {
	me := &listening{name, notice}
	l.mu.Lock()
	l.rings[me] = true
	if l.run == nil {
		// Not ctx: the connection is for the rings that come later, too.
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		l.run = &run{stop: stop, done: make(chan struct{})}
		go l.work(own, l.run)
	}
	there := l.run.listening
	l.mu.Unlock()
	if there {
		notice(keyring.Notice{Missed: true})
	}
	<-ctx.Done()

	l.mu.Lock()
	delete(l.rings, me)
	var last *run
	if len(l.rings) == 0 {
		last, l.run = l.run, nil
	}
	l.mu.Unlock()
	if last != nil {
		last.stop()
		<-last.done
	}
	return ctx.Err()
}

// work listens until ctx ends.
func (l *Listener) work(ctx context.Context, r *run) {
	defer close(r.done)
	lost := false
	for n := 0; ; n++ {
		began := time.Now()
		listened, err := l.session(ctx, r)
		l.mu.Lock()
		r.listening = false
		l.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if listened && time.Since(began) > time.Minute {
			n = 0
		}
		if listened || !lost {
			l.log(slog.LevelWarn, "pgnotify.lost", slog.String("error", err.Error()))
			lost = true
		}
		timer := time.NewTimer(rand.N(min(backoffCap, backoffBase<<min(n, 10))) + time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// session is the life of one connection. It reports whether that has listened.
func (l *Listener) session(ctx context.Context, r *run) (listened bool, err error) {
	start, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := l.connect(start)
	if err != nil {
		return false, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(end)
	}()
	// The simple protocol: LISTEN needs no statement prepared.
	if _, err := conn.Exec(start, "LISTEN "+pgx.Identifier{l.channel}.Sanitize(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	l.log(slog.LevelInfo, "pgnotify.listening")
	l.mu.Lock()
	r.listening = true
	l.mu.Unlock()
	// Whoever comes from now on has the connection; the others are told here.
	l.tell("", keyring.Notice{Missed: true})
	for {
		wait, cancel := context.WithTimeout(ctx, silence)
		got, err := conn.WaitForNotification(wait)
		quiet := wait.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case err == nil:
			if ring, n, ok := parse(got.Payload); ok {
				l.tell(ring, n)
			}
		case quiet && !conn.IsClosed():
			// A peer that vanished without a word would be waited for for ever.
			ping, cancel := context.WithTimeout(ctx, callTimeout)
			err := conn.Ping(ping)
			cancel()
			if err != nil {
				return true, err
			}
		default:
			return true, err
		}
	}
}

// tell tells the calls of Listen for a ring; for all rings if that is empty.
func (l *Listener) tell(ring string, n keyring.Notice) {
	var all []*listening
	l.mu.Lock()
	for r := range l.rings {
		if ring == "" || r.ring == ring {
			all = append(all, r)
		}
	}
	l.mu.Unlock()
	for _, r := range all {
		r.notice(n)
	}
}

// parse reads a payload, which anybody may have sent.
func parse(payload string) (ring string, n keyring.Notice, ok bool) {
	ring, subject, is := strings.Cut(payload, "/")
	if is {
		h, err := hex.DecodeString(subject)
		if err != nil || len(h) != len(n.Subject) {
			return "", n, false
		}
		n.Subject = keyring.SubjectHash(h)
	}
	return ring, n, ring != ""
}

func (l *Listener) log(level slog.Level, what string, attrs ...slog.Attr) {
	if l.logger != nil {
		l.logger.LogAttrs(context.Background(), level, what, append([]slog.Attr{slog.String("channel", l.channel)}, attrs...)...)
	}
}
