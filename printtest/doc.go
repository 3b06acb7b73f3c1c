// Package printtest proves promise P6: secrets never print. Its tests put every
// secret-bearing value of the project into every kind of holder, send the holder
// through every channel that turns Go values into text, third-party printers
// included, and hunt the output for the secret in each encoding that such a
// channel may use.
//
// It is a module of its own so that the printers stay out of the root module.
package printtest
