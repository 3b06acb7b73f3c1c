module github.com/structseal/structseal/printtest

go 1.26.0

require (
	github.com/davecgh/go-spew v1.1.1
	github.com/kr/pretty v0.3.1
	github.com/stretchr/testify v1.12.1
	github.com/structseal/structseal v0.1.0
)

require (
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/rogpeppe/go-internal v1.9.0 // indirect
	github.com/structseal/structseal/kmsprovider/vaultkms v0.1.0
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
