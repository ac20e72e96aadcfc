// Goroutines, processes, files and sockets of Go's library, behind its own server.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

func goroutines() bool {
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			runtime.LockOSThread()
			time.Sleep(time.Microsecond)
			lock.Lock()
			sum += n
			lock.Unlock()
			runtime.UnlockOSThread()
		}(i % 10)
		if i%50 == 49 {
			group.Wait()
		}
	}
	group.Wait()
	return sum == 4500
}

func processes() bool {
	c := exec.Command("/bin/busybox", "cat")
	c.Stdin = strings.NewReader("hello")
	out, err := c.Output()
	return err == nil && string(out) == "hello"
}

func files() bool {
	if os.WriteFile("/tmp/a", []byte("text"), 0o600) != nil || os.Rename("/tmp/a", "/tmp/b") != nil {
		return false
	}
	from, _ := os.Open("/tmp/b")
	to, _ := os.Create("/tmp/c")
	n, err := io.Copy(to, from)
	return err == nil && n == 4
}

func sockets() bool {
	l, err := net.Listen("unix", "/tmp/socket")
	if err != nil {
		return false
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
		}
	}()
	c, err := net.Dial("unix", "/tmp/socket")
	if err != nil {
		return false
	}
	fmt.Fprint(c, "echo")
	buf := make([]byte, 4)
	_, err = io.ReadFull(c, buf)
	return err == nil && string(buf) == "echo"
}

func client() bool {
	answer, err := http.Get("http://localhost:3000/")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == 200
}

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		result := map[string]bool{}
		if r.URL.Path == "/check" {
			runtime.GC()
			result["goroutines"] = goroutines()
			result["processes"] = processes()
			result["files"] = files()
			result["sockets"] = sockets()
			result["client"] = client()
		}
		json.NewEncoder(w).Encode(result)
	})
	panic(http.ListenAndServe(":3000", nil))
}
