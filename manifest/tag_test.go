package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/structseal/structseal/manifest"
)

func TestParseTag(t *testing.T) {
	for raw, want := range map[string]manifest.Tag{
		`json:"a" seal:"a,bind,subject=person,column=b,category=c"`: {Label: "a", Bind: true, Subject: true, SubjectKind: "person", Column: "b", Category: "c"},
		`seal:"a,det=d"`: {Label: "a", Det: "d"},
	} {
		if tag, found, err := manifest.ParseTag(raw, false); err != nil || !found || !reflect.DeepEqual(tag, want) {
			t.Errorf("`%s`: %+v, %t, %v", raw, tag, found, err)
		}
	}
	want := manifest.Tag{Label: "a.b", Unbound: true, Require: []string{"c", "d"}, Table: "-"}
	if tag, found, err := manifest.ParseTag(`seal:"a.b,unbound,require=c,require=d,table=-"`, true); err != nil || !found || !reflect.DeepEqual(tag, want) {
		t.Errorf("%+v, %t, %v", tag, found, err)
	}
	for _, raw := range []string{"", `json:"a"`, `json: "a"`} {
		if _, found, err := manifest.ParseTag(raw, false); err != nil || found {
			t.Errorf("`%s`: %t, %v", raw, found, err)
		}
	}
	for raw, want := range map[string]string{`seal: "a"`: "malformed", `seal:"a,bnid"`: "did you mean", `seal:"a,table=b"`: "marker", `seal:"a" seal:"b"`: "second"} {
		if tag, found, err := manifest.ParseTag(raw, false); err == nil || found || tag.Label != "" || !strings.Contains(err.Error(), want) {
			t.Errorf("`%s`: %+v, %t, %v", raw, tag, found, err)
		}
	}
}
