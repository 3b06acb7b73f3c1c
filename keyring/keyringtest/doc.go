// Package keyringtest tests implementations of [keyring.Store].
//
//	func TestStore(t *testing.T) {
//		db := openDatabase(t)
//		keyringtest.Run(t, func(t *testing.T) keyring.Store { return mystore.New(db) })
//	}
//
// [Run] has a subtest for every promise of the interface, named after it. Where a
// promise stands on another one that the store breaks already, its subtest is
// skipped and says so, so that what fails is what must be mended.
//
// A store that implements further interfaces of package keyring is asked for
// their promises too, found by type assertion as the keyring finds them: those of
// [keyring.SubjectStore] begin with "Subject" and are skipped for others; that of
// [keyring.Notifier] is "Notices". Where the notifier is an object of its own, test a
// struct that embeds both.
package keyringtest
