// Package awskms wraps keys with a symmetric key of AWS KMS.
//
//	cfg, err := config.LoadDefaultConfig(ctx)   // environment, profile, web identity, instance role
//	provider, err := awskms.New(kms.NewFromConfig(cfg), "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-...", nil)
//	ring, err := keyring.Open(ctx, "app", store, provider, pin, nil)
//
// The context of a wrap is the encryption context of the call: CloudTrail shows it,
// and key policies and IAM policies can ask for it (kms:EncryptionContext:
// structseal-ring). docs/kms.md has a policy that works.
//
// # Keys
//
// A key is named by its ARN. Aliases and bare key ids are refused: an alias can be
// pointed at another key, and then nothing that was wrapped before opens. The ARN is
// sent with every Decrypt, and the ARN in every answer must be the same.
//
// The keys of a multi-Region key (key/mrk-...) are one KEK: its ID is the ARN without
// the Region, so what is wrapped in one Region opens with the replica in another
// one. Give each program the ARN of its own Region.
//
// # Calls
//
// One Encrypt for a Wrap, one Decrypt for an Unwrap. GenerateDataKey would save
// nothing: a ring makes its keys itself, so that several KMSs can wrap the same one.
// Neither would ReEncrypt: package keyring opens every new wrap and compares, before
// it replaces the old one, and the key is in its memory anyway.
//
// The SDK's own retries are off for these calls, because package keyring has a
// budget for its own and the two would multiply. Without a keyring, see
// kmsprovider.Resilient. An answer is read up to 1 MiB. Where the client logs bodies
// (aws.LogRequestWithBody), it logs none of these calls: they hold keys.
//
// # Errors
//
// What isn't AWS's own is kmsprovider.ErrUnavailable: a page without one of AWS's
// codes, whatever its status; credentials that can't be had, unless STS denies the role;
// a clock that is wrong, which the SDK corrects with the next call.
package awskms
