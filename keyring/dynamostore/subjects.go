package dynamostore

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/structseal/structseal/keyring"
)

// maxBatch is how many items the service returns at once.
const maxBatch = 100

// prefix begins the keys of a ring's subjects. No ring's name has a slash.
func prefix(name string) string { return name + "/" }

func subjectKey(name string, h keyring.SubjectHash) string {
	return prefix(name) + hex.EncodeToString(h[:])
}

// parseKey is the reverse of subjectKey.
func parseKey(name, key string) (h keyring.SubjectHash, err error) {
	b, err := hex.DecodeString(strings.TrimPrefix(key, prefix(name)))
	if err == nil && len(b) == len(h) {
		h = keyring.SubjectHash(b)
	}
	if err != nil || subjectKey(name, h) != key {
		return h, fmt.Errorf("%w: an item's key is no subject's", keyring.ErrCorrupt)
	}
	return h, nil
}

// LoadSubjects implements [keyring.SubjectStore] with consistent reads of up to 100
// items each. What the service leaves out it is asked for again.
//
// Errors: keyring.ErrName; keyring.ErrTooLarge for more than 1,000 subjects;
// keyring.ErrCorrupt for an item that isn't a subject's; keyring.ErrUnavailable;
// ctx's own; the service's.
func (s *Store) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	found, err := s.loadSubjects(ctx, name, subjects)
	if err != nil {
		return nil, wrap(ctx, err)
	}
	return found, nil
}

func (s *Store) loadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	if err := checkCall(ctx, name); err != nil {
		return nil, err
	}
	if len(subjects) > keyring.MaxSubjectBatch {
		return nil, fmt.Errorf("%w: asked for %d subjects of at most %d", keyring.ErrTooLarge, len(subjects), keyring.MaxSubjectBatch)
	}
	// The service refuses a key that is given twice.
	var keys []map[string]types.AttributeValue
	seen := make(map[keyring.SubjectHash]bool)
	for _, h := range subjects {
		if !seen[h] {
			seen[h] = true
			keys = append(keys, map[string]types.AttributeValue{attrName: &types.AttributeValueMemberS{Value: subjectKey(name, h)}})
		}
	}
	found := make(map[keyring.SubjectHash]keyring.Record)
	wait := 20 * time.Millisecond
	for len(keys) > 0 {
		n := min(maxBatch, len(keys))
		left, err := s.loadSome(ctx, name, keys[:n], found)
		if err != nil {
			return nil, err
		}
		keys = append(left, keys[n:]...)
		if len(left) < n {
			wait = 20 * time.Millisecond
			continue
		}
		// Not one: it is throttled.
		timer := time.NewTimer(rand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		wait = min(2*wait, 2*time.Second)
	}
	return found, nil
}

// loadSome adds to found, and returns the keys that the service left out: because
// the answer got too large, or because of its load.
func (s *Store) loadSome(ctx context.Context, name string, keys []map[string]types.AttributeValue, found map[keyring.SubjectHash]keyring.Record) (left []map[string]types.AttributeValue, err error) {
	out, err := s.client().BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{s.table: {Keys: keys, ConsistentRead: aws.Bool(true)}},
	})
	if err != nil {
		return nil, err
	}
	for _, items := range out.Responses { // of one table, whose name may differ from its ARN
		for _, item := range items {
			key, ok := item[attrName].(*types.AttributeValueMemberS)
			if !ok {
				return nil, fmt.Errorf("%w: the item has no string %q", keyring.ErrCorrupt, attrName)
			}
			h, err := parseKey(name, key.Value)
			if err != nil {
				return nil, err
			}
			if found[h], err = record(item); err != nil {
				return nil, err
			}
		}
	}
	for _, rest := range out.UnprocessedKeys {
		left = append(left, rest.Keys...)
	}
	return left, nil
}

// CompareAndSwapSubject implements [keyring.SubjectStore] with one conditional
// PutItem.
//
// Errors: those of CompareAndSwap; keyring.ErrTooLarge for more than
// keyring.MaxSubjectSize bytes.
func (s *Store) CompareAndSwapSubject(ctx context.Context, name string, subject keyring.SubjectHash, old uint64, next keyring.Record) error {
	if err := checkCall(ctx, name); err != nil {
		return wrap(ctx, err)
	}
	return wrap(ctx, s.put(ctx, subjectKey(name, subject), old, next, keyring.MaxSubjectSize))
}

// ListSubjects implements [keyring.SubjectStore], in the order in which the service
// scans a table. The scan goes on where the page before has ended, so a pass over all
// subjects reads the table once. It reads the other rings of the table, too.
//
// Errors: those of LoadSubjects; keyring.ErrTooLarge for a limit that is not 1 to
// 1,000.
func (s *Store) ListSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) ([]keyring.SubjectHash, error) {
	list, err := s.listSubjects(ctx, name, after, limit)
	if err != nil {
		return nil, wrap(ctx, err)
	}
	return list, nil
}

func (s *Store) listSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) (list []keyring.SubjectHash, err error) {
	if err := checkCall(ctx, name); err != nil {
		return nil, err
	}
	if limit < 1 || limit > keyring.MaxSubjectBatch {
		return nil, fmt.Errorf("%w: asked for %d subjects, of 1 to %d", keyring.ErrTooLarge, limit, keyring.MaxSubjectBatch)
	}
	in := &dynamodb.ScanInput{
		TableName:                 &s.table,
		ConsistentRead:            aws.Bool(true),
		Limit:                     aws.Int32(keyring.MaxSubjectBatch), // or it reads on for a megabyte
		FilterExpression:          aws.String("begins_with(#k, :p)"),
		ProjectionExpression:      aws.String("#k"),
		ExpressionAttributeNames:  map[string]string{"#k": attrName}, // a reserved word
		ExpressionAttributeValues: map[string]types.AttributeValue{":p": &types.AttributeValueMemberS{Value: prefix(name)}},
	}
	if after != (keyring.SubjectHash{}) {
		in.ExclusiveStartKey = map[string]types.AttributeValue{attrName: &types.AttributeValueMemberS{Value: subjectKey(name, after)}}
	}
	scan := dynamodb.NewScanPaginator(s.client(), in)
	for len(list) < limit && scan.HasMorePages() {
		page, err := scan.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			key, ok := item[attrName].(*types.AttributeValueMemberS)
			if !ok {
				return nil, fmt.Errorf("%w: the item has no string %q", keyring.ErrCorrupt, attrName)
			}
			h, err := parseKey(name, key.Value)
			if err != nil {
				return nil, err
			}
			list = append(list, h)
		}
	}
	return list[:min(limit, len(list))], nil
}
