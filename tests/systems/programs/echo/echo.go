// Go: its runtime's own poller and raw system calls, in a static binary; WriteMsgUnix, passcred. Like echo.c.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func reach(address string) *net.UnixConn {
	connection, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: address, Net: "unix"})
	check(err)
	return connection
}

func answer(connection *net.UnixConn) {
	defer connection.Close()
	data, control := make([]byte, 65536), make([]byte, syscall.CmsgSpace(4))
	for {
		got, gotControl, _, _, err := connection.ReadMsgUnix(data, control)
		if err != nil || got == 0 {
			return
		}
		words := data[:got]
		if gotControl > 0 {
			messages, err := syscall.ParseSocketControlMessage(control[:gotControl])
			check(err)
			files, err := syscall.ParseUnixRights(&messages[0])
			check(err)
			file := os.NewFile(uintptr(files[0]), "passed")
			words, err = io.ReadAll(file)
			check(err)
			file.Close()
		}
		if _, err := connection.Write(bytes.ToUpper(words)); err != nil {
			return
		}
	}
}

func serve(address string) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	check(err)
	for {
		connection, err := listener.AcceptUnix()
		check(err)
		go answer(connection)
	}
}

func ask(connection *net.UnixConn, words string) string {
	go func() {
		connection.Write([]byte(words))
		connection.CloseWrite()
	}()
	data, err := io.ReadAll(connection)
	check(err)
	connection.Close()
	return string(data)
}

func pass(address string) {
	file, err := os.Open("passed")
	check(err)
	connection := reach(address)
	_, _, err = connection.WriteMsgUnix([]byte("f"), syscall.UnixRights(int(file.Fd())), nil)
	check(err)
	fmt.Print("file: ", ask(connection, ""))
}

func datagrams() {
	one, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "one", Net: "unixgram"})
	check(err)
	other, err := net.DialUnix("unixgram", &net.UnixAddr{Name: "other", Net: "unixgram"}, one.LocalAddr().(*net.UnixAddr))
	check(err)
	other.Write([]byte("a datagram"))
	data := make([]byte, 64)
	got, from, err := one.ReadFromUnix(data)
	check(err)
	fmt.Println("datagram:", string(data[:got]), "from", from)
	packets, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: "packets", Net: "unixpacket"})
	check(err)
	connection, err := net.DialUnix("unixpacket", nil, packets.Addr().(*net.UnixAddr))
	check(err)
	accepted, err := packets.AcceptUnix()
	check(err)
	connection.Write([]byte("a record"))
	connection.Write([]byte("another"))
	got, err = accepted.Read(data)
	check(err)
	fmt.Println("packet:", string(data[:got]))
	packets.Close()
	_, err = os.Stat("packets")
	fmt.Println("unlinked:", os.IsNotExist(err))
}

func failure(what, where string) {
	_, err := net.Dial("unix", where)
	fmt.Println(what+":", err)
}

func call(address string) {
	fmt.Println("said:", ask(reach(address), "hello from Go"))
	fmt.Println("half-closed:", bytes.Count([]byte(ask(reach(address), string(bytes.Repeat([]byte("x"), 300000)))), []byte("X")))
	var group sync.WaitGroup
	var good int64
	for number := 0; number < 50; number++ {
		group.Add(1)
		go func() {
			defer group.Done()
			if ask(reach(address), "many") == "MANY" {
				atomic.AddInt64(&good, 1)
			}
		}()
	}
	group.Wait()
	fmt.Println("at once:", good)
	pass(address)
	datagrams()
	failure("no such", "absent")
	failure("refused", "passed")
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	}
	call(os.Args[2])
}
