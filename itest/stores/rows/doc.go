// Package rows tests packages rotate and rotate/sqlrows on real databases, while
// others write, and through crashes.
package rows
