// Rust: std::os::unix::net, a thread for each connection. Like echo.c, without files.
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;
use std::{env, thread};

fn serve(address: &str) -> std::io::Result<()> {
    for accepted in UnixListener::bind(address)?.incoming() {
        let mut stream = accepted?;
        thread::spawn(move || {
            let mut room = vec![0; 65536];
            while let Ok(got @ 1..) = stream.read(&mut room) {
                room[..got].make_ascii_uppercase();
                if stream.write_all(&room[..got]).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

fn ask(address: &str, words: String) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(address)?;
    let mut writer = stream.try_clone()?;
    let filler = thread::spawn(move || {
        writer.write_all(words.as_bytes())?;
        writer.shutdown(Shutdown::Write)
    });
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    filler.join().unwrap()?;
    Ok(answer)
}

fn call(address: &str) -> std::io::Result<()> {
    println!("said: {}", ask(address, "hello from Rust".into())?);
    println!("half-closed: {}", ask(address, "x".repeat(300000))?.matches('X').count());
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let address = address.to_string();
            thread::spawn(move || ask(&address, "many".into()))
        })
        .collect();
    let good = clients.into_iter().map(|client| client.join().unwrap());
    println!("at once: {}", good.filter(|answer| matches!(answer, Ok(words) if words == "MANY")).count());

    let (one, mut other) = UnixStream::pair()?;
    other.set_read_timeout(Some(Duration::from_millis(50)))?;
    println!("timed out: {:?}", other.read(&mut [0; 8]).unwrap_err().kind());
    other.set_nonblocking(true)?;
    println!("not ready: {:?}", other.read(&mut [0; 8]).unwrap_err().kind());
    drop(one);
    println!("ended: {}", other.read(&mut [0; 8])?);

    let receiver = UnixDatagram::bind("receiver")?;
    let sender = UnixDatagram::bind("sender")?;
    sender.send_to(b"a datagram", "receiver")?;
    let mut room = [0; 64];
    let (got, from) = receiver.recv_from(&mut room)?;
    println!("datagram: {} from {:?}", String::from_utf8_lossy(&room[..got]), from);
    println!("no such: {}", UnixStream::connect("absent").unwrap_err());
    println!("refused: {}", UnixStream::connect("passed").unwrap_err());
    Ok(())
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if arguments[1] == "serve" {
        serve(&arguments[2])
    } else {
        call(&arguments[2])
    }
}
