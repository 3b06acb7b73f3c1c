// Package stores tests the ring stores on real servers: PostgreSQL, MariaDB,
// SQLite. The tests start them by themselves, on Unix sockets in temporary
// directories. Without the program a test is skipped, and with CI=true in the
// environment it fails. STRUCTSEAL_LONG=1 runs the full sizes.
package stores
