// Package beamseal encrypts, decrypts and re-encrypts collections of Apache Beam whose
// elements are structs with seal tags: warehouse exports and files, which no database
// client reaches.
//
//	func init() { // here and on each worker
//		beamseal.RegisterRing("customers", openRing) // func(context.Context) (*keyring.Keyring, error)
//		beamseal.Register[Customer]()
//	}
//
//	rows, bad, err := beamseal.Encrypt[Customer](s, "customers", customers, nil)
//	rows, bad, err = beamseal.Reencrypt[Customer](s, "customers", rows, nil)
//	customers, bad, err = beamseal.Decrypt[Customer](s, "customers", rows, nil)
//
// # Keys
//
// A pipeline carries the name of a ring and no key. Each worker process opens the ring
// once, with the function that its own program registered under that name, so it needs
// the rights for that: to read the ring's store, and to call the KMS. Encrypting records
// of new subjects, it writes the store.
//
// # Plaintext
//
// A collection may be written to disk and sent to other machines wherever the runner
// wants to. Of [Reencrypt] that is ciphertext alone: plaintext stays in the step. What
// [Decrypt] emits and [Encrypt] is given is plaintext, as it is for any other step. With
// [DecryptTo] a function takes of a decrypted record what the next steps need; with
// [EncryptFrom] one makes the record of what the step before has.
//
// A structseal.Sealed goes from step to step as ciphertext, anywhere in an element that
// has Beam's coder for structs; this package teaches it to Beam. One that isn't sealed
// can't: the job fails, with structseal.ErrNotEncrypted in its error, also where steps
// are fused, because Beam encodes the first elements of each collection to learn their
// size. So records that have one take DecryptTo and EncryptFrom.
//
// Beam's coder for structs loses some things without an error: unexported fields, a nil
// slice inside a slice. A record type that has any is [ErrCoder] before anything runs;
// the plain types of DecryptTo and EncryptFrom are only looked at for what can't be
// encoded at all. beam.RegisterCoder gives a type a coder of its own.
//
// # Errors
//
// An element that can't be done (changed, under an unknown key, never encrypted, or
// without a value to bind to) goes to the collection bad with the reason, and the job
// goes on. When the key store or the KMS can't be reached, or refuses, that is no
// element's fault: the step returns the error and the bundle fails. Runners for clusters
// try a bundle again, some times or for ever; Prism doesn't, it ends the job.
//
// Counters "encrypted", "decrypted", "reencrypted", "current" (by Reencrypt, under the
// right key already), "forgotten" and "bad", in the namespace "structseal", count each
// element of a verb once. Look at them, and at bad, before you delete what went in.
//
// # Security considerations
//
// Counters and errors hold no values. Beam itself puts an element into its error when
// another coder than those here can't encode it, and sends elements to the runner's
// user interface when data sampling is switched on: leave it off where plaintext is.
// Elements of bad are as they came: those of Encrypt are plaintext.
//
// Elements are done one by one, in the window and with the timestamp that they have. The
// keys of a subject are read from the store once for each worker that meets it, as long
// as its cache has room (keyring.OpenOptions.SubjectCache).
package beamseal
