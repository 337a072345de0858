//! A page in a browser: mqtt.js in headless Chromium over `ws://` and `wss://` to the real gateway, from a site that may connect and from one that may not.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::harness::certificates::Certificates;
use crate::harness::gateway::Site;
use crate::harness::mosquitto::free_port;

/// For a browser to start and a page to do its work; a second or two where nothing else runs.
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_page_connects_only_from_a_listed_site() {
    let pages = Pages::serve();
    let certificates = Certificates::make();
    let (ws, wss) = (free_port(), free_port());
    let listed = format!("http://127.0.0.1:{}", pages.port);
    let site = Site::new(&format!(
        "[[broker.listener]]\nurl = \"ws://127.0.0.1:{ws}/mqtt\"\norigins = [\"{listed}\"]\n\
         [[broker.listener]]\nurl = \"wss://127.0.0.1:{wss}/mqtt\"\norigins = [\"{listed}\"]\ncert = \"{}\"\nkey = \"{}\"\n",
        certificates.server.0.display(),
        certificates.server.1.display(),
    ));
    let _gateway = site.start();
    let at = [format!("ws://127.0.0.1:{ws}/mqtt"), format!("wss://127.0.0.1:{wss}/mqtt")];
    // The same page of the same machine, but to a browser it is another site.
    let query = format!("at={}&at={}", escaped(&at[0]), escaped(&at[1]));
    let foreign = format!("http://localhost:{}/page?{query}", pages.port);
    let _browser = Browser::open(&format!("{listed}/page?{query}&then={}", escaped(&foreign)));

    let (origin, lines) = pages.result();
    assert_eq!(
        (origin.as_str(), lines),
        (listed.as_str(), at.each_ref().map(|url| format!("{url} published, and got: hello from a page")).to_vec())
    );
    let (origin, lines) = pages.result();
    assert_eq!(origin, format!("http://localhost:{}", pages.port));
    for (line, url) in lines.iter().zip(&at) {
        assert!([format!("{url} closed"), format!("{url} error")].contains(line), "{line}");
    }
    assert_eq!(lines.len(), 2);
    let refused = "the Origin header names a site that is not listed";
    assert_eq!(site.log().matches(refused).count(), 2, "{}", site.log_tail());
}

/// A text as a value of a query.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("chromium-headless-shell");
        // Root has no sandbox; and the certificate is of a test's own CA.
        command.args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            "--remote-debugging-port=0",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { child: child.expect("chromium-headless-shell: run tests/run --prepare"), _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A web server for the page and for what it has to say.
struct Pages {
    port: u16,
    results: Receiver<(String, Vec<String>)>,
}

impl Pages {
    fn serve() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run tests/run --prepare", path.display()));
        let page = read(root.join("tests/peers/page.html"));
        let script = read(root.join("target/npm/package/dist/mqtt.min.js"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (said, results) = mpsc::channel();
        // It ends with the process: a thread that only waits.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (page, script, said) = (page.clone(), script.clone(), said.clone());
                thread::spawn(move || answer(&stream, &page, &script, &said));
            }
        });
        Self { port, results }
    }

    /// The next one: from which site, and its lines.
    fn result(&self) -> (String, Vec<String>) {
        self.results.recv_timeout(WITHIN).expect("the page says what came of it")
    }
}

/// One request a connection.
fn answer(stream: &TcpStream, page: &[u8], script: &[u8], said: &Sender<(String, Vec<String>)>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let (mut length, mut origin) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "origin" => value.clone_into(&mut origin),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, kind, content) = match first.split(['?', ' ']).nth(1)? {
        "/page" => ("200 OK", "text/html", page),
        "/mqtt.js" => ("200 OK", "text/javascript", script),
        "/result" => {
            let _ = said.send((origin, String::from_utf8_lossy(&body).lines().map(str::to_owned).collect()));
            ("200 OK", "text/plain", &b"thanks"[..])
        }
        _ => ("404 Not Found", "text/plain", &b""[..]),
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len()).ok()?;
    stream.write_all(content).ok()
}
