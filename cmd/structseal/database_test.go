package main

import (
	"strings"
	"testing"
)

// What each URL becomes for its driver; those of databases that run are tested in
// itest/stores.
func TestDataSource(t *testing.T) {
	t.Setenv("MYSQL_PWD", "from environment")
	for text, want := range map[string]string{
		"postgres://app@db/crm?sslmode=require":         "pgx postgres://app@db/crm?sslmode=require",
		"postgresql://app@db/crm":                       "pgx postgresql://app@db/crm",
		"mysql://app@db/crm":                            "mysql app:from environment@tcp(db:3306)/crm",
		"mysql://app:of%40url@db:3307/crm?tls=true":     "mysql app:of@url@tcp(db:3307)/crm?tls=true",
		"mysql://app@[::1]/crm":                         "mysql app:from environment@tcp([::1]:3306)/crm",
		"mysql://app@localhost/crm?socket=/run/my.sock": "mysql app:from environment@unix(/run/my.sock)/crm",
		"sqlite:///var/lib/a%20b.db":                    "sqlite file:///var/lib/a%20b.db?mode=rwc&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)",
		"sqlite:///var/lib/a%3Fmode=memory.db":          "sqlite file:///var/lib/a%3Fmode=memory.db?mode=rwc&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)",
		"sqlite://host/a.db":                            "",
		"sqlite:a.db":                                   "",
		"sqlite:///a.db?mode=memory":                    "",
		"mysql://app@db":                                "",
		"mysql://db/crm":                                "",
		"mysql://app@db/crm?allowAllFiles=true":         "",
		"mysql://app@db/crm?tls=hunter2":                "",
		"oracle://app@db/crm":                           "",
		"app@tcp(db)/crm":                               "",
		"postgres://app:hunter2@db:port/crm":            "",
		"postgres://app:hunter2 @db/crm":                "",
		"":                                              "",
	} {
		driver, _, dsn, err := dataSource(text, true)
		if got := strings.TrimSpace(driver + " " + dsn); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is told: %v", text, err)
		}
	}
}
