package describe

import (
	"reflect"
	"strings"
	"unicode"
)

// tableOf returns the table of a record: `table=`, else what its method TableName
// says, else bun's tag, else the plural of its name, as GORM and bun have it.
func tableOf(s *Struct) string {
	bun, _ := bunTag(s.BunTag)
	switch {
	case s.Marker.Table == "-":
		return ""
	case s.Marker.Table != "":
		return s.Marker.Table
	case s.TableName != "":
		return s.TableName
	case bun["table"] != "":
		return bun["table"]
	}
	name, _, _ := strings.Cut(s.Name, "[")
	return plural(Snake(name))
}

// columnOf returns the column of a field, "" if it has none: `column=`, else what the
// tags of GORM, bun and sqlx say, in this order, else its name in snake case. explicit
// says that it wasn't the name.
func columnOf(prefix string, m Member) (column string, explicit bool) {
	f := m.Chain[len(m.Chain)-1]
	gorm := gormTag(f.Tag)
	bun, bunName := bunTag(reflect.StructTag(f.Tag).Get("bun"))
	db, _, _ := strings.Cut(reflect.StructTag(f.Tag).Get("db"), ",")
	_, related := bun["rel"]
	_, joined := bun["m2m"]
	ignored, isIgnored := gorm["-"]
	switch {
	case m.Tag.Column == "-":
		return "", true
	case m.Tag.Column != "":
		return m.Tag.Column, true
	case isIgnored && !strings.EqualFold(ignored, "migration"), related, joined, bunName == "-", db == "-":
		return "", true
	case gorm["COLUMN"] != "":
		return prefix + gorm["COLUMN"], true
	case bun["column"] != "":
		return prefix + bun["column"], true
	case bunName != "":
		return prefix + bunName, true
	case db != "":
		return prefix + db, true
	}
	return prefix + Snake(f.Name), false
}

// embeds reports whether the fields of a struct are columns of the record's own
// table, and what is put in front of their names.
func embeds(m Member) (flat bool, prefix string) {
	f := m.Chain[len(m.Chain)-1]
	gorm := gormTag(f.Tag)
	bun, _ := bunTag(reflect.StructTag(f.Tag).Get("bun"))
	_, byGorm := gorm["EMBEDDED"]
	_, byBun := bun["embed"]
	return f.Anonymous || byGorm || byBun, gorm["EMBEDDEDPREFIX"] + bun["embed"]
}

// prefixOf returns what the embedded structs on the way put in front of columns.
func prefixOf(chain []GoField) (prefix string) {
	for _, f := range chain[:len(chain)-1] {
		prefix += gormTag(f.Tag)["EMBEDDEDPREFIX"]
	}
	return prefix
}

// gormTag parses `gorm:"column:x;not null"`; keys are in upper case.
func gormTag(tag string) map[string]string {
	out := map[string]string{}
	const escaped = "\x00"
	for part := range strings.SplitSeq(strings.ReplaceAll(reflect.StructTag(tag).Get("gorm"), `\;`, escaped), ";") {
		key, value, _ := strings.Cut(part, ":")
		if key = strings.ToUpper(strings.TrimSpace(key)); key != "" {
			out[key] = strings.ReplaceAll(value, escaped, ";")
		}
	}
	return out
}

// bunTag parses the value of a tag `bun:"name,key:value,flag"`.
func bunTag(tag string) (options map[string]string, name string) {
	options = map[string]string{}
	for i, part := range strings.Split(tag, ",") {
		key, value, hasValue := strings.Cut(part, ":")
		if i == 0 && !hasValue {
			name = key
		} else {
			options[key] = value
		}
	}
	return options, name
}

// GORM writes these as words.
var initialisms = func() *strings.Replacer {
	var pairs []string
	for word := range strings.FieldsSeq("API ASCII CPU CSS DNS EOF GUID HTML HTTP HTTPS ID IP JSON LHS QPS RAM RHS RPC SLA SMTP SSH TLS TTL UID UI UUID URI URL UTF8 VM XML XSRF XSS") {
		pairs = append(pairs, word, word[:1]+strings.ToLower(word[1:]))
	}
	return strings.NewReplacer(pairs...)
}()

// Snake writes a Go name in snake case as GORM does: ID is id, HTTPServer is
// http_server.
func Snake(name string) string {
	runes := []rune(initialisms.Replace(name))
	upper := func(i int) bool { return i >= 0 && i < len(runes) && unicode.IsUpper(runes[i]) }
	var b strings.Builder
	for i, r := range runes {
		if upper(i) && i > 0 && runes[i-1] != '_' {
			last := i == len(runes)-1
			within := upper(i-1) && (last || upper(i+1) || unicode.IsDigit(runes[i+1]))
			if !within && (last || runes[i+1] != '_') {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// plural is the plural of a name, as GORM and bun have it for regular nouns and a few
// others; the rest needs `table=`.
func plural(name string) string {
	for _, n := range [][2]string{{"person", "people"}, {"man", "men"}, {"child", "children"}, {"sis", "ses"}, {"status", "statuses"}, {"alias", "aliases"}, {"bus", "buses"}} {
		if stem, ok := strings.CutSuffix(name, n[0]); ok {
			return stem + n[1]
		}
	}
	switch name {
	case "", "equipment", "information", "money", "species", "series", "police":
		return name
	}
	hasSuffix := func(endings ...string) bool {
		for _, e := range endings {
			if strings.HasSuffix(name, e) {
				return true
			}
		}
		return false
	}
	switch {
	case hasSuffix("y") && !hasSuffix("ay", "ey", "iy", "oy", "uy", "yy"), hasSuffix("quy"):
		return name[:len(name)-1] + "ies"
	case hasSuffix("x", "ch", "ss", "sh"):
		return name + "es"
	case hasSuffix("s"), name[len(name)-1] < 'a', name[len(name)-1] > 'z':
		return name
	}
	return name + "s"
}
