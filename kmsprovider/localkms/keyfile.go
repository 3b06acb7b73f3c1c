package localkms

import "fmt"

type keyFile struct {
	header
	ID  string `json:"id"`
	Key string `json:"key"`
}

// CreateKeyFile makes a random KEK, writes it to a new file with mode 0600, and
// returns it when the file is durable. It never overwrites: a path that exists
// is an error that wraps fs.ErrExist.
func CreateKeyFile(path string) (*Provider, error) {
	secret := newSecret()
	defer clear(secret)
	p, err := New(secret)
	if err != nil {
		return nil, err
	}
	doc := keyFile{header{format, kindKey}, p.id, encoding.EncodeToString(secret)}
	if err := create(path, doc); err != nil {
		return nil, err
	}
	return p, nil
}

// OpenKeyFile reads a KEK that [CreateKeyFile] wrote.
//
// Errors: fs.ErrNotExist; ErrPermissions for a file that its group or others may
// use, or that isn't regular; ErrFormat for anything but a whole, unchanged file
// of this version.
func OpenKeyFile(path string) (*Provider, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	doc, err := parse[keyFile](path, kindKey, data)
	if err != nil {
		return nil, err
	}
	secret, err := encoding.DecodeString(doc.Key)
	defer clear(secret)
	// The comparison refuses what a lax decoder lets pass.
	if err != nil || len(secret) != keySize || encoding.EncodeToString(secret) != doc.Key {
		return nil, fmt.Errorf("localkms: %s: %w: its key is not %d bytes", path, ErrFormat, keySize)
	}
	p, err := New(secret)
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w: its key is no key", path, ErrFormat)
	}
	if p.id != doc.ID {
		return nil, fmt.Errorf("localkms: %s: %w: key and id don't belong together; restore it from a backup", path, ErrFormat)
	}
	return p, nil
}
