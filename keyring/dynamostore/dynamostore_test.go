package dynamostore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/dynamostore"
	"github.com/structseal/structseal/keyring/keyringtest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func store(t testing.TB, c *dynamodb.Client, table string) *dynamostore.Store {
	t.Helper()
	s, err := dynamostore.New(c, table)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newTable makes a table of the test's own.
func newTable(t testing.TB) string {
	t.Helper()
	b := make([]byte, 6)
	rand.Read(b)
	table := "rings-" + hex.EncodeToString(b)
	if err := dynamostore.CreateTable(t.Context(), client(t), table); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestConformance(t *testing.T) {
	table := newTable(t)
	keyringtest.Run(t, func(t *testing.T) keyring.Store { return store(t, client(t), table) },
		keyringtest.Unreachable("nobody there", func(t *testing.T) keyring.Store {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return store(t, clientAt("http://"+l.Addr().String()), table)
		}),
		keyringtest.Unreachable("no such table", func(t *testing.T) keyring.Store { return store(t, client(t), "no-such-table") }),
		keyringtest.Unreachable("server fault", answers(500, "InternalServerError")),
		keyringtest.Unreachable("throttled", answers(400, "ProvisionedThroughputExceededException")),
		keyringtest.Unreachable("denied", answers(400, "AccessDeniedException")),
		keyringtest.Unreachable("not DynamoDB", func(t *testing.T) keyring.Store {
			return serves(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 404) })
		}),
		keyringtest.Stalled("never answers", func(t *testing.T) keyring.Store {
			return serves(t, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // only then a server notices that the client has left
				<-r.Context().Done()
			})
		}))
}

func serves(t *testing.T, h http.HandlerFunc) keyring.Store {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return store(t, clientAt(srv.URL), "rings")
}

func answers(status int, code string) func(t *testing.T) keyring.Store {
	return func(t *testing.T) keyring.Store {
		return serves(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"a message"}`, code)
		})
	}
}

// What may go away by itself is ErrUnavailable; what somebody must mend isn't.
func TestErrorClasses(t *testing.T) {
	for _, c := range []struct {
		status      int
		code        string
		unavailable bool
	}{
		{500, "InternalServerError", true},
		{503, "ServiceUnavailable", true},
		{400, "ThrottlingException", true},
		{400, "ProvisionedThroughputExceededException", true},
		{400, "TransactionConflictException", true},
		{400, "AccessDeniedException", false},
		{400, "ResourceNotFoundException", false},
		{400, "ValidationException", false},
	} {
		s := answers(c.status, c.code)(t)
		_, err := s.Load(t.Context(), "app")
		if errors.Is(err, keyring.ErrUnavailable) != c.unavailable || errors.Is(err, keyring.ErrNotFound) || err == nil {
			t.Errorf("%s: Load: %v", c.code, err)
		}
		err = s.CompareAndSwap(t.Context(), "app", 1, keyring.Record{Revision: 2})
		if errors.Is(err, keyring.ErrUnavailable) != c.unavailable || errors.Is(err, keyring.ErrConflict) || err == nil {
			t.Errorf("%s: CompareAndSwap: %v", c.code, err)
		}
		if strings.Count(err.Error(), "dynamostore: ") != 1 {
			t.Errorf("prefix: %v", err)
		}
	}
}

// Reads are consistent: an eventually consistent read would pass every other
// test on a server that has one copy.
func TestReadsAreConsistent(t *testing.T) {
	var consistent atomic.Bool
	s := serves(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		consistent.Store(strings.Contains(string(body), `"ConsistentRead":true`))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprint(w, `{}`)
	})
	if _, err := s.Load(t.Context(), "app"); !errors.Is(err, keyring.ErrNotFound) || !consistent.Load() {
		t.Errorf("consistent %v, %v", consistent.Load(), err)
	}
}

func TestCreateTable(t *testing.T) {
	ctx, c := t.Context(), client(t)
	b := make([]byte, 6)
	rand.Read(b)
	table := "rings-" + hex.EncodeToString(b)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := dynamostore.CreateTable(ctx, c, table); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	other := dynamostore.Table(table + "-other")
	other.AttributeDefinitions[0].AttributeName = aws.String("id")
	other.KeySchema[0].AttributeName = aws.String("id")
	if _, err := c.CreateTable(ctx, other); err != nil {
		t.Fatal(err)
	}
	if err := dynamostore.CreateTable(ctx, c, table+"-other"); !errors.Is(err, dynamostore.ErrOptions) {
		t.Errorf("table with another key: %v", err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := dynamostore.CreateTable(done, c, table); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for what, err := range map[string]error{
		"no client": dynamostore.CreateTable(ctx, nil, table),
		"no name":   dynamostore.CreateTable(ctx, c, ""),
	} {
		if !errors.Is(err, dynamostore.ErrOptions) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What somebody else put into the table isn't taken for a ring.
func TestForeignItems(t *testing.T) {
	ctx, c, table := t.Context(), client(t), newTable(t)
	s := store(t, c, table)
	number := func(n string) types.AttributeValue { return &types.AttributeValueMemberN{Value: n} }
	data := types.AttributeValue(&types.AttributeValueMemberB{Value: []byte("x")})
	for what, item := range map[string]map[string]types.AttributeValue{
		"nothing else":      {},
		"no data":           {"revision": number("1")},
		"no revision":       {"data": data},
		"text as data":      {"revision": number("1"), "data": &types.AttributeValueMemberS{Value: "x"}},
		"text as revision":  {"revision": &types.AttributeValueMemberS{Value: "1"}, "data": data},
		"revision 0":        {"revision": number("0"), "data": data},
		"negative revision": {"revision": number("-1"), "data": data},
		"fraction":          {"revision": number("1.5"), "data": data},
		"revision 2^63":     {"revision": number("9223372036854775808"), "data": data},
	} {
		item["name"] = &types.AttributeValueMemberS{Value: "app"}
		if _, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Load(ctx, "app"); !errors.Is(err, keyring.ErrCorrupt) || r.Data != nil {
			t.Errorf("%s: revision %d, %v", what, r.Revision, err)
		}
	}
}

// The SDK repeats a call whose answer got lost. The second one conflicts with
// the first, and the keyring finds its own record.
func TestRetryConflictsWithItself(t *testing.T) {
	ctx, table := t.Context(), newTable(t)
	lost := &losesAnswers{next: http.DefaultTransport}
	url, err := endpoint()
	need(t, err)
	opts := clientAt(url).Options()
	opts.HTTPClient = &http.Client{Transport: lost}
	opts.RetryMaxAttempts = 3
	s := store(t, dynamodb.New(opts), table)
	if err := s.CompareAndSwap(ctx, "plain", 0, keyring.Record{Revision: 1}); !errors.Is(err, keyring.ErrConflict) {
		t.Errorf("the store itself: %v, want a conflict with itself", err)
	}
	kms := localkms.NewRandom()
	ring, pin, err := keyring.Create(ctx, "app", s, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := keyring.Open(ctx, "app", store(t, client(t), table), kms, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := fresh.Primary(ctx, keyring.Data); err != nil || key.ID() != id || fresh.Revision() != 2 {
		t.Errorf("primary %v, revision %d, %v", key, fresh.Revision(), err)
	}
	if lost.n.Load() != 3 {
		t.Errorf("%d answers were lost", lost.n.Load())
	}
}

// A pass over all subjects reads each of them once, and not all of them for each page.
func TestListReadsTheTableOnce(t *testing.T) {
	ctx, counted := t.Context(), &countsScans{next: http.DefaultTransport}
	opts := client(t).Options()
	opts.HTTPClient = &http.Client{Transport: counted}
	s := store(t, dynamodb.New(opts), newTable(t))
	const subjects, page = 2500, 500
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := w; i < subjects; i += 10 {
				if err := s.CompareAndSwapSubject(ctx, "app", sha256.Sum256([]byte{byte(i), byte(i >> 8)}), 0, keyring.Record{Revision: 1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[keyring.SubjectHash]bool)
	var after keyring.SubjectHash
	for n := page; n == page; {
		list, err := s.ListSubjects(ctx, "app", after, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range list {
			seen[h], after = true, h
		}
		n = len(list)
	}
	// A page may read as much as it leaves out for the next one.
	if read := counted.n.Load(); len(seen) != subjects || read < subjects || read > 2*subjects {
		t.Errorf("%d subjects of %d, %d items read", len(seen), subjects, read)
	}
}

// countsScans counts the items that scans have read.
type countsScans struct {
	next http.RoundTripper
	n    atomic.Int64
}

func (c *countsScans) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".Scan") {
		var out struct{ ScannedCount int64 }
		if err := json.Unmarshal(body, &out); err != nil {
			return nil, err
		}
		c.n.Add(out.ScannedCount)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// losesAnswers loses the answer to every PutItem that succeeded.
type losesAnswers struct {
	next http.RoundTripper
	n    atomic.Int64
}

func (l *losesAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	if err == nil && res.StatusCode == 200 && strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".PutItem") {
		l.n.Add(1)
		res.Body.Close()
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset")}
	}
	return res, err
}

func TestNoCredentialsInPrint(t *testing.T) {
	s := store(t, clientAt("http://127.0.0.1:1"), "rings")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if out := fmt.Sprintf(format, s); strings.Contains(out, "not a secret") {
			t.Errorf("%s: %s", format, out)
		}
	}
	if _, err := dynamostore.New(nil, "rings"); !errors.Is(err, dynamostore.ErrOptions) {
		t.Error(err)
	}
	if _, err := dynamostore.New(clientAt("http://127.0.0.1:1"), ""); !errors.Is(err, dynamostore.ErrOptions) {
		t.Error(err)
	}
}
