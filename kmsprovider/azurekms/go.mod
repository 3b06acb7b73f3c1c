module github.com/structseal/structseal/kmsprovider/azurekms

go 1.26.0

require (
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.24.0
	github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys v1.5.0
	github.com/structseal/structseal v0.1.0
)
