// Package structseal encrypts the tagged fields of structs, with envelope keys
// that any KMS wraps.
//
//	type Customer struct {
//		_     structseal.Record            `seal:"customer"` // permanent name
//		ID    string                       `seal:"id,bind"`  // readable; authenticates the rest
//		Email string                       `seal:"email"`
//		Born  structseal.Sealed[time.Time] `seal:"born"` // any type
//	}
//
//	row, err := structseal.Encrypt(ctx, ring, customer) // a copy that holds ciphertext
//	customer, err = structseal.Decrypt(ctx, ring, row)
//
// A ciphertext opens only in the ring, record type, row and field it was made
// for. Package keyring makes and opens rings, kmsprovider/localkms is the KMS
// that needs no service.
//
// # Tags
//
// The tag is `seal:"label,option,..."`. The label is permanent: it is
// authenticated with the value, so it must not change once data exists; the Go
// name may. Labels are ASCII letters, digits, '_' and '-', begin with a letter,
// and have at most 64 bytes; names of records may also hold dots.
//
//	bind           the field stays readable and is authenticated with every sealed
//	               field of the record: an id. Strings, []byte, [N]byte, integers
//	               and encoding.TextMarshalers; never empty
//	subject=KIND   a bind field that names a person, of a kind if there is one
//	               (`subject` alone): the record is sealed under keys of his own
//	det=DOMAIN     equal values have equal ciphertexts all over the domain, for
//	               joins and unique columns. Not bound to the row
//	column=NAME    column of a sealed or bind field, for the tools; "-" for none
//	category=NAME  what the value is, for lists: contact, health. Names are those
//	               of records
//
// and on the marker, a blank (or embedded) field of type [Record]:
//
//	unbound        the record has no bind field: its values can be moved between
//	               rows
//	require=LABEL  the option [Bind] must be given for this label
//	table=NAME     table of the record, for the tools; "-" for none
//	category=NAME  what its fields are, unless they say otherwise
//
// Column, table and category change nothing about the ciphertexts. [Describe] and
// `structseal inventory` tell them; docs/inventory.md says what holds without them.
//
// Sealed as they are: strings, []byte, named types of both, pointers to them,
// slices, arrays and maps of them (map keys stay readable), sql.NullString and
// sql.Null of them. Every other type goes into a [Sealed]. Structs with sealed fields nest, by value,
// pointer, slice, array or map, recursively: one with a marker is a record of its
// own, bound to its own bind fields only (has-many slices don't bind to query
// order); one without belongs to its parent's path and needs a label; an embedded
// one without a tag is folded into its parent. Interfaces aren't looked into.
//
// A tag that is misspelt, unknown, duplicated or on a field that can't be sealed
// is a [*TagError] before any data moves.
//
// # Text form
//
// String fields hold "s1." and unpadded base64url, []byte fields the bytes
// themselves: see docs/format.md. A value grows by 77 bytes under the default
// suite and 33 under the compact one, and text by a third on top. Ciphertexts that
// were written together start alike: they share the key's id and, for a second at
// most, the salt. What follows is different for every value, equal ones too.
//
// # Security considerations
//
// What is promised, against whom, and what is not (a compromised application
// process, replay of an old value into its own cell, deletion) is written down in
// docs/threat-model.md.
//
// The verbs work on copies: the value that you go on using keeps its plaintext,
// and on any error nothing has changed. Strings in Go can't be wiped; plaintext
// stays in memory until the garbage collector has its way.
package structseal
