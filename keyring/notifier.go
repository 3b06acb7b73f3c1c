package keyring

import "context"

// A Notice says that something in a store may have changed. It is a hint: a ring
// that gets one looks into its store, by the same rules as ever, and believes
// nothing that the notice says. Lost, repeated, late, reordered and forged notices
// do no harm. The zero Notice is about the ring's record.
type Notice struct {
	// Subject is whose record may have changed; zero: the ring's own.
	Subject SubjectHash
	// Missed says that notices may have been lost, so that anything may have
	// changed.
	Missed bool
}

// A Notifier tells rings of changes in their store, so that they needn't wait for
// OpenOptions.TTL; see OpenOptions.Notifier. A [MemoryStore] is one. For
// PostgreSQL, sqlstore sends the notices and module keyring/pgnotify receives them.
// Implementations are safe for concurrent use: several rings may share one.
type Notifier interface {
	// Listen calls notice for the changes of a ring, until ctx ends. It begins
	// with a Notice that has Missed set, as soon as no further change can escape
	// it, and gives another one whenever it had to begin anew: it reconnects by
	// itself.
	//
	// What is told: each compare-and-swap of the ring's record, and of a
	// subject's, that replaced another one, by whatever process, when it can be
	// read and not before. Creations needn't be: nobody can know what wasn't
	// there. Notices of changes that never happened are allowed.
	//
	// notice returns at once, may be called by several goroutines, and does
	// nothing when the ring is closed.
	//
	// Errors: ctx's own, or why nothing can be heard any more. Then it is called
	// again later.
	Listen(ctx context.Context, name string, notice func(Notice)) error
}
