package printtest

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/asn1"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"expvar"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"text/template"

	"github.com/davecgh/go-spew/spew"
	"github.com/kr/pretty"
	"github.com/stretchr/testify/assert"
)

// A channel turns any value into text or bytes that may leave the process. What
// run returns and the error it returns are both hunted.
type channel struct {
	name   string
	reach  reach
	run    func(v any) (string, error)
	misses []string // names in naives that it doesn't show in spite of its reach
}

// reach is how far a channel looks into a value that has no methods.
type reach int

const (
	// nothing: it shows an address or a type.
	nothing reach = iota
	// whole: it shows strings and byte slices, and refuses structs.
	whole
	// exportedFields: it shows exported fields.
	exportedFields
	// allFields: it shows unexported fields.
	allFields
)

func channels() []channel {
	var out []channel
	add := func(name string, reach reach, run func(v any) (string, error)) {
		out = append(out, channel{name: name, reach: reach, run: run})
	}
	misses := func(names ...string) { out[len(out)-1].misses = names }
	text := func(name string, reach reach, run func(v any) string) {
		add(name, reach, func(v any) (string, error) { return run(v), nil })
	}

	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%+s", "%q", "%+q", "%#q", "%x", "%X", "% x", "% X", "%#x", "%# x", "%d", "%+d",
		"%b", "%o", "%O", "%c", "%U", "%#U", "%t", "%e", "%g", "%z", "%200v", "%-200.100s", "%.3v",
	} {
		reach := allFields
		if verb == "%.3v" {
			// Cut on purpose: what's left is too short to be caught.
			reach = nothing
		}
		text("fmt "+verb, reach, func(v any) string { return fmt.Sprintf(verb, v) })
	}
	text("fmt %p", allFields, func(v any) string { return fmt.Sprintf("%p", v) })
	misses("*struct{secret []byte}", "[]byte")
	text("fmt %T", nothing, func(v any) string { return fmt.Sprintf("%T", v) })
	text("fmt.Sprint", allFields, func(v any) string { return fmt.Sprint(v) })
	text("fmt.Sprintln", allFields, func(v any) string { return fmt.Sprintln(v) })
	text("fmt of the reflect.Value", allFields, func(v any) string {
		return fmt.Sprintf("%v %+v %#v", reflect.ValueOf(v), reflect.ValueOf(v), reflect.ValueOf(v))
	})
	text("fmt with a missing verb", allFields, func(v any) string { return fmt.Sprintf(noVerb, v) })
	text("fmt with a bad width", nothing, func(v any) string { return fmt.Sprintf(badWidth, v, "x") })

	add("error made with %v", allFields, func(v any) (string, error) { return "", fmt.Errorf("failed: %v", v) })
	add("error made with %+v, joined", allFields, func(v any) (string, error) {
		return "", errors.Join(errors.New("first"), fmt.Errorf("second: %+v", v))
	})
	add("error wrapped with %w", allFields, func(v any) (string, error) {
		err, ok := v.(error)
		if !ok {
			return fmt.Sprintf("%+v", fmt.Errorf("wrapped: %#v", v)), nil
		}
		err = fmt.Errorf("wrapped: %w", err)
		return fmt.Sprintf("%s %v %+v %#v %#v", err, err, err, err, errors.Unwrap(err)), err
	})
	text("panic, recovered and printed", allFields, func(v any) (s string) {
		defer func() { s = fmt.Sprint("recovered: ", recover()) }()
		panic(v)
	})

	text("log.Printf", allFields, func(v any) string {
		var b bytes.Buffer
		log.New(&b, "", 0).Printf("%v %+v", v, v)
		return b.String()
	})
	text("slog text", allFields, func(v any) string {
		return logged(v, func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) })
	})
	text("slog JSON", exportedFields, func(v any) string {
		return logged(v, func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) })
	})
	text("slog default, through log", allFields, func(v any) string {
		return logged(v, func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{AddSource: true, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				return slog.String(a.Key, a.Value.String())
			}})
		})
	})
	text("expvar", exportedFields, func(v any) string { return expvar.Func(func() any { return v }).String() })

	add("encoding/json", exportedFields, func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	})
	add("encoding/json, indented, not escaped", exportedFields, func(v any) (string, error) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetIndent(" ", " ")
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return b.String(), err
	})
	add("encoding/xml", exportedFields, func(v any) (string, error) {
		b, err := xml.Marshal(v)
		return string(b), err
	})
	add("encoding/gob", exportedFields, func(v any) (string, error) {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return b.String(), err
	})
	add("encoding/gob as an interface", exportedFields, func(v any) (string, error) {
		var b bytes.Buffer
		gob.Register(v)
		err := gob.NewEncoder(&b).Encode(inInterface{v})
		return b.String(), err
	})
	add("encoding/asn1", exportedFields, func(v any) (string, error) {
		b, err := asn1.Marshal(v)
		return string(b), err
	})
	add("its own marshalers", nothing, func(v any) (string, error) {
		var out []byte
		var errs []error
		if m, ok := v.(encoding.TextMarshaler); ok {
			b, err := m.MarshalText()
			out, errs = append(out, b...), append(errs, err)
		}
		if m, ok := v.(encoding.BinaryMarshaler); ok {
			b, err := m.MarshalBinary()
			out, errs = append(out, b...), append(errs, err)
		}
		if m, ok := v.(interface{ MarshalBSONValue() (byte, []byte, error) }); ok {
			_, b, err := m.MarshalBSONValue()
			out, errs = append(out, b...), append(errs, err)
		}
		return string(out), errors.Join(errs...)
	})

	for _, body := range []string{`{{.}}`, `{{print .}}`, `{{printf "%#v" .}}`, `{{. | html}}`, `{{. | js}}`, `{{. | urlquery}}`} {
		t := template.Must(template.New("").Parse(body))
		add("text/template "+body, allFields, func(v any) (string, error) {
			var b strings.Builder
			err := t.Execute(&b, v)
			return b.String(), err
		})
	}
	for body, reach := range map[string]reach{`<p title="{{.}}">{{.}}</p>`: allFields, `<script>let v = {{.}}</script>`: exportedFields, `<a href="?q={{.}}">`: allFields} {
		t := htmltemplate.Must(htmltemplate.New("").Parse(body))
		add("html/template "+body, reach, func(v any) (string, error) {
			var b strings.Builder
			err := t.Execute(&b, v)
			return b.String(), err
		})
	}

	for _, c := range []struct {
		name string
		cs   spew.ConfigState
	}{
		{"spew", spew.ConfigState{Indent: " "}},
		{"spew without methods", spew.ConfigState{Indent: " ", DisableMethods: true}},
		{"spew without pointer methods", spew.ConfigState{Indent: " ", DisablePointerMethods: true}},
		{"spew continuing after methods", spew.ConfigState{Indent: " ", ContinueOnMethod: true, SpewKeys: true}},
	} {
		text(c.name+", Sdump", allFields, func(v any) string { return c.cs.Sdump(v) })
		for _, verb := range []string{"%v", "%+v", "%#v", "%#+v"} {
			text(c.name+", "+verb, allFields, func(v any) string { return c.cs.Sprintf(verb, v) })
		}
	}

	text("kr/pretty Sprint", allFields, func(v any) string { return pretty.Sprint(v) })
	text("kr/pretty %# v", allFields, func(v any) string { return fmt.Sprintf("%# v", pretty.Formatter(v)) })
	text("kr/pretty Diff", allFields, func(v any) string { return strings.Join(pretty.Diff(v, zero(v)), "\n") })
	misses("struct{secret []byte}", "*struct{secret []byte}", "struct{Secret []byte}", "[]byte") // of slices, the lengths

	for name, check := range map[string]func(t assert.TestingT, v any) bool{
		"Equal":         func(t assert.TestingT, v any) bool { return assert.Equal(t, zero(v), v) },
		"Equal to nil":  func(t assert.TestingT, v any) bool { return assert.Equal(t, nil, v) },
		"EqualValues":   func(t assert.TestingT, v any) bool { return assert.EqualValues(t, v, zero(v)) },
		"Exactly":       func(t assert.TestingT, v any) bool { return assert.Exactly(t, v, 1) },
		"NotEqual":      func(t assert.TestingT, v any) bool { return assert.NotEqual(t, v, v) },
		"Nil":           func(t assert.TestingT, v any) bool { return assert.Nil(t, v) },
		"Empty":         func(t assert.TestingT, v any) bool { return assert.Empty(t, v) },
		"Zero":          func(t assert.TestingT, v any) bool { return assert.Zero(t, v) },
		"Contains":      func(t assert.TestingT, v any) bool { return assert.Contains(t, []any{v}, 1) },
		"ElementsMatch": func(t assert.TestingT, v any) bool { return assert.ElementsMatch(t, []any{v}, []any{1}) },
		"a message":     func(t assert.TestingT, v any) bool { return assert.Fail(t, "failed", "%v %+v", v, v) },
		"IsType":        func(t assert.TestingT, v any) bool { return assert.IsType(t, 1, v) },
	} {
		reach := allFields
		if name == "IsType" || name == "Exactly" {
			reach = nothing
		}
		text("testify "+name, reach, func(v any) string {
			var t recorder
			check(&t, v)
			return t.String()
		})
		if name == "Contains" {
			misses("*struct{secret []byte}")
		}
	}

	add("database/sql/driver default converter", whole, func(v any) (string, error) {
		got, err := driver.DefaultParameterConverter.ConvertValue(v)
		return sqlText(got), err
	})
	add("database/sql argument", whole, func(v any) (string, error) {
		db := sql.OpenDB(recordingDB{})
		defer db.Close()
		var b strings.Builder
		_, err := db.ExecContext(context.WithValue(context.Background(), recordingDB{}, &b), "INSERT", v)
		return b.String(), err
	})
	return out
}

// send sends v through the channel; a panic is output as well.
func (c channel) send(v any) (out string) {
	defer func() {
		if p := recover(); p != nil {
			out += fmt.Sprintf("\npanic: %v %+v", p, p)
		}
	}()
	out, err := c.run(v)
	if err != nil {
		out += fmt.Sprintf("\n%v\n%+v\n%#v", err, err, err)
	}
	return out
}

// Wrong on purpose; variables keep vet from checking them.
var noVerb, badWidth = "no verb", "%*s"

// zero returns what v differs from, of the same type, so that diffs are made.
func zero(v any) any {
	t := reflect.TypeOf(v)
	if t == nil {
		return 0
	}
	if t.Kind() == reflect.Pointer {
		return reflect.New(t.Elem()).Interface()
	}
	return reflect.Zero(t).Interface()
}

func logged(v any, handler func(io.Writer) slog.Handler) string {
	var b bytes.Buffer
	l := slog.New(handler(&b))
	l.Info("message", "value", v, slog.Group("group", slog.Any("inner", v)))
	l.With("with", v).WithGroup("g").Error("message", "err", fmt.Errorf("failed: %w", errors.New("cause")))
	return b.String()
}

// recorder is a testing.T that keeps what assertions say.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// recordingDB is a database driver that writes the arguments it is given to the
// builder in the context.
type recordingDB struct{}

func (d recordingDB) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d recordingDB) Driver() driver.Driver                        { return d }
func (d recordingDB) Open(string) (driver.Conn, error)             { return d, nil }
func (d recordingDB) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (d recordingDB) Close() error                                 { return nil }
func (d recordingDB) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }

func (d recordingDB) ExecContext(ctx context.Context, _ string, args []driver.NamedValue) (driver.Result, error) {
	b := ctx.Value(recordingDB{}).(*strings.Builder)
	for _, a := range args {
		b.WriteString(sqlText(a.Value))
	}
	return driver.RowsAffected(0), nil
}

// sqlText is what goes over the wire for a driver value.
func sqlText(v driver.Value) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}
