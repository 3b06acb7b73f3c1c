package keyring

import (
	"context"
	"log/slog"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// What OpenOptions default to.
const (
	DefaultCallTimeout        = 10 * time.Second
	DefaultTTL                = 5 * time.Minute
	DefaultMaxStale           = time.Hour
	DefaultLongestTransaction = time.Hour
	DefaultDestroyWait        = 7 * 24 * time.Hour
	DefaultMessages           = 1 << 31
	DefaultSubjectCache       = 10_000
)

// OpenOptions are optional: nil and the zero value are the defaults.
//
// TTL, MaxStale, LongestTransaction and DestroyWait are security parameters. The
// waits of Promote, Destroy and Erase follow from them: give every program that
// opens a ring the same ones, or the largest to those that change keys.
type OpenOptions struct {
	// Also are further KMSs, beside the first: each key of the ring is wrapped by
	// all of those that belong to the ring, and any of them opens it. Those that
	// Create is given belong to it; see [Keyring.AddKEK] for later ones. A lost
	// region or a deleted key-encryption key loses nothing then, and revoking
	// means revoking at all of them: a ring under a customer's own KMS has one.
	Also []kmsprovider.Provider

	// CallTimeout bounds each call to the store and to the KMS, whatever the
	// caller's context allows. Default: DefaultCallTimeout.
	CallTimeout time.Duration

	// TTL is how long a key that is in use goes on without being looked at again:
	// how fast a change of the ring, or a KMS that no longer lets this program
	// use a key, reaches it; a change of the ring sooner with a Notifier. Default:
	// DefaultTTL.
	TTL time.Duration

	// MaxStale is how long a key works at most while the store or the KMS can't
	// be asked: how long an outage may last, and for how long whoever can cut the
	// program off from both keeps a revoked key alive. At least TTL. Default:
	// DefaultMaxStale.
	MaxStale time.Duration

	// LongestTransaction is how long a database transaction, or whatever else
	// makes a ciphertext and lets others see it later, may last. Default:
	// DefaultLongestTransaction.
	LongestTransaction time.Duration

	// DestroyWait is how long a key stays recoverable after Destroy. Default:
	// DefaultDestroyWait.
	DestroyWait time.Duration

	// SubjectCache is how many subjects' keys are kept unwrapped at most. Default:
	// DefaultSubjectCache.
	SubjectCache int

	// Tombstones is where Forget notes, outside of the ring's store and of its
	// backups, that a subject is forgotten: the same kind of store, on another
	// database. Without it a restored backup of the store brings a forgotten
	// subject back. Give it to every program that opens the ring; each cold
	// subject is looked up there, too, and while it is away there are none.
	Tombstones SubjectStore

	// Notifier tells of changes in the store, so that this program notices them
	// at once and not within TTL. Each notice makes the ring read its record, or
	// the records of those subjects that are at hand: at most eight times in a
	// row, and once a second after that, however many notices there are; never the
	// KMS. While nothing can be heard TTL bounds it, as without. Close ends the
	// listening. Default: none.
	Notifier Notifier

	// LegalHold is asked before a subject is forgotten. Its error vetoes.
	LegalHold func(ctx context.Context, s Subject) error

	// BackupRetention is how long backups of the ring's store are kept: what a
	// Certificate says about when the keys are gone for good. Default: unknown.
	BackupRetention time.Duration

	// Anchor remembers the ring's highest revision outside of its store, so that
	// an older record is noticed by a program that has just started, too. Default:
	// none.
	Anchor Anchor

	// Logger is told what happens to the ring; see EventKeyPromoted and the other
	// events. It is called in the background, in the order of the events; while it
	// is 1,000 behind, more are dropped. Default: none.
	Logger *slog.Logger
	events *eventQueue

	// Rotation is what Maintain goes by.
	Rotation RotatePolicy
}

// A RotatePolicy says when [Keyring.Maintain] rotates the Data keys.
type RotatePolicy struct {
	// Every is the age of a primary after which it is replaced, measured by the
	// ring's own clock. That clock stands still while no program runs Maintain.
	// Default: never.
	Every time.Duration

	// Messages is how many messages a key of the compact suite may seal before it
	// is replaced, at most 2^32; what processes have reserved counts as sealed.
	// Default: DefaultMessages.
	Messages uint64

	// Actor stands in the ring's history for what Maintain does.
	Actor string
}

// filled returns o with every default in its place.
func (o *OpenOptions) filled() OpenOptions {
	var out OpenOptions
	if o != nil {
		out = *o
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	out.events = new(eventQueue)
	set(&out.CallTimeout, DefaultCallTimeout)
	set(&out.TTL, DefaultTTL)
	set(&out.MaxStale, DefaultMaxStale)
	out.MaxStale = max(out.MaxStale, out.TTL)
	set(&out.LongestTransaction, DefaultLongestTransaction)
	set(&out.DestroyWait, DefaultDestroyWait)
	if out.SubjectCache <= 0 {
		out.SubjectCache = DefaultSubjectCache
	}
	if out.Rotation.Messages == 0 {
		out.Rotation.Messages = DefaultMessages
	}
	return out
}

// patience is how long all KMSs may take together to answer one question.
func (c *core) patience() time.Duration { return c.timeout * time.Duration(len(*c.keks.Load())) }

// seenByAll is how long after a change no process works by the record before it:
// it asked at most TTL before the change, and serves what it got for MaxStale.
func (c *core) seenByAll() time.Duration { return c.opts.MaxStale + c.opts.TTL }

// quiet is how long after its demotion a key may still appear in ciphertexts that
// were not there before.
func (c *core) quiet() time.Duration { return c.seenByAll() + c.opts.LongestTransaction }
