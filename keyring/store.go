package keyring

import "context"

// A Record is a ring as a Store keeps it.
type Record struct {
	// Revision is what CompareAndSwap compares: 1 to 2^63-1, one more with
	// every change.
	Revision uint64
	// Data is opaque to the store: at most MaxRecordSize bytes of text.
	Data []byte
}

// A Store keeps the records of rings. Implementations are safe for concurrent
// use, also by several processes. A record holds no secret in the clear, and a
// store need not be trusted with its integrity: the ring authenticates it.
//
// In SQL, CompareAndSwap is one statement that must touch one row:
//
//	INSERT INTO rings (name, revision, data) VALUES ($1, $2, $3)             -- old is 0
//	UPDATE rings SET revision = $2, data = $3 WHERE name = $1 AND revision = $4
//
// and in DynamoDB one conditional PutItem (attribute_not_exists(name), or
// revision = :old).
//
// The interface stays this small. A store that can do more implements further
// interfaces, which the keyring finds by type assertion, as package io finds a
// WriterTo; a store without them keeps working: see [SubjectStore]. What tells of
// changes may be an object of its own, so that one is an option: see [Notifier].
type Store interface {
	// Load returns the record of a ring. It must see every CompareAndSwap that
	// has returned (no replica that lags, no eventually consistent read): a
	// record that goes back in time is refused with ErrRollback.
	//
	// Errors: ErrNotFound; ErrUnavailable or any other error when the store
	// can't answer; ctx's own.
	Load(ctx context.Context, name string) (Record, error)

	// CompareAndSwap stores next if the ring's revision is old; old 0 means
	// that there must be no such ring. All or nothing: whatever happens
	// meanwhile, Load returns the old record or the new one, and when
	// CompareAndSwap returns nil the new one is durable.
	//
	// Errors: ErrConflict when the revision is another one (also when old isn't
	// 0 and there is no such ring); any other error when the store can't tell
	// whether next was stored.
	CompareAndSwap(ctx context.Context, name string, old uint64, next Record) error
}
