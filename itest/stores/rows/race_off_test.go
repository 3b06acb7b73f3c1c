//go:build !race

package rows

const raced = false
