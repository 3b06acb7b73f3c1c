//go:build !cse

package bench

// WithMongocrypt says whether libmongocrypt was built in.
const WithMongocrypt = false

var mongocryptPeer = Peer{
	Name:   "libmongocrypt",
	Title:  mongocryptTitle,
	Absent: "built without it: needs libmongocrypt and -tags cse",
}
