package main

import (
	"strings"
	"testing"

	"github.com/structseal/structseal/manifest"
)

func record(label, typ, table string, paths ...string) manifest.Record {
	r := manifest.Record{Label: label, Type: typ, Table: table, Binds: []manifest.Bind{{Label: "id", Column: "id", Kind: manifest.BindInteger}}}
	for _, p := range paths {
		r.Fields = append(r.Fields, manifest.Field{Path: []string{p}, Field: strings.ToUpper(p), Column: p, Form: manifest.FormString})
	}
	return r
}

// A row and a part of it are one job. A record in two tables is two.
func TestChooseMergesTypes(t *testing.T) {
	m := &manifest.Manifest{Records: []manifest.Record{
		record("customer", "app.Customer", "customers", "email", "phone"),
		record("customer", "app.Contact", "customers", "phone", "fax"),
		record("customer", "app.Old", "old_customers", "email"),
		record("customer", "app.Part", "", "email"),
		record("address", "app.Address", "", "street"),
	}}
	got, apart, err := choice{}.choose(m)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, r := range got {
		var fields []string
		for _, f := range r.Fields {
			fields = append(fields, f.Column)
		}
		text = append(text, r.Table+": "+strings.Join(fields, " "))
	}
	if want := "customers: email phone fax; old_customers: email"; strings.Join(text, "; ") != want {
		t.Errorf("%q, want %q", text, want)
	}
	if strings.Join(apart, " ") != "address" {
		t.Errorf("apart: %q", apart)
	}
	if got, _, err = (choice{records: []string{"customer"}}).choose(m); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	got, _, err = choice{table: "old_customers"}.choose(m)
	if err != nil || len(got) != 1 || got[0].Type != "app.Old" {
		t.Errorf("%+v, %v", got, err)
	}
}

// What would be guessed is an error.
func TestChooseRefuses(t *testing.T) {
	other := record("customer", "app.Contact", "customers", "phone")
	other.Binds[0].Column = "customer_id"
	det := record("customer", "app.Contact", "customers", "phone")
	det.Fields[0].Det = "phones"
	for name, c := range map[string]struct {
		choice choice
		second manifest.Record
		want   string
	}{
		"types bound to different columns": {choice{}, other, "app.Customer and app.Contact are bound to different fields or columns"},
		"a field that is two things":       {choice{}, det, "field customer.phone means one thing in app.Customer and another in app.Contact"},
		"a table of several records":       {choice{table: "clients"}, record("order", "app.Order", "orders", "text"), "no record in table \"clients\""},
		"a key for two tables":             {choice{key: []string{"id"}}, record("order", "app.Order", "orders", "text"), "--key is for one table"},
		"settings of an unknown record":    {choice{rows: map[string]rowSettings{"custmer": {}}}, record("order", "app.Order", "orders", "text"), "no record \"custmer\""},
		"nothing with a table":             {choice{records: []string{"order"}}, record("order", "app.Order", "", "text"), "name it with --table"},
	} {
		m := &manifest.Manifest{Records: []manifest.Record{record("customer", "app.Customer", "customers", "phone"), c.second}}
		if _, _, err := c.choice.choose(m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Flags count before the file with settings, label by label.
func TestChooseBindings(t *testing.T) {
	r := record("customer", "app.Customer", "customers", "phone")
	r.Require = []string{"region", "tenant"}
	c := choice{
		rows:    map[string]rowSettings{"customer": {Table: "clients", Key: []string{"a"}, Bind: map[string]string{"tenant": "acme", "region": "eu"}}},
		columns: map[string]string{"tenant": "tenant_id"},
	}
	got, _, err := c.choose(&manifest.Manifest{Records: []manifest.Record{r}})
	if err != nil {
		t.Fatal(err)
	}
	o := got[0].options
	if o.Bind["region"] != "eu" || o.Bind["tenant"] != "" || o.BindColumn["tenant"] != "tenant_id" || got[0].Table != "clients" || o.Key[0] != "a" {
		t.Errorf("%+v in %s", o, got[0].Table)
	}
	if len(c.rows["customer"].Bind) != 2 {
		t.Error("the settings were changed")
	}
}

func TestShellQuote(t *testing.T) {
	for arg, want := range map[string]string{
		"customer": "customer", "a=b/c.d:e,f@g": "a=b/c.d:e,f@g", "": "''", "two words": "'two words'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "sqlite:///x?y": "'sqlite:///x?y'",
	} {
		if got := shellQuote(arg); got != want {
			t.Errorf("%q is %s, want %s", arg, got, want)
		}
	}
}
