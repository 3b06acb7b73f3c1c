//go:build race

package stores

// raced: the race detector makes SQLite twenty times slower.
const raced = true
