package describe

import (
	"reflect"
	"slices"
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
	prefix, byBun := bun["embed"]
	if byGorm || gorm["EMBEDDEDPREFIX"] != "" {
		prefix = gorm["EMBEDDEDPREFIX"]
	}
	return f.Anonymous || byGorm || byBun, prefix
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
	upper := func(i int) bool { return unicode.IsUpper(runes[i]) }
	var b strings.Builder
	for i, r := range runes {
		if i > 0 && upper(i) && startsWord(runes[i-1], runes[i+1:]) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// startsWord tells whether a capital starts a word, by what stands around it.
func startsWord(before rune, behind []rune) bool {
	if len(behind) == 0 {
		return !unicode.IsUpper(before)
	}
	within := unicode.IsUpper(before) && (unicode.IsUpper(behind[0]) || unicode.IsDigit(behind[0]))
	return !within && before != '_' && behind[0] != '_'
}

// Plurals of English nouns as GORM and bun have them, the first that fits.
var (
	sameInPlural = []string{"equipment", "information", "rice", "money", "species", "series", "fish", "sheep", "jeans", "police", "mice", "lice", "oxen"}
	wholeNouns   = map[string]string{"ox": "oxen", "mouse": "mice", "louse": "lice", "axis": "axes", "testis": "testes"}
	endings      = [][2]string{
		{"person", "people"}, {"man", "men"}, {"child", "children"}, {"quiz", "quizzes"},
		{"matrix", "matrices"}, {"vertex", "vertices"}, {"index", "indices"},
		{"x", "xes"}, {"ch", "ches"}, {"ss", "sses"}, {"sh", "shes"},
		{"ay", "ays"}, {"ey", "eys"}, {"iy", "iys"}, {"oy", "oys"}, {"quy", "quies"}, {"uy", "uys"}, {"yy", "yys"}, {"y", "ies"},
		{"lf", "lves"}, {"rf", "rves"}, {"ffe", "ffes"}, {"fe", "ves"},
		{"sis", "ses"}, {"ta", "ta"}, {"ia", "ia"}, {"tum", "ta"}, {"ium", "ia"},
		{"buffalo", "buffaloes"}, {"tomato", "tomatoes"}, {"bus", "buses"}, {"alias", "aliases"}, {"status", "statuses"},
		{"octopus", "octopi"}, {"virus", "viri"}, {"octopi", "octopi"}, {"viri", "viri"}, {"s", "s"},
	}
)

// plural returns the plural of a name in snake case.
func plural(name string) string {
	if name == "" || slices.Contains(sameInPlural, name) {
		return name
	}
	if whole, ok := wholeNouns[name]; ok {
		return whole
	}
	for _, e := range endings {
		if stem, ok := strings.CutSuffix(name, e[0]); ok {
			return stem + e[1]
		}
	}
	if last := name[len(name)-1]; last < 'a' || last > 'z' {
		return name
	}
	return name + "s"
}
