module github.com/structseal/structseal/kmsprovider/vaultkms

go 1.26.0

require github.com/structseal/structseal v0.1.0

require (
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
