package bench

// Bytes seals and opens bytes. Both append to dst where the peer's API can, else the
// result is in memory of its own. place is what the ciphertext is bound to, where the
// peer takes such a thing. It is for one goroutine.
type Bytes interface {
	Seal(dst, plaintext, place []byte) ([]byte, error)
	Open(dst, ciphertext, place []byte) ([]byte, error)
}

// Rows seals and opens the fields of a record. Its results live until the next call. It
// is for one goroutine.
type Rows[T Value] interface {
	Seal(Row[T]) (Row[T], error)
	Open(Row[T]) (Row[T], error)
}

// A Peer is one way to encrypt the fields of a record.
type Peer struct {
	Name   string // in the names of benchmarks: impl=Name
	Title  string // in tables
	Module string // that is measured; empty for the standard library and structseal
	Setup  string // how it is used

	// Absent says why the peer isn't here. Then nothing below is set.
	Absent string

	Claims Claims

	// A peer that only some of these make sense for leaves the others nil.
	Text   func() (Rows[string], error)
	Binary func() (Rows[[]byte], error)
	Bytes  func() (Bytes, error)
}

// Claims is what the tables say of a peer. The tests prove the first four.
type Claims struct {
	Row    bool // a value of one row doesn't open in another
	Field  bool // a value of one field doesn't open in another of the same row
	Binary int  // by how many bytes a value of 11 bytes grows in a binary column
	Text   int  // and in a text column

	Bound    string // what is authenticated, and who says it
	Commits  string // whether a ciphertext commits to its key: yes or no, and why
	Messages string // how many messages one key may seal, and who counts
}

// Peers returns all peers in the order of the tables. floor and structseal are the first.
func Peers() []Peer {
	return []Peer{
		floor,
		structsealDefault, structsealCompact, structsealSealer,
		tinkAES256GCM, tinkXAES256GCM, tinkEnvelope,
		goKMSWrapping, goKMSStructWrapping,
		goCloudSecrets,
		confluent,
		mongocryptPeer,
		asherah,
		awsEncryptionSDK,
	}
}

// made returns the functions of a peer whose bytes are all there is to it.
func made(p Peer, bytes func() (Bytes, error)) Peer {
	p.Bytes = bytes
	p.Binary = func() (Rows[[]byte], error) {
		b, err := bytes()
		return binaryRows(b), err
	}
	p.Text = func() (Rows[string], error) {
		b, err := bytes()
		return textRows(b), err
	}
	return p
}

const (
	mongocryptTitle = "MongoDB libmongocrypt"

	byHand    = "64 bytes that the caller makes"
	uncounted = "2^32, not counted"
	noCommit  = "no"
)
