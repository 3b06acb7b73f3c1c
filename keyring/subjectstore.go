package keyring

import "context"

// MaxSubjectSize bounds the record of a subject in bytes.
const MaxSubjectSize = 64 << 10

// MaxSubjectBatch is how many subjects a SubjectStore is asked for at once.
const MaxSubjectBatch = 1000

// A SubjectHash stands for a subject in a store: HMAC-SHA-256 of its kind and id
// under the ring's permanent subject-hash key. A store holds no personal ids.
type SubjectHash [32]byte

// A SubjectStore is a [Store] that keeps the keys of subjects, too; the keyring
// finds it by type assertion. A record of a subject is opaque to the store, as a
// ring's is: at most MaxSubjectSize bytes, with a revision of its own. The names
// of rings are those of Store. What holds of Load and CompareAndSwap (fresh reads,
// all or nothing, durable, safe for concurrent use, arguments neither changed nor
// kept) holds here.
type SubjectStore interface {
	Store

	// LoadSubjects returns the records of those subjects that have one: at most
	// MaxSubjectBatch of them at once, in as few calls to the backend as it takes. The same
	// hash may be given twice.
	//
	// Errors: ErrUnavailable or any other when the store can't answer; ctx's own.
	// There is no ErrNotFound.
	LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error)

	// CompareAndSwapSubject is CompareAndSwap for the record of one subject; old 0
	// means that there must be none.
	//
	// Errors: those of CompareAndSwap.
	CompareAndSwapSubject(ctx context.Context, name string, subject SubjectHash, old uint64, next Record) error

	// ListSubjects returns the hashes of subjects that have a record, in an order of
	// the store's own that stays the same, behind after (from the first one for the
	// zero hash), at most limit (1 to MaxSubjectBatch) of them. Every hash has its
	// place in that order, also one without a record. Fewer than limit means that
	// there are no more.
	//
	// Errors: those of LoadSubjects.
	ListSubjects(ctx context.Context, name string, after SubjectHash, limit int) ([]SubjectHash, error)
}
