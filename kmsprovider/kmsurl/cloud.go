package kmsurl

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	gcp "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	aws "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
	"github.com/structseal/structseal/kmsprovider/azurekms"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// What a name must be is said by the drivers alone. Their New makes no call, so a URI
// is checked with a client that can't make any.

func parseAWS(u uri) (opener, error) {
	if _, err := awskms.New(aws.New(aws.Options{}), u.body, nil); err != nil {
		return nil, err
	}
	key, err := arn.Parse(u.body)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (kmsprovider.Provider, func() error, error) {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(key.Region))
		if err != nil {
			return nil, nil, err
		}
		p, err := awskms.New(aws.NewFromConfig(cfg), u.body, nil)
		return p, nil, err
	}, nil
}

func parseGCP(u uri) (opener, error) {
	if _, err := gcpkms.New(&gcp.KeyManagementClient{}, u.body); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (kmsprovider.Provider, func() error, error) {
		client, err := gcp.NewKeyManagementClient(ctx)
		if err != nil {
			return nil, nil, err
		}
		p, err := gcpkms.New(client, u.body)
		if err != nil {
			return nil, nil, errors.Join(err, client.Close())
		}
		return p, client.Close, nil
	}, nil
}

func parseVault(u uri) (opener, error) {
	key := "hcvault://" + u.body
	if _, err := vaultkms.New(key, &vaultapi.Client{}); err != nil {
		return nil, err
	}
	return func(context.Context) (kmsprovider.Provider, func() error, error) {
		var opts vaultapi.Options
		if host, _, _ := strings.Cut(u.body, "/"); host != "" {
			opts.Address = "https://" + host
		}
		if os.Getenv("BAO_TOKEN") == "" && os.Getenv("VAULT_TOKEN") == "" {
			if file := loginToken(); file != "" {
				opts.Token = vaultapi.TokenFile(file)
			}
		}
		client, err := vaultapi.New(&opts)
		if err != nil {
			return nil, nil, err
		}
		p, err := vaultkms.New(key, client)
		return p, nil, err
	}, nil
}

// loginToken returns the file in which `bao login` and `vault login` leave a token, if
// it is there.
func loginToken() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	file := filepath.Join(home, ".vault-token")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

func parseAzure(u uri) (opener, error) {
	open := func(credential azcore.TokenCredential) (*azurekms.Provider, error) {
		return azurekms.New("azure-kv://"+u.body, credential, &azurekms.Options{Algorithm: azkeys.EncryptionAlgorithm(u.params["algorithm"])})
	}
	if _, err := open(noToken{}); err != nil {
		return nil, err
	}
	return func(context.Context) (kmsprovider.Provider, func() error, error) {
		credential, err := azidentity.NewDefaultAzureCredential(nil)
		if err != nil {
			return nil, nil, err
		}
		p, err := open(credential)
		return p, nil, err
	}, nil
}

// noToken stands for a credential while a URI is checked.
type noToken struct{}

func (noToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New("none")
}
