package keyring

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

const (
	// MaxHistory is how many changes a ring's record holds in full.
	MaxHistory = 256
	// maxHistorySize bounds them in bytes, so that 256 keys and their history
	// fit into MaxRecordSize.
	maxHistorySize = 40_000

	maxActorLen = 100
	maxNoteLen  = 100
)

// What a Change says was done. Ops are text, because later versions have more of
// them.
const (
	OpCreate    = "create"      // the key came with the ring
	OpRotate    = "rotate"      // published as pending
	OpRotateNow = "rotate-now"  // published as primary at once
	OpPromote   = "promote"     // pending -> primary
	OpForced    = "-forced"     // ends an op whose wait or proof was skipped
	OpDemote    = "demote"      // another key became primary
	OpEnable    = "enable"      // disabled or destroying -> enabled
	OpDisable   = "disable"     //
	OpDestroy   = "destroy"     // -> destroying
	OpErase     = "erase"       // destroying -> destroyed
	OpWrap      = "wrap"        // wrapped by a further key-encryption key
	OpUnwrap    = "remove-wrap" // no longer wrapped by one
)

// A Change is one entry of a ring's history.
type Change struct {
	Revision uint64    // of the record that made it
	At       time.Time // wall clock of the acting process; UTC, whole seconds
	Actor    string    // as given in the options; may be empty
	Op       string    // see OpCreate and its like
	Key      uint32    // Tink key id
	From, To State     // zero: the key was not there before; the same: not changed
	Note     string    // the key-encryption key of OpWrap and OpUnwrap
}

// History is what happened to the keys of a ring, oldest first. The ring's MAC
// covers it.
type History struct {
	Changes []Change
	// Dropped is how many older changes are no longer held, and Hash a running
	// SHA-256 over them: Hash = SHA-256(previous Hash || text of the change in
	// the record), 32 zero bytes at first. Whoever kept copies can prove them.
	Dropped uint64
	Hash    [32]byte
}

// History returns the changes of the ring that this process knows; see
// [Keyring.Refresh]. Times are those of the acting machines' wall clocks and
// decide nothing. Steps of a message count and of the ring's clock are no
// changes. A closed ring has none.
func (r *Keyring) History() History {
	s := r.live.Load()
	if s == nil {
		return History{}
	}
	h := History{Dropped: s.record.History.Dropped, Hash: s.record.History.Hash}
	for _, e := range s.record.History.Entries {
		h.Changes = append(h.Changes, Change{
			Revision: e.Revision, At: e.At.Time, Actor: e.Actor, Op: e.Op, Key: uint32(e.Key), From: e.From, To: e.To, Note: e.Note,
		})
	}
	return h
}

// history is the record's form of a History.
type history struct {
	Dropped uint64         `json:"dropped"`
	Hash    checkValue     `json:"hash"`
	Entries []historyEntry `json:"entries"`
}

type historyEntry struct {
	Revision uint64 `json:"revision"`
	At       stamp  `json:"at"`
	Actor    string `json:"actor,omitempty"`
	Op       string `json:"op"`
	Key      keyID  `json:"key"`
	From     State  `json:"from,omitempty"`
	To       State  `json:"to"`
	Note     string `json:"note,omitempty"`
}

// add appends an entry. It must not be called on entries that a snapshot shares;
// see body.clone.
func (h *history) add(e historyEntry) { h.Entries = append(h.Entries, e) }

// trim drops the oldest entries above the bounds.
func (h *history) trim() error {
	sizes := 0
	var texts [][]byte
	for _, e := range h.Entries {
		text, err := encode(e)
		if err != nil {
			return err
		}
		texts = append(texts, text)
		sizes += len(text) + 1
	}
	n := 0
	for len(texts)-n > MaxHistory || sizes > maxHistorySize {
		sum := sha256.New()
		sum.Write(h.Hash[:])
		sum.Write(texts[n])
		sum.Sum(h.Hash[:0])
		sizes -= len(texts[n]) + 1
		n++
	}
	h.Dropped += uint64(n)
	h.Entries = slices.Delete(h.Entries, 0, n)
	return nil
}

// validText checks actors, ops and notes: printable ASCII, so that a history can
// be shown anywhere.
func validText(s string, most int) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return len(s) <= most
}

func checkActor(actor string) error {
	if !validText(actor, maxActorLen) {
		return fmt.Errorf("%w: an actor is at most %d printable ASCII characters without \" \\ < > &", ErrActor, maxActorLen)
	}
	return nil
}

// noteOf shortens a key-encryption key's id for the history.
func noteOf(kek string) string {
	out := []byte(kek[:min(len(kek), maxNoteLen)])
	for i, c := range out {
		if c == '<' || c == '>' || c == '&' {
			out[i] = '?'
		}
	}
	return string(out)
}
