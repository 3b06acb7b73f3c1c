// Package keyring holds the keys that structseal encrypts with: wrapped by a
// KMS, stored as one authenticated record, rotated without downtime.
//
//	kms, err := localkms.CreateKeyFile("app.kek")
//	store, err := keyring.NewFileStore("keys")
//	ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)   // once; keep the pin
//
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)     // ever after
//	key, err := ring.Primary(ctx, keyring.Data)                     // to seal
//	key, err = ring.Key(ctx, keyring.Data, id)                      // to open
//	id, err := ring.Rotate(ctx, keyring.Data, nil)                  // publish a new key
//	report, err := ring.Maintain(ctx)                               // now and then: promotes it
//
// A ring has keys of five purposes (see [Purpose]), each random and wrapped on
// its own. Every wrap is bound to the ring's name, the key's id, its purpose and
// its suite, as the KMS's encryption context.
//
// # Life of a key
//
// Rotate publishes a key; Promote makes it the primary when every process must
// have seen it; Disable and Enable; Destroy and Erase, each with a [Census] that
// found no use. Maintain does what is due. Waits are measured on monotonic clocks
// alone. History tells who did what. A ring may be wrapped by several KMSs, see
// OpenOptions.Also, AddKEK, RemoveKEK and Rewrap. docs/keys.md has it on one page.
//
// # Failure
//
// Keys in use are confirmed at the store and the KMS in the background, before
// OpenOptions.TTL is over, and go on working for OpenOptions.MaxStale when neither
// can be reached. A KMS that refuses a key, or a record that disables it, ends it
// at the next look. With OpenOptions.Notifier a change in the store is looked at when
// it happens. What can't be reached is ErrUnavailable, and the provider's own error
// underneath. An answer that is wrong (another key, zeros, an edited record, an
// older record) is never ErrUnavailable: see the errors of this package.
//
// # Security considerations
//
// A ring's record is authenticated with the ring's MAC key: whoever can write
// the store can't edit, swap, drop or reorder anything in it. He could put an
// older record back, which a running process refuses and a fresh one can't
// notice, and, if the KMS lets him wrap, a whole ring of his own, which the [Pin]
// refuses. See [Open].
//
// What a KMS unwraps is compared with a check value in the record, which the MAC
// covers: a KMS that answers with a key of its own choice is found out.
//
// Close wipes what the keyring owns. The garbage collector may have left copies
// of key bytes in memory, and the AES key schedules of the standard library
// can't be cleared from outside.
package keyring
