// A workload written with go-spiffe: it takes its identity from the agent's socket and says what it sees.
//
//	peer serve ADDR          plain HTTP, behind a sidecar; answers with its own SPIFFE ID and the caller's
//	peer call URL            asks again and again, through HTTP_PROXY
//	peer mtls-serve ADDR ID  mTLS without a sidecar, for one caller
//	peer mtls-call ADDR ID   its client
//
// Every line on standard output is an event: `svid ID SERIAL`, `jwt ID`, `answer STATUS BODY`.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const audience = "peers"

var lock sync.Mutex

func say(format string, values ...any) {
	lock.Lock()
	defer lock.Unlock()
	fmt.Printf(format+"\n", values...)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	svid := c.DefaultSVID()
	say("svid %s %x", svid.ID, svid.Certificates[0].SerialNumber)
}

func (watcher) OnX509ContextWatchError(err error) { say("error %v", err) }

// A token is minted by the agent, checked by go-spiffe against the bundle, and by the agent.
func tokens(ctx context.Context) {
	source, err := workloadapi.NewJWTSource(ctx)
	check(err)
	token, err := source.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	check(err)
	here, err := jwtsvid.ParseAndValidate(token.Marshal(), source, []string{audience})
	check(err)
	there, err := workloadapi.ValidateJWTSVID(ctx, token.Marshal(), audience)
	check(err)
	if here.ID != there.ID {
		check(fmt.Errorf("%s is not %s", here.ID, there.ID))
	}
	if _, err := workloadapi.ValidateJWTSVID(ctx, token.Marshal(), "others"); err == nil {
		check(fmt.Errorf("a token for %s was taken for others", audience))
	}
	say("jwt %s", there.ID)
}

func ask(client *http.Client, url string) {
	answer, err := client.Get(url)
	if err != nil {
		say("failed %v", err)
		return
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	say("answer %d %s", answer.StatusCode, body)
}

func main() {
	ctx := context.Background()
	source, err := workloadapi.NewX509Source(ctx)
	check(err)
	go func() { check(workloadapi.WatchX509Context(ctx, watcher{})) }()
	tokens(ctx)
	own, err := source.GetX509SVID()
	check(err)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		caller := r.Header.Get("x-forwarded-client-cert")
		if r.TLS != nil {
			caller = r.TLS.PeerCertificates[0].URIs[0].String()
		}
		fmt.Fprintf(w, "%s for %s", own.ID, caller)
	})
	switch os.Args[1] {
	case "serve":
		check(http.ListenAndServe(os.Args[2], nil))
	case "call":
		for ; ; time.Sleep(50 * time.Millisecond) {
			ask(http.DefaultClient, os.Args[2])
		}
	case "mtls-serve":
		allowed := tlsconfig.AuthorizeID(spiffeid.RequireFromString(os.Args[3]))
		server := &http.Server{Addr: os.Args[2], TLSConfig: tlsconfig.MTLSServerConfig(source, source, allowed)}
		check(server.ListenAndServeTLS("", ""))
	case "mtls-call":
		wanted := tlsconfig.AuthorizeID(spiffeid.RequireFromString(os.Args[3]))
		for ; ; time.Sleep(50 * time.Millisecond) {
			// a new connection each time: the newest certificate is used
			transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(source, source, wanted)}
			ask(&http.Client{Transport: transport}, "https://"+os.Args[2]+"/")
			transport.CloseIdleConnections()
		}
	}
}
