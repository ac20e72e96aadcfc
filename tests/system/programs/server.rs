// Threads, channels, processes and sockets of Rust's library, behind a small server.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

fn threads() -> bool {
    let sum = Arc::new(Mutex::new(0));
    let workers: Vec<_> = (0..16)
        .map(|n| {
            let sum = sum.clone();
            thread::Builder::new().name(format!("w{n}")).spawn(move || *sum.lock().unwrap() += n).unwrap()
        })
        .collect();
    for w in workers {
        w.join().unwrap();
    }
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || tx.send(7).unwrap());
    let total = *sum.lock().unwrap();
    total == 120 && rx.recv_timeout(Duration::from_secs(5)) == Ok(7)
}

fn processes() -> bool {
    let mut child = Command::new("/bin/busybox").arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let out = child.wait_with_output().unwrap();
    out.status.success() && out.stdout == b"hello"
}

fn files() -> bool {
    fs::write("/tmp/a", "text").unwrap();
    fs::copy("/tmp/a", "/tmp/b").unwrap();
    fs::rename("/tmp/b", "/tmp/c").unwrap();
    fs::read_to_string("/tmp/c").unwrap() == "text" && fs::remove_file("/tmp/c").is_ok()
}

fn sockets() -> bool {
    let listener = UnixListener::bind("/tmp/socket").unwrap();
    let server = thread::spawn(move || {
        let mut buf = [0; 4];
        let (mut s, _) = listener.accept().unwrap();
        s.read_exact(&mut buf).unwrap();
        s.write_all(&buf).unwrap();
    });
    let mut buf = [0; 4];
    let mut c = UnixStream::connect("/tmp/socket").unwrap();
    c.write_all(b"echo").unwrap();
    c.read_exact(&mut buf).unwrap();
    server.join().unwrap();
    fs::remove_file("/tmp/socket").is_ok() && &buf == b"echo"
}

fn serve(mut s: TcpStream) -> std::io::Result<()> {
    let mut head = [0; 4096];
    let n = s.read(&mut head)?;
    let body = if head[..n].starts_with(b"GET /check ") {
        format!("{{\"threads\": {}, \"processes\": {}, \"files\": {}, \"sockets\": {}}}", threads(), processes(), files(), sockets())
    } else {
        "{}".to_string()
    };
    write!(s, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", body.len(), body)
}

fn main() {
    let listener = TcpListener::bind("0.0.0.0:3000").unwrap();
    for s in listener.incoming().flatten() {
        thread::spawn(move || serve(s));
    }
}
