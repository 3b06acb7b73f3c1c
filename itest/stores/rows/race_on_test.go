//go:build race

package rows

const raced = true
