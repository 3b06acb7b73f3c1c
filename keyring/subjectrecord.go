package keyring

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/aad"
)

// The record of a subject is binary, unlike a ring's: there may be millions.
// docs/format.md has its layout. The header of an open one is the associated
// data of the sealed keys, so that one unwrap authenticates all of it; a
// tombstone has no keys, and a tag under the permanent subject-hash key.
const (
	subjectMagic     = "ssj\x01"
	subjectKeyMagic  = "structseal/subject/v1"
	subjectHashMagic = "structseal/subject-hash/v1"
	tombstoneMagic   = "structseal/tombstone/v1"

	maxSubjectKeys    = 64   // live
	maxSubjectRetired = 4096 // destroyed; of more, over many lives, the last ones
	subjectSecret     = 32
	subjectKeyHead    = 4 + 1 + 8
)

type subjectState uint8

const (
	subjectOpen      subjectState = iota + 1
	subjectForgotten              // in the store, and outside
	subjectRevived                // outside only: keys of earlier lives must not come back
)

// subjectRecord is what is stored for a subject.
type subjectRecord struct {
	revision uint64
	state    subjectState
	// life is how often the subject was revived. Keys of an earlier life than that
	// of the outside tombstone must not come back.
	life    uint32
	keys    []subjectKeyRecord // open only
	retired []uint32           // ids of destroyed keys; never used again
	at      int64              // Unix time of the tombstone; people read it
	actor   string             // of the tombstone
}

type subjectKeyRecord struct {
	id      uint32
	state   State // Primary or Enabled
	created int64 // Unix time; people read it
}

// appendHeader appends everything but the sealed keys or the tag.
func (s *subjectRecord) appendHeader(dst []byte) []byte {
	dst = append(dst, subjectMagic...)
	dst = append(dst, byte(s.state))
	dst = binary.BigEndian.AppendUint64(dst, s.revision)
	dst = binary.BigEndian.AppendUint32(dst, s.life)
	dst = append(dst, byte(len(s.keys)))
	for _, k := range s.keys {
		dst = binary.BigEndian.AppendUint32(dst, k.id)
		dst = append(dst, byte(k.state))
		dst = binary.BigEndian.AppendUint64(dst, uint64(k.created))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.retired)))
	for _, id := range s.retired {
		dst = binary.BigEndian.AppendUint32(dst, id)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.at))
	dst = append(dst, byte(len(s.actor)))
	return append(dst, s.actor...)
}

// parseSubject reads a stored record. Nothing is authentic yet.
func parseSubject(r Record) (*stored, error) {
	corrupt := func(what string) (*stored, error) {
		return nil, fmt.Errorf("%w: subject: %s", ErrCorrupt, what)
	}
	d := r.Data
	short := false
	take := func(n int) []byte {
		if len(d) < n {
			short = true
			return make([]byte, n)
		}
		out := d[:n]
		d = d[n:]
		return out
	}
	if len(d) > MaxSubjectSize {
		return nil, fmt.Errorf("%w: subject: %d bytes", ErrTooLarge, len(d))
	}
	switch magic := take(len(subjectMagic)); {
	case short || string(magic[:3]) != subjectMagic[:3]:
		return nil, fmt.Errorf("%w: it is no record of a subject", ErrFormat)
	case string(magic) != subjectMagic:
		return nil, fmt.Errorf("%w: a subject's record of version %d; use the program's version that wrote it or a newer one", ErrFormat, magic[3])
	}
	s := new(stored)
	s.state, s.revision, s.keys = subjectState(take(1)[0]), binary.BigEndian.Uint64(take(8)), s.one[:0]
	s.life = binary.BigEndian.Uint32(take(4))
	n := int(take(1)[0])
	if n > maxSubjectKeys {
		return corrupt("too many keys")
	}
	for range n {
		k := subjectKeyRecord{id: binary.BigEndian.Uint32(take(4)), state: State(take(1)[0]), created: int64(binary.BigEndian.Uint64(take(8)))}
		s.keys = append(s.keys, k)
	}
	n = int(binary.BigEndian.Uint16(take(2)))
	if n > maxSubjectRetired {
		return corrupt("too many destroyed keys")
	}
	for range n {
		s.retired = append(s.retired, binary.BigEndian.Uint32(take(4)))
	}
	s.at = int64(binary.BigEndian.Uint64(take(8)))
	s.actor = string(take(int(take(1)[0])))
	if short {
		return corrupt("truncated")
	}
	if s.revision != r.Revision {
		return corrupt(fmt.Sprintf("its record says revision %d, the store says %d", s.revision, r.Revision))
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	s.data, s.header, s.rest = r.Data, r.Data[:len(r.Data)-len(d)], d
	return s, nil
}

func (s *subjectRecord) validate() error {
	primaries := 0
	for i, k := range s.keys {
		if k.id == 0 || k.state != Primary && k.state != Enabled {
			return fmt.Errorf("%w: subject: a key without id or state", ErrCorrupt)
		}
		if k.state == Primary {
			primaries++
		}
		for _, other := range s.keys[:i] {
			if other.id == k.id {
				return fmt.Errorf("%w: subject: key %08x twice", ErrCorrupt, k.id)
			}
		}
		if s.isRetired(k.id) {
			return fmt.Errorf("%w: subject: key %08x is destroyed", ErrCorrupt, k.id)
		}
	}
	switch {
	case s.revision == 0 || s.revision > math.MaxInt64:
		return fmt.Errorf("%w: subject: revision out of range", ErrCorrupt)
	case s.state < subjectOpen || s.state > subjectRevived:
		return fmt.Errorf("%w: subject: no state", ErrCorrupt)
	case s.state != subjectOpen && len(s.keys) > 0:
		return fmt.Errorf("%w: subject: a tombstone with keys", ErrCorrupt)
	case len(s.keys) > 0 && primaries != 1:
		return fmt.Errorf("%w: subject: %d primaries", ErrCorrupt, primaries)
	case len(s.retired) > maxSubjectRetired || len(s.keys) > maxSubjectKeys || !validText(s.actor, maxActorLen):
		return fmt.Errorf("%w: subject: out of bounds", ErrCorrupt)
	}
	return nil
}

func (s *subjectRecord) isRetired(id uint32) bool {
	for _, r := range s.retired {
		if r == id {
			return true
		}
	}
	return false
}

// next returns the record of the following revision, to be edited.
func (s *subjectRecord) next() *subjectRecord {
	if s == nil {
		return &subjectRecord{revision: 1, state: subjectOpen}
	}
	n := *s
	n.revision++
	n.keys = append([]subjectKeyRecord(nil), s.keys...)
	n.retired = append([]uint32(nil), s.retired...)
	return &n
}

// retire adds ids to those of the destroyed keys.
func (s *subjectRecord) retire(ids []uint32) {
	for _, id := range ids {
		if !s.isRetired(id) {
			s.retired = append(s.retired, id)
		}
	}
	// Forgetting never fails for this; what lives on keeps earlier keys away.
	s.retired = s.retired[max(0, len(s.retired)-maxSubjectRetired):]
}

func unixNow() int64 { return wallClock().Unix() }

func unixTime(t int64) time.Time { return time.Unix(t, 0).UTC() }

// subjectContext is what the sealed keys of a subject are bound to.
func subjectContext(ring string, h SubjectHash, header []byte) []byte {
	dst := make([]byte, 0, len(subjectKeyMagic)+2+len(ring)+len(h)+len(header))
	dst = append(dst, subjectKeyMagic...)
	dst = aad.AppendString(dst, ring)
	dst = append(dst, h[:]...)
	return append(dst, header...)
}

// sealSubject returns the stored form of an open record, and opens it again and
// compares: no key is stored that can't be read back.
func sealSubject(ring string, h SubjectHash, s *subjectRecord, wrap *crypto.Key, secrets []byte) (Record, error) {
	if err := s.validate(); err != nil {
		return Record{}, err
	}
	header := s.appendHeader(nil)
	context := subjectContext(ring, h, header)
	sealed, err := wrap.Seal(nil, secrets, context)
	if err != nil {
		return Record{}, err
	}
	back, err := wrap.Open(nil, sealed, context)
	defer clear(back)
	if errors.Is(err, crypto.ErrWiped) {
		return Record{}, err // meanwhile
	}
	if err != nil || string(back) != string(secrets) {
		return Record{}, ErrRewrap
	}
	return Record{Revision: s.revision, Data: append(header, sealed...)}, nil
}

// openSubject returns the secrets of an open record, which the caller wipes.
func openSubject(ring string, h SubjectHash, s *subjectRecord, header, sealed []byte, wrap *crypto.Key) ([]byte, error) {
	secrets, err := wrap.Open(nil, sealed, subjectContext(ring, h, header))
	if err != nil {
		return nil, fmt.Errorf("%w: subject: %w", ErrTampered, err)
	}
	if len(secrets) != subjectSecret*len(s.keys) {
		clear(secrets)
		return nil, fmt.Errorf("%w: subject: %d bytes of keys", ErrCorrupt, len(secrets))
	}
	return secrets, nil
}

// A subjectHasher computes HMAC-SHA-256(root, magic || ring || kind || id), each
// with its length, for many subjects.
type subjectHasher struct {
	mac    hash.Hash
	buf    []byte
	prefix int // of buf
}

func newSubjectHasher(root []byte, ring string) *subjectHasher {
	buf := append(make([]byte, 0, 128), subjectHashMagic...)
	buf = aad.AppendString(buf, ring)
	return &subjectHasher{hmac.New(sha256.New, root), buf, len(buf)}
}

func (s *subjectHasher) sum(subj Subject) (h SubjectHash) {
	s.buf = aad.AppendString(s.buf[:s.prefix], subj.Kind)
	s.buf = aad.AppendString(s.buf, subj.ID)
	s.mac.Reset()
	s.mac.Write(s.buf)
	// By way of buf: h would have to be in memory of its own.
	s.buf = s.mac.Sum(s.buf[:s.prefix])
	return SubjectHash(s.buf[s.prefix:])
}

// tombstone returns the stored form of a record without keys.
func tombstone(root []byte, ring string, h SubjectHash, s *subjectRecord) (Record, error) {
	if err := s.validate(); err != nil {
		return Record{}, err
	}
	header := s.appendHeader(nil)
	return Record{Revision: s.revision, Data: append(header, tombstoneTag(root, ring, h, header)...)}, nil
}

func tombstoneTag(root []byte, ring string, h SubjectHash, header []byte) []byte {
	mac := hmac.New(sha256.New, root)
	buf := append([]byte(nil), tombstoneMagic...)
	buf = aad.AppendString(buf, ring)
	buf = append(buf, h[:]...)
	mac.Write(append(buf, header...))
	return mac.Sum(nil)
}

// verifyTombstone checks the tag.
func verifyTombstone(root []byte, ring string, h SubjectHash, header, tag []byte) error {
	if !hmac.Equal(tag, tombstoneTag(root, ring, h, header)) {
		return fmt.Errorf("%w: a subject's tombstone", ErrTampered)
	}
	return nil
}
