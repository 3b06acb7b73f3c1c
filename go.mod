module github.com/structseal/structseal

go 1.26.0

require github.com/tink-crypto/tink-go/v2 v2.9.0

require golang.org/x/crypto v0.58.0 // indirect
