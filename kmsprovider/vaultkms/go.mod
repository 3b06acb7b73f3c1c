module github.com/structseal/structseal/kmsprovider/vaultkms

go 1.26.0

require github.com/structseal/structseal v0.1.0
