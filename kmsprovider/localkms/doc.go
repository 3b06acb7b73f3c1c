// Package localkms is the embedded key management: a key-encryption key in a
// file, open or under a passphrase. It is the default for development, tests and
// programs on one machine.
//
//	kms, err := localkms.CreateKeyFile("app.kek")   // once; never overwrites
//	kms, err := localkms.OpenKeyFile("app.kek")     // ever after
//
// Files are small JSON documents of format "structseal-localkms/1", readable by
// their owner alone. The KEK's ID is stored in the file, so a file that is moved
// or renamed stays the same KEK. Back the file up: without it, nothing that it
// wraps can be opened again.
//
// # Security considerations
//
// Whoever reads a key file can unwrap everything. Keep it out of the backups
// that hold the data, and out of the directory of the ring store. A passphrase
// file is as strong as its passphrase: Argon2id (RFC 9106) makes a guess cost 64
// MiB and three passes by default, no more.
//
// Permissions are checked on the opened file and not on its path, so there is no
// race between check and use. Symbolic links are followed (that is how secrets
// are mounted into containers); what they lead to must be a regular file without
// any permission for group and others. Windows has no such bits: there the
// check is left to the directory's access list.
//
// Argon2id isn't approved: under GODEBUG=fips140=only passphrase files are
// refused with crypto.ErrNotApproved. Key files work.
package localkms
