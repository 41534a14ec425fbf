// tokio: tasks on its own epoll. Like echo.c, without files.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::time::{timeout, Duration};

async fn serve(address: &str) -> std::io::Result<()> {
    let listener = UnixListener::bind(address)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut room = vec![0; 65536];
            while let Ok(got @ 1..) = stream.read(&mut room).await {
                room[..got].make_ascii_uppercase();
                if stream.write_all(&room[..got]).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn ask(address: String, words: String) -> std::io::Result<String> {
    let (mut reader, mut writer) = UnixStream::connect(address).await?.into_split();
    let filler = tokio::spawn(async move {
        writer.write_all(words.as_bytes()).await?;
        writer.shutdown().await
    });
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await?;
    filler.await.unwrap()?;
    Ok(answer)
}

async fn call(address: String) -> std::io::Result<()> {
    println!("said: {}", ask(address.clone(), "hello from tokio".into()).await?);
    println!("half-closed: {}", ask(address.clone(), "x".repeat(300000)).await?.matches('X').count());
    let clients: Vec<_> = (0..50).map(|_| tokio::spawn(ask(address.clone(), "many".into()))).collect();
    let mut good = 0;
    for client in clients {
        good += matches!(client.await.unwrap(), Ok(words) if words == "MANY") as i32;
    }
    println!("at once: {}", good);
    println!("peer: user {}", UnixStream::connect(&address).await?.peer_cred()?.uid());

    let (one, mut other) = UnixStream::pair()?;
    println!("timed out: {}", timeout(Duration::from_millis(50), other.read(&mut [0; 8])).await.is_err());
    println!("not ready: {:?}", other.try_read(&mut [0; 8]).unwrap_err().kind());
    drop(one);
    println!("ended: {}", other.read(&mut [0; 8]).await?);

    let receiver = UnixDatagram::bind("receiver")?;
    let sender = UnixDatagram::bind("sender")?;
    let mut room = [0; 64];
    let (received, sent) = tokio::join!(receiver.recv_from(&mut room), sender.send_to(b"a datagram", "receiver"));
    let (got, from) = received?;
    println!("datagram: {} of {} from {:?}", String::from_utf8_lossy(&room[..got]), sent?, from);
    println!("no such: {}", UnixStream::connect("absent").await.unwrap_err());
    println!("refused: {}", UnixStream::connect("passed").await.unwrap_err());
    Ok(())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[1] == "serve" {
        serve(&arguments[2]).await
    } else {
        call(arguments[2].clone()).await
    }
}
