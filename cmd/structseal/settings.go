package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/structseal/structseal/keyring"
)

// Settings are what a verb is told of a ring and of its rows: by flags, or else by the
// environment, or else by the file that --config names. No secret is a flag.
type settings struct {
	Store      string   `json:"store"`
	KMS        []string `json:"kms"` // the first one makes new keys
	Ring       string   `json:"ring"`
	Pin        string   `json:"pin"`
	DSN        string   `json:"dsn"`
	Manifest   string   `json:"manifest"`
	Actor      string   `json:"actor"`
	Tombstones string   `json:"tombstones"`
	Anchor     string   `json:"anchor"`

	// The same as in the programs that open the ring.
	TTL                duration `json:"ttl"`
	MaxStale           duration `json:"max_stale"`
	LongestTransaction duration `json:"longest_transaction"`
	DestroyWait        duration `json:"destroy_wait"`
	CallTimeout        duration `json:"call_timeout"`
	BackupRetention    duration `json:"backup_retention"`

	// TablePrefix begins the names of the tables of a store in a database.
	TablePrefix string `json:"table_prefix"`
	// Rows says what the manifest can't know of the rows of a record, by its label.
	Rows map[string]rowSettings `json:"rows"`
}

// A setting is one that there are a flag and a variable for.
type setting struct {
	flag, variable, help string
	isURL                bool // of a store or a database: it may hold a password
	value                func(*settings) *string
}

var allSettings = []setting{
	{"store", "STRUCTSEAL_STORE", "where the ring is: file:///DIR, postgres://, mysql:// or sqlite:///FILE", true, func(s *settings) *string { return &s.Store }},
	{"ring", "STRUCTSEAL_RING", "name of the ring", false, func(s *settings) *string { return &s.Ring }},
	{"pin", "STRUCTSEAL_PIN", "pin of the ring, ssp1.…", false, func(s *settings) *string { return &s.Pin }},
	{"dsn", "STRUCTSEAL_DSN", "database with the rows: postgres://, mysql:// or sqlite:///FILE", true, func(s *settings) *string { return &s.DSN }},
	{"manifest", "STRUCTSEAL_MANIFEST", "what the rows hold: the file of structseal inventory", false, func(s *settings) *string { return &s.Manifest }},
	{"actor", "STRUCTSEAL_ACTOR", "who stands in the ring's history (default user and host)", false, func(s *settings) *string { return &s.Actor }},
	{"tombstones", "STRUCTSEAL_TOMBSTONES", "where forgotten subjects are noted, outside of the store; as --store", true, func(s *settings) *string { return &s.Tombstones }},
}

const (
	kmsVariable    = "STRUCTSEAL_KMS"
	configVariable = "STRUCTSEAL_CONFIG"
)

// A given collects what a call of the tool is given.
type given struct {
	flags  settings
	config string
}

// newGiven adds the flags of settings to a verb, and to those under it.
func newGiven(cmd *cobra.Command, flags ...string) *given {
	g := new(given)
	g.add(cmd.PersistentFlags(), flags...)
	cmd.PersistentFlags().StringArrayVar(&g.flags.KMS, "kms", nil, "URI of a key-encryption key; again for further ones")
	cmd.PersistentFlags().StringVar(&g.config, "config", "", "file with settings")
	return g
}

// add adds the flags of further settings.
func (g *given) add(set *pflag.FlagSet, flags ...string) {
	for _, o := range allSettings {
		if slices.Contains(flags, o.flag) {
			set.StringVar(o.value(&g.flags), o.flag, "", o.help)
		}
	}
}

// load puts the settings together.
func (g *given) load(set *pflag.FlagSet) (*settings, error) {
	out := new(settings)
	file := cmp.Or(g.config, os.Getenv(configVariable))
	if file != "" {
		if err := out.read(file); err != nil {
			return nil, err
		}
	}
	for _, o := range allSettings {
		value := o.value(out)
		if o.isURL {
			if err := refusePassword(*value, fmt.Sprintf("%q in %s", o.flag, file), o.variable); err != nil {
				return nil, err
			}
		}
		if text := os.Getenv(o.variable); text != "" {
			*value = text
		}
		if set != nil && set.Changed(o.flag) {
			*value = *o.value(&g.flags)
			if !o.isURL {
				continue
			}
			if err := refusePassword(*value, "--"+o.flag, o.variable); err != nil {
				return nil, err
			}
		}
	}
	if text := os.Getenv(kmsVariable); text != "" {
		out.KMS = strings.Split(text, ",")
	}
	if len(g.flags.KMS) > 0 {
		out.KMS = g.flags.KMS
	}
	if out.Actor == "" {
		out.Actor = whoAmI()
	}
	return out, nil
}

// read reads a file with settings.
func (s *settings) read(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return usageError{fmt.Errorf("settings: %w", err)}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return usageError{fmt.Errorf("%s: %w", name, err)}
	}
	if d.More() {
		return usageError{fmt.Errorf("%s: there is more behind the settings", name)}
	}
	return nil
}

// missing is the error for a setting that a verb needs and wasn't told.
func missing(flag string) error {
	variable, key := kmsVariable, flag
	for _, o := range allSettings {
		if o.flag == flag {
			variable = o.variable
		}
	}
	return usageError{fmt.Errorf("--%s is missing: give it, or set %s, or %q in the file of --config", flag, variable, key)}
}

// openOptions are those that need nothing to be opened.
func (s *settings) openOptions() keyring.OpenOptions {
	return keyring.OpenOptions{
		TTL: time.Duration(s.TTL), MaxStale: time.Duration(s.MaxStale),
		LongestTransaction: time.Duration(s.LongestTransaction), DestroyWait: time.Duration(s.DestroyWait),
		CallTimeout: time.Duration(s.CallTimeout), BackupRetention: time.Duration(s.BackupRetention),
	}
}

// A duration is written as "65m" or "168h".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v <= 0 {
		err = fmt.Errorf("duration %s isn't positive", text)
	}
	*d = duration(v)
	return err
}

// whoAmI is what a history can hold: at most 100 printable ASCII characters.
func whoAmI() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), 100)]
}
